"""System checks of the servers."""

from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connection

from servers import checks
from servers.models import Server


def test_an_ordinary_installation_passes():
    assert [
        message for message in run_checks(include_deployment_checks=True) if message.id.startswith("servers.")
    ] == []


@pytest.mark.django_db(transaction=True)
def test_a_foreign_table_named_servers_is_found_before_migrate_trips_over_it():
    assert checks.table_is_ours(databases=["default"]) == []
    with connection.schema_editor() as editor:
        editor.alter_db_table(Server, "servers", "servers_kept")
    try:
        assert checks.table_is_ours(databases=["default"]) == []  # no such table yet: the first migrate
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE servers (id integer PRIMARY KEY, hostname varchar(50))")
        (found,) = checks.table_is_ours(databases=["default"])
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE servers")
    finally:
        with connection.schema_editor() as editor:
            editor.alter_db_table(Server, "servers_kept", "servers")
    assert found.id == "servers.E001"
    assert "lacks agent_id, connection_type" in found.msg


def test_atomic_requests_are_warned_of(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    assert [message.id for message in run_checks() if message.id.startswith("servers.")] == ["servers.W001"]


def test_a_fast_password_hasher_is_warned_of_at_deployment(settings: Any):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    assert [message.id for message in checks.chosen_secrets_are_hashed_well()] == ["servers.W002"]


@pytest.mark.django_db
def test_no_migration_is_missing():
    call_command("makemigrations", "servers", check=True, dry_run=True, verbosity=0)
