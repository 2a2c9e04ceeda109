"""The tables, seen by Django and by plain SQL."""

import pytest
from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, connection, transaction

from servers import identity
from servers.models import CommandRecord, Server, Tag

pytestmark = pytest.mark.django_db


def sql(statement: str, *values: object) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.rowcount


def test_plain_sql_may_insert_a_row_by_name_and_agent_id_alone():
    sql("INSERT INTO servers (name, agent_id) VALUES (%s, %s)", "plain", "agent-plain")
    server = Server.objects.get(agent_id="agent-plain")
    assert (server.status, server.connection_type, server.secret_version) == ("unknown", "tunnel", 1)
    assert (server.capabilities, server.policy, server.host_facts) == ([], {}, {})
    assert server.last_usage is None
    assert server.created_at.tzinfo is not None
    server.full_clean()


def test_plain_sql_may_make_a_server_a_tunnel_server():
    server = Server.objects.create(name="old", agent_id="agent-old", connection_type="http")
    assert server.server_type == "remote_standard"
    assert sql("UPDATE servers SET connection_type='tunnel' WHERE agent_id=%s", "agent-old") == 1
    server.refresh_from_db()
    assert server.server_type == "remote_tunnel"


@pytest.mark.parametrize(
    "change",
    [
        "connection_type = 'carrier-pigeon'",
        "status = 'offline'",
        "status = ''",
        "agent_id = 'ab'",
        "name = NULL",
    ],
)
def test_the_database_itself_refuses_values_nobody_knows(server: Server, change: str):
    # PostgreSQL says of a word that is too long, before it looks at the constraint, that it is too long.
    with pytest.raises((IntegrityError, DataError)), transaction.atomic():
        sql(f"UPDATE servers SET {change}")
    server.refresh_from_db()
    assert (server.connection_type, server.status, server.agent_id) == (
        "tunnel",
        "unknown",
        "agent-home-server",
    )


@pytest.mark.parametrize("agent_id", ["ab", "-abc", "a b c", "one,two", "abc\n", "../etc", "a" * 65, "ábc"])
def test_an_agent_id_of_another_shape_is_not_valid(agent_id: str):
    with pytest.raises(ValidationError) as refused:
        Server(name="n", agent_id=agent_id).full_clean()
    assert set(refused.value.message_dict) >= {"agent_id"}


@pytest.mark.parametrize("name", ["a\x1b[31mred", "two\nlines", "right\u202eleft"])
def test_a_name_holds_no_character_one_cannot_see(name: str):
    with pytest.raises(ValidationError, match="Control characters"):
        Server(name=name, agent_id="agent-n").full_clean()
    with pytest.raises(ValidationError, match="Control characters"):
        Tag(name=name).full_clean()


def test_names_and_agent_ids_are_unique(server: Server):
    for facts in (
        {"name": server.name, "agent_id": "another"},
        {"name": "another", "agent_id": server.agent_id},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            Server.objects.create(**facts)


def test_saving_an_old_instance_does_not_undo_a_suspension_or_a_rotation(server: Server):
    old = Server.objects.get(pk=server.pk)
    identity.suspend(server)
    identity.rotate_secret(server)
    old.notes = "written by somebody who had the page open"
    old.save()
    row = Server.objects.get(pk=server.pk)
    assert (row.status, row.secret_version, row.secret_digest) == ("suspended", 2, server.secret_digest)
    assert row.notes.startswith("written")


def test_what_an_instance_changed_is_saved_each_time(server: Server):
    loaded = Server.objects.get(pk=server.pk)
    for status in ("suspended", "active", "suspended", "suspended"):
        loaded.status = status
        loaded.save()
        assert Server.objects.get(pk=server.pk).status == status


def test_a_save_after_a_rolled_back_one_writes_again(server: Server):
    loaded = Server.objects.get(pk=server.pk)
    loaded.status = "suspended"
    with transaction.atomic():
        loaded.save()
        transaction.set_rollback(True)
    loaded.save()
    assert Server.objects.get(pk=server.pk).status == "suspended"


def test_a_digest_saved_by_hand_counts_as_a_new_secret_version(server: Server):
    loaded = Server.objects.get(pk=server.pk)
    loaded.secret_digest = "sha256$" + "0" * 64
    loaded.save(update_fields=["secret_digest"])
    assert Server.objects.get(pk=server.pk).secret_version == 2


def test_deferred_columns_are_left_alone(server: Server):
    slim = Server.objects.only("name").get(pk=server.pk)
    identity.suspend(server)
    slim.name = "renamed"
    slim.save()
    row = Server.objects.get(pk=server.pk)
    assert (row.name, row.status) == ("renamed", "suspended")


def test_the_history_outlives_the_server(server: Server):
    record = CommandRecord.objects.create(
        server=server, server_name=server.name, service="system", action="getUsage", actor="root"
    )
    server.delete()
    record.refresh_from_db()
    assert record.server is None
    assert record.server_name == "Home server"
