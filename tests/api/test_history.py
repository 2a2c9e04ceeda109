"""`commands/`, `sessions/` and `events/`: nothing left out, nothing twice, nothing that one may not see."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from servers import identity
from servers.models import CommandRecord, Grant, Server, ServerGroup
from tests.api.conftest import V1, Program, problem
from tunnel.models import Refusal, Session, Worker

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def walk(program: Program, path: str) -> list[dict[str, Any]]:
    """Follow `next` to the end."""
    rows: list[dict[str, Any]] = []
    for _ in range(100):
        response = program.get(path)
        assert response.status_code == 200, response.content
        body = response.json()
        rows += body["results"]
        if body["next"] is None:
            return rows
        assert body["next"].startswith(V1)
        path = body["next"].removeprefix(V1)
    raise AssertionError("it does not end")


@pytest.fixture
def worker(db: None) -> Worker:
    return Worker.objects.create(inbox="w", host="panel-1", pid=7, lease_until=NOON)


def ended(server: Server, worker: Worker, opened: datetime, closed: datetime, **facts: Any) -> Session:
    facts = {"close_reason": "network_lost", "secret_version": 1} | facts
    return Session.objects.create(server=server, worker=worker, opened_at=opened, closed_at=closed, **facts)


def command(server: Server, number: int = 0, **facts: Any) -> CommandRecord:
    facts = {
        "service": "system",
        "action": f"a{number}",
        "created_at": NOON,
        "server_name": server.name,
    } | facts
    return CommandRecord.objects.create(server=server, **facts)


def test_commands_of_one_moment_are_all_told_once(server: Server, admin: Program):
    for number in range(7):
        command(server, number)
    rows = walk(admin, "commands/?page_size=2")
    assert sorted(row["action"] for row in rows) == [f"a{number}" for number in range(7)]


def test_a_command_is_told_without_its_reply(server: Server, admin: Program):
    made = command(
        server, params={"argv": ["uptime"]}, actor="root", state="failed", code="timeout", error="e\x1b"
    )
    body = admin.get(f"commands/{made.pk}/").json()
    assert body == admin.get("commands/").json()["results"][0]
    assert (body["server"], body["params"], body["code"]) == (
        "agent-home-server",
        {"argv": ["uptime"]},
        "timeout",
    )
    assert body["created_at"] == "2026-11-24T12:00:00Z"


def test_lists_are_filtered(server: Server, worker: Worker, admin: Program):
    other = Server.objects.create(name="other", agent_id="agent-other")
    command(server, 1, state="failed")
    command(other, 2, created_at=NOON - timedelta(days=2))
    assert [row["action"] for row in walk(admin, "commands/?server=agent-other")] == ["a2"]
    assert [row["action"] for row in walk(admin, "commands/?state=failed")] == ["a1"]
    assert [row["action"] for row in walk(admin, "commands/?since=2026-11-24T00:00:00Z")] == ["a1"]
    Session.objects.create(server=server, worker=worker, secret_version=1, opened_at=NOON)
    ended(other, worker, NOON, NOON)
    assert [row["server"] for row in walk(admin, "sessions/?state=open")] == ["agent-home-server"]
    assert [row["server"] for row in walk(admin, "sessions/?state=closed")] == ["agent-other"]
    assert [row["kind"] for row in walk(admin, "events/?state=closed")] == ["closed"]
    assert walk(admin, "events/?since=2026-11-25T00:00:00Z") == []


def test_events_of_three_kinds_come_in_one_order_and_none_is_lost(
    server: Server, worker: Worker, admin: Program
):
    """A dead worker's sessions all end in one moment, that of its lease."""
    servers = [Server.objects.create(name=f"n{n}", agent_id=f"agent-{n}") for n in range(5)]
    for number, one in enumerate(servers):
        ended(one, worker, NOON - timedelta(minutes=number), NOON)
        Refusal.objects.create(
            server=one, reason="wrong_secret", address="203.0.113.7", last_at=NOON, times=number + 1
        )
    rows = walk(admin, "events/?page_size=2")
    assert len(rows) == len({(row["kind"], row["server"]) for row in rows}) == 15
    assert [row["at"] for row in rows] == sorted((row["at"] for row in rows), reverse=True)
    refused = next(row for row in rows if row["kind"] == "refused" and row["server"] == "agent-4")
    assert (refused["times"], refused["reason_words"], refused["address"]) == (
        5,
        "wrong secret",
        "203.0.113.7",
    )
    closed = next(row for row in rows if row["kind"] == "closed")
    assert (closed["reason"], closed["reason_words"]) == ("network_lost", "the connection was cut")


@pytest.mark.parametrize("path", ["commands/", "sessions/", "events/"])
def test_a_list_takes_the_same_queries_however_long_it_is(
    server: Server, worker: Worker, admin: Program, path: str
):
    for number in range(20):
        one = Server.objects.create(name=f"n{number}", agent_id=f"agent-{number}")
        ended(one, worker, NOON, NOON)
        command(one, number)

    def queries(size: int) -> int:
        with CaptureQueriesContext(connection) as caught:
            assert len(admin.get(f"{path}?page_size={size}").json()["results"]) == size
        return len(caught)

    queries(1)
    assert queries(2) == queries(20) <= 6


@pytest.mark.parametrize("path", ["commands/", "sessions/", "events/"])
@pytest.mark.parametrize(
    "query",
    [
        "cursor=x",
        "cursor=",
        "cursor=W10",
        "cursor=" + "A" * 400,
        "cursor=Ww",
        "page_size=0",
        "state=x",
        "since=noon",
    ],
)
def test_a_parameter_that_is_none_is_refused(admin: Program, path: str, query: str):
    assert problem(admin.get(f"{path}?{query}")) == (400, "invalid")


def test_what_one_may_not_see_is_not_in_the_history(
    server: Server, worker: Worker, person: Callable[..., Any], root: Any, program: Callable[..., Program]
):
    group = ServerGroup.objects.create(name="g")
    other = Server.objects.create(name="other", agent_id="agent-other")
    group.servers.add(other)
    hidden = command(server, 1)
    seen = command(other, 2)
    session = ended(server, worker, NOON, NOON)
    Refusal.objects.create(server=server, reason="suspended", address="::1", last_at=NOON)
    narrow = program(root, "view", groups=[group])
    assert [row["id"] for row in walk(narrow, "commands/")] == [str(seen.pk)]
    assert walk(narrow, "sessions/") == walk(narrow, "events/") == []
    for path in (
        f"commands/{hidden.pk}/",
        f"sessions/{session.pk}/",
        f"commands/{UUID(int=0)}/",
        "commands/x/",
    ):
        assert problem(narrow.get(path)) == (404, "not_found")


def test_commands_on_servers_that_are_gone_are_told_to_who_sees_all_or_gave_them_and_to_no_token_of_groups(
    server: Server, person: Callable[..., Any], program: Callable[..., Program], root: Any
):
    other = identity.create("other")[0]
    group = ServerGroup.objects.create(name="others")
    group.servers.add(other)
    mine, colleague = person(username="me"), person(username="colleague")
    for user in (mine, colleague):
        Grant.objects.create(server_group=group, user=user, permissions=["view"])
    command(server, 1, actor_user=mine)
    server.delete()
    assert [row["server"] for row in walk(program(root), "commands/")] == [None]
    assert [row["server"] for row in walk(program(mine), "commands/")] == [None]
    assert walk(program(colleague), "commands/") == []
    for user in (mine, root):
        assert walk(program(user, "view", groups=[group]), "commands/") == []


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00%2B23:59", "9999-12-31T23:59:59-23:59"])
@pytest.mark.parametrize("path", ["commands/", "sessions/", "events/"])
def test_a_moment_that_utc_does_not_have_is_refused(admin: Program, path: str, moment: str):
    assert problem(admin.get(f"{path}?since={moment}"))[0] == 400
    text = json.dumps(
        [moment.replace("%2B", "+"), {"events/": "opened"}.get(path, path[:-2]), str(UUID(int=1))]
    )
    cursor = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    assert problem(admin.get(f"{path}?cursor={cursor}"))[0] == 400
