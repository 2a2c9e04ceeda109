"""Changes of who a server is: compare-and-set, history, and the announcement after the commit."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils import timezone

from servers import credentials, identity
from servers.access import CONSOLE
from servers.errors import ChangedMeanwhile, SecretTooShort
from servers.models import Server
from servers.signals import identity_changed

RACE_STEPS = 1_000
PATIENCE = 60.0  # seconds a thread of a race waits for the others


@pytest.fixture
def heard() -> Iterator[list[tuple[int, str]]]:
    """What `identity_changed` said during the test."""
    said: list[tuple[int, str]] = []

    def listener(sender: object, server_id: int, agent_id: str, **kwargs: Any) -> None:
        assert sender is Server
        assert not connection.in_atomic_block or connection.savepoint_ids == []
        said.append((server_id, agent_id))

    identity_changed.connect(listener)
    yield said
    identity_changed.disconnect(listener)


# Making ---------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_new_server_gets_an_agent_id_from_its_name_and_a_secret():
    server, secret = identity.create("Server Rumah #1")
    assert server.agent_id == "server-rumah-1"
    assert (server.status, server.connection_type, server.secret_version) == ("unknown", "tunnel", 1)
    assert credentials.matches(secret, server.secret_digest)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "agent_id"), [("pi", "agent-pi"), ("服务器", "agent"), ("--- ", "agent"), ("x" * 100, "x" * 58)]
)
def test_any_name_leads_to_a_valid_agent_id(name: str, agent_id: str):
    assert identity.create(name)[0].agent_id == agent_id


@pytest.mark.django_db
def test_names_alike_get_different_agent_ids():
    made = [identity.create(name)[0].agent_id for name in ("web 1", "Web-1", "WEB_1!", "web  1")]
    assert made == ["web-1", "web-1-2", "web_1", "web-1-3"]


@pytest.mark.django_db
def test_a_taken_name_or_agent_id_is_refused_in_words(server: Server):
    with pytest.raises(ValidationError, match="already exists"):
        identity.create(server.name)
    with pytest.raises(ValidationError, match="already exists"):
        identity.create("another", agent_id=server.agent_id)


# Suspending and rotating ----------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_suspending_and_reactivating_say_whether_they_changed_anything(server: Server):
    assert identity.suspend(server)
    assert server.status == "suspended"
    assert not identity.suspend(server)
    assert identity.reactivate(server)
    assert server.status == "active"
    assert not identity.reactivate(server)


@pytest.mark.django_db
def test_a_rotation_makes_the_old_secret_worthless(server: Server):
    first = identity.rotate_secret(server)
    second = identity.rotate_secret(server)
    assert server.secret_version == 3
    assert not credentials.matches(first, server.secret_digest)
    assert credentials.matches(second, server.secret_digest)


@pytest.mark.django_db
def test_of_two_rotations_at_once_one_is_told_that_it_lost(server: Server):
    mine, theirs = Server.objects.get(pk=server.pk), Server.objects.get(pk=server.pk)
    shown = identity.rotate_secret(theirs)
    with pytest.raises(ChangedMeanwhile, match="the secret of Home server was changed by somebody else"):
        identity.rotate_secret(mine)
    server.refresh_from_db()
    assert credentials.matches(shown, server.secret_digest)


@pytest.mark.django_db
def test_a_chosen_secret_is_taken_from_12_characters(server: Server):
    identity.set_secret(server, "rahasiadapur")
    assert credentials.matches("rahasiadapur", server.secret_digest)
    assert server.secret_version == 2
    with pytest.raises(SecretTooShort):
        identity.set_secret(server, "rahasia")
    assert server.secret_version == 2


@pytest.mark.django_db
def test_what_a_person_changes_stands_in_the_history(root: Any):
    server, _ = identity.create("historic", by=root)
    identity.suspend(server, by=root)
    identity.suspend(server, by=root)  # changed nothing
    identity.reactivate(server, by=root)
    secret = identity.rotate_secret(server, by=root)
    identity.set_secret(server, "rahasiadapur", by=root)
    identity.suspend(server, by=CONSOLE)
    identity.reactivate(server)
    entries = list(
        LogEntry.objects.order_by("pk").values_list("action_flag", "change_message", "user__username")
    )
    assert entries == [
        (ADDITION, "Added.", "root"),
        (CHANGE, "Suspended.", "root"),
        (CHANGE, "Reactivated.", "root"),
        (CHANGE, "Secret rotated.", "root"),
        (CHANGE, "Secret replaced by a chosen one.", "root"),
    ]
    assert secret not in str(LogEntry.objects.values_list())


# The first contact against a suspension: W5 ---------------------------------------------------------------------


@pytest.mark.django_db
def test_the_first_contact_makes_unknown_active_and_nothing_else(server: Server):
    assert identity.mark_seen(server.pk)
    assert not identity.mark_seen(server.pk)
    server.refresh_from_db()
    assert server.status == "active"
    identity.suspend(server)
    assert not identity.mark_seen(server.pk)
    server.refresh_from_db()
    assert server.status == "suspended"


@pytest.mark.django_db
def test_each_contact_is_noted_and_the_first_one_for_good(server: Server):
    assert server.first_seen is None
    identity.mark_seen(server.pk)
    server.refresh_from_db()
    first = server.first_seen
    assert first == server.last_seen
    assert abs(timezone.now() - first) < timedelta(seconds=PATIENCE)
    Server.objects.filter(pk=server.pk).update(last_seen=first - timedelta(days=1))
    identity.mark_seen(server.pk)
    server.refresh_from_db()
    assert server.first_seen == first <= server.last_seen


@pytest.mark.django_db(transaction=True)
def test_a_suspension_that_races_with_the_first_contact_never_comes_undone(server: Server):
    """W5: the original wrote `active` after its check, whatever had been decided in between."""
    gate = threading.Barrier(3, timeout=PATIENCE)
    failures: list[BaseException] = []

    def repeat(step: Callable[[], object]) -> None:
        try:
            for _ in range(RACE_STEPS):
                gate.wait()
                step()
                gate.wait()
        except Exception as exc:  # noqa: BLE001 - shown by the main thread
            failures.append(exc)
            gate.abort()
        finally:
            connection.close()

    person = Server.objects.get(pk=server.pk)
    threads = [
        threading.Thread(target=repeat, args=[lambda: identity.mark_seen(server.pk)], name="agent"),
        threading.Thread(target=repeat, args=[lambda: identity.suspend(person)], name="person"),
    ]
    for thread in threads:
        thread.start()
    came_back = 0
    try:
        for _ in range(RACE_STEPS):
            Server.objects.filter(pk=server.pk).update(status="unknown")
            gate.wait()
            gate.wait()
            came_back += Server.objects.get(pk=server.pk).status != "suspended"
    except threading.BrokenBarrierError:
        pass  # what broke it stands in `failures`
    for thread in threads:
        thread.join(PATIENCE)
    assert failures == []
    assert came_back == 0


# The announcement -----------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_every_change_of_identity_is_announced_once(server: Server, heard: list[Any]):
    identity.suspend(server)
    identity.reactivate(server)
    identity.rotate_secret(server)
    identity.set_secret(server, "rahasiadapur")
    assert heard == [(server.pk, "agent-home-server")] * 4


@pytest.mark.django_db(transaction=True)
def test_what_changed_nothing_is_not_announced(server: Server, heard: list[Any]):
    identity.reactivate(server)
    server.notes, server.last_usage, server.agent_version = "n", {"cpu": 1}, "1.0"
    server.save()
    Server.objects.get(pk=server.pk).save()
    server.save(update_fields=["status"])
    identity.mark_seen(server.pk)
    assert heard == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("status", "suspended"),
        ("connection_type", "ssh"),
        ("secret_digest", "sha256$x"),
        ("secret_version", 7),
    ],
)
@pytest.mark.parametrize("explicitly", [False, True])
def test_an_ordinary_save_is_announced_too(
    server: Server, heard: list[Any], column: str, value: object, explicitly: bool
):
    loaded = Server.objects.get(pk=server.pk)
    setattr(loaded, column, value)
    loaded.save(update_fields=[column] if explicitly else None)
    assert heard == [(server.pk, "agent-home-server")]


@pytest.mark.django_db(transaction=True)
def test_a_new_agent_id_is_announced_under_the_old_one_which_may_be_connected(
    server: Server, heard: list[Any]
):
    server.agent_id = "agent-renamed"
    server.save()
    assert heard == [(server.pk, "agent-home-server")]


@pytest.mark.django_db(transaction=True)
def test_an_old_instance_that_reactivates_explicitly_is_announced(server: Server, heard: list[Any]):
    old = Server.objects.get(pk=server.pk)
    identity.suspend(server)
    heard.clear()
    old.save(update_fields=["status"])  # writes `unknown` over `suspended`
    assert heard == [(server.pk, "agent-home-server")]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("delete", [lambda s: s.delete(), lambda s: Server.objects.filter(pk=s.pk).delete()])
def test_a_deletion_is_announced(server: Server, heard: list[Any], delete: Callable[[Server], object]):
    pk = server.pk
    delete(server)
    assert heard == [(pk, "agent-home-server")]


@pytest.mark.django_db(transaction=True)
def test_nothing_is_announced_before_the_commit_and_nothing_after_a_rollback(
    server: Server, heard: list[Any]
):
    with transaction.atomic():
        identity.suspend(server)
        Server.objects.get(pk=server.pk).delete()
        transaction.set_rollback(True)
    assert heard == []
    server.refresh_from_db()
    with transaction.atomic():
        identity.suspend(server)
        assert heard == []
    assert heard == [(server.pk, "agent-home-server")]


@pytest.mark.django_db(transaction=True)
def test_a_listener_that_fails_does_not_fail_the_change(server: Server, caplog: pytest.LogCaptureFixture):
    def broken(**kwargs: Any) -> None:
        raise RuntimeError("the listener is broken")

    identity_changed.connect(broken)
    try:
        assert identity.suspend(server)
    finally:
        identity_changed.disconnect(broken)
    assert Server.objects.get(pk=server.pk).status == "suspended"
    assert "the listener is broken" in caplog.text
