"""Throttles: so many a minute and person, whatever the cache does."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache.backends.locmem import LocMemCache

from servers.models import Server
from tests.api.conftest import Program, problem
from tests.servers.conftest import Wire
from tunnel.api import throttles

pytestmark = pytest.mark.django_db(transaction=True)
NOW = 1_700_000_010.0  # ten seconds before a full minute, and a half


class Away:
    def add(self, *_: Any) -> None:
        raise ConnectionError("the cache is away")


@pytest.fixture(params=["shared", "away"], autouse=True)
def counts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = LocMemCache(request.node.name, {}) if request.param == "shared" else Away()
    monkeypatch.setattr(throttles, "cache", cache)
    monkeypatch.setattr(throttles, "_ALONE", LocMemCache(f"alone {request.node.name}", {}))
    monkeypatch.setattr(throttles.time, "time", lambda: NOW)


def test_reading_and_running_are_counted_apart_for_each_person(
    wired: Server,
    wire: Wire,
    admin: Program,
    settings: Any,
    person: Callable[..., Any],
    program: Callable[..., Program],
):
    settings.TUNNEL_API_READS_A_MINUTE, settings.TUNNEL_API_COMMANDS_A_MINUTE = 2, 1
    path, command = "servers/wired-1/commands/", {"service": "s", "action": "a"}
    assert [admin.get("me/").status_code for _ in range(3)] == [200, 200, 429]
    assert [admin.post(path, command).status_code for _ in range(2)] == [200, 429]
    assert len(wire.sent) == 1
    response = admin.get("me/")
    assert problem(response) == (429, "throttled")
    assert response["Retry-After"] == "30"
    other = program(person("run_command"))
    assert other.get("me/").status_code == 200


def test_another_token_of_the_same_person_counts_with_the_first(
    admin: Program, root: Any, settings: Any, program: Callable[..., Program]
):
    settings.TUNNEL_API_READS_A_MINUTE = 1
    assert admin.get("me/").status_code == 200
    assert program(root, "view").get("me/").status_code == 429


def test_the_next_minute_begins_anew(admin: Program, settings: Any, monkeypatch: pytest.MonkeyPatch):
    settings.TUNNEL_API_READS_A_MINUTE = 1
    assert [admin.get("me/").status_code for _ in range(2)] == [200, 429]
    monkeypatch.setattr(throttles.time, "time", lambda: NOW + 60)
    assert admin.get("me/").status_code == 200
