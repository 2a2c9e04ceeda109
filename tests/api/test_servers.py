"""`servers/` over REST: what is shown to whom, and what may be changed."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from servers import access, credentials, identity
from servers.models import Grant, Server, ServerGroup, Tag
from tests.api.conftest import V1, Program, problem
from tunnel import presence
from tunnel.models import Session, Worker
from tunnel.presence import State

pytestmark = pytest.mark.django_db
MEMBERS = [
    "agent_id",
    "name",
    "connection_type",
    "server_type",
    "status",
    "state",
    "since",
    "reason",
    "reason_detail",
    "reason_words",
    "tags",
    "notes",
    "host",
    "port",
    "username",
    "agent_version",
    "rtt_seconds",
    "worker",
    "session",
    "address",
    "lease_until",
    "capabilities",
    "policy",
    "host_facts",
    "usage",
    "usage_at",
    "first_seen",
    "last_seen",
    "created_at",
]


def names(response: Any) -> list[str]:
    assert response.status_code == 200, response.content
    return [row["name"] for row in response.json()["results"]]


def make(count: int) -> list[Server]:
    rows = [Server(name=f"node-{number:03}", agent_id=f"agent-{number:03}") for number in range(count)]
    return Server.objects.bulk_create(rows)


def test_a_server_is_told_with_all_its_members(server: Server, admin: Program):
    body = admin.get("servers/agent-home-server/").json()
    assert list(body) == MEMBERS
    assert (body["name"], body["state"], body["status"]) == ("Home server", "never", "unknown")
    assert body["server_type"] == "remote_tunnel"
    assert body["created_at"].endswith("Z")
    assert body["session"] is body["since"] is None


def test_a_list_comes_in_pages_with_links_that_are_paths(admin: Program):
    make(5)
    first = admin.get("servers/?page_size=2").json()
    assert (first["count"], first["previous"]) == (5, None)
    assert first["next"] == f"{V1}servers/?page=2&page_size=2"
    last = admin.get("servers/?page_size=2&page=3").json()
    assert ([row["name"] for row in last["results"]], last["next"]) == (["node-004"], None)


def test_a_list_takes_the_same_queries_however_long_it_is(admin: Program):
    def queries(size: int) -> int:
        with CaptureQueriesContext(connection) as caught:
            assert len(names(admin.get(f"servers/?page_size={size}"))) == size
        return len(caught)

    tags = [Tag.objects.create(name=f"tag-{number}") for number in range(3)]
    for server in make(40):
        server.tags.set(tags)
    queries(1)  # the token's use is noted once
    assert queries(2) == queries(40) <= 8


@pytest.mark.parametrize(
    "query",
    [
        "page_size=0",
        "page_size=501",
        "page_size=x",
        "state=gone",
        "ordering=notes",
        "status=1",
        "status=",
        "tag=",
    ],
)
def test_a_parameter_that_is_none_is_refused(admin: Program, query: str):
    response = admin.get(f"servers/?{query}")
    assert problem(response) == (400, "invalid")
    assert response.json()["errors"][0]["pointer"] == f"/{query.partition('=')[0]}"


def test_a_list_is_searched_filtered_and_ordered(admin: Program):
    web, db, old = make(3)
    identity.suspend(old)
    web.tags.set([Tag.objects.create(name="prod"), Tag.objects.create(name="web")])
    db.tags.set([Tag.objects.get(name="prod")])
    assert names(admin.get("servers/?tag=prod")) == ["node-000", "node-001"]
    assert names(admin.get("servers/?tag=prod&tag=web")) == ["node-000"]
    assert names(admin.get("servers/?search=WEB%20node")) == ["node-000"]
    assert names(admin.get("servers/?status=suspended")) == ["node-002"]
    assert names(admin.get("servers/?state=never&ordering=-name")) == ["node-001", "node-000"]


def test_each_state_is_filtered_as_presence_tells_it(db: None):
    worker = Worker.objects.create(
        inbox="w", host="h", pid=1, lease_until=timezone.now() + timedelta(hours=1)
    )
    dead = Worker.objects.create(inbox="d", host="h", pid=2, lease_until=timezone.now() - timedelta(hours=1))
    dying = Worker.objects.create(
        inbox="e", host="h", pid=3, lease_until=timezone.now() - timedelta(seconds=5)
    )
    long_ago, lately = timezone.now() - timedelta(hours=2), timezone.now() - timedelta(seconds=5)
    rows = make(9)

    def session(server: Server, holder: Worker, closed: Any = None) -> None:
        Session.objects.create(
            server=server, worker=holder, secret_version=1, opened_at=long_ago, closed_at=closed
        )

    session(rows[0], worker, long_ago)
    session(rows[0], worker)
    session(rows[1], dead)
    session(rows[2], dying)
    session(rows[3], worker, lately)
    session(rows[4], worker, long_ago)
    session(rows[5], worker)
    identity.suspend(rows[5])
    identity.suspend(rows[6])
    Server.objects.filter(pk=rows[7].pk).update(connection_type="ssh")
    told = presence.of(Server.objects.all())
    for state in State:
        wanted = {pk for pk, there in told.items() if there.state is state}
        assert wanted, state
        assert (
            set(presence.in_state(Server.objects.all(), state.value).values_list("pk", flat=True)) == wanted
        ), state


# Making, changing, deleting -------------------------------------------------------------------------------------


def test_a_server_is_added_by_its_name_and_its_secret_told_once(admin: Program, root: Any):
    response = admin.post("servers/", {"name": "Web 1", "tags": ["prod", "web"], "notes": "rack 3"})
    assert response.status_code == 201, response.content
    body = response.json()
    assert (body["agent_id"], body["tags"], body["notes"]) == ("web-1", ["prod", "web"], "rack 3")
    server = Server.objects.get(agent_id="web-1")
    assert credentials.matches(body["secret"], server.secret_digest)
    assert body["master_url"] == "ws://testserver"
    assert "secret" not in admin.get("servers/web-1/").json()
    assert response["Cache-Control"] == "no-store"
    assert LogEntry.objects.get().user == root


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({}, "/name", "required"),
        ({"name": ""}, "/name", "blank"),
        ({"name": 5}, "/name", "invalid"),
        ({"name": "x" * 101}, "/name", "max_length"),
        ({"name": "a\u202eb"}, "/name", "hidden_characters"),
        ({"name": "a\0b"}, "/name", "null_characters_not_allowed"),
        ({"name": "a", "agent_id": "../x"}, "/agent_id", "invalid"),
        ({"name": "a", "agent_id": 12345}, "/agent_id", "invalid"),
        ({"name": "a", "agent_id": "abc\n"}, "/agent_id", "invalid"),
        ({"name": "a", "tags": "prod"}, "/tags", "not_a_list"),
        ({"name": "a", "tags": ["ok", 3]}, "/tags/1", "invalid"),
        ({"name": "a", "tags": ["t"] * 21}, "/tags", "max_length"),
        ({"name": "a", "status": "active"}, "/status", "unknown"),
        ({"name": "a", "a/b~c": 1}, "/a~1b~0c", "unknown"),
        ({"name": "a", "secret_digest": "x"}, "/secret_digest", "unknown"),
    ],
)
def test_a_wrong_body_is_refused_with_the_place(admin: Program, body: Any, pointer: str, code: str):
    response = admin.post("servers/", body)
    assert problem(response) == (400, "invalid")
    assert (pointer, code) in {(one["pointer"], one["code"]) for one in response.json()["errors"]}
    assert not Server.objects.exists()


def test_a_name_that_is_taken_is_a_conflict(server: Server, admin: Program):
    for body in ({"name": "Home server"}, {"name": "x", "agent_id": "agent-home-server"}):
        assert problem(admin.post("servers/", body)) == (409, "exists")
    make(1)
    assert problem(admin("PATCH", "servers/agent-000/", {"name": "Home server"})) == (409, "exists")


def test_only_what_is_named_is_changed_and_the_history_says_who(server: Server, admin: Program, root: Any):
    response = admin("PATCH", "servers/agent-home-server/", {"notes": "moved", "port": 22, "tags": ["a"]})
    assert response.status_code == 200, response.content
    body = response.json()
    assert (body["notes"], body["port"], body["tags"], body["name"]) == ("moved", 22, ["a"], "Home server")
    entry = LogEntry.objects.get()
    assert (entry.user, entry.get_change_message()) == (root, "Changed notes, port, tags.")


@pytest.mark.parametrize(
    "body", [{"port": 0}, {"port": "22"}, {"port": 1.5}, {"port": True}, {"status": "active"}]
)
def test_a_wrong_change_changes_nothing(server: Server, admin: Program, body: Any):
    assert problem(admin("PATCH", "servers/agent-home-server/", body)) == (400, "invalid")
    assert not LogEntry.objects.exists()


def test_a_server_is_deleted(server: Server, admin: Program, root: Any):
    assert admin("DELETE", "servers/agent-home-server/").status_code == 204
    assert not Server.objects.exists()
    assert (LogEntry.objects.get().user, LogEntry.objects.get().is_deletion()) == (root, True)


# Rights ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def other_group(server: Server) -> ServerGroup:
    group = ServerGroup.objects.create(name="others")
    group.servers.add(Server.objects.create(name="other", agent_id="agent-other"))
    return group


def test_what_one_may_not_see_does_not_exist(
    server: Server, other_group: ServerGroup, person: Callable[..., Any], program: Callable[..., Program]
):
    user = person()
    Grant.objects.create(server_group=other_group, user=user, permissions=["change", "run_command"])
    caller = program(user)
    assert names(caller.get("servers/")) == ["other"]
    hidden = [
        caller.get("servers/agent-home-server/"),
        caller("PATCH", "servers/agent-home-server/", {"notes": "x"}),
        caller("DELETE", "servers/agent-home-server/"),
    ]
    assert {problem(response) for response in hidden} == {(404, "not_found")}
    missing = caller.get("servers/agent-missing/").json()
    assert hidden[0].json() == missing | {"instance": f"{V1}servers/agent-home-server/"}
    assert caller("PATCH", "servers/agent-other/", {"notes": "x"}).status_code == 200
    assert problem(caller("DELETE", "servers/agent-other/")) == (403, "not_permitted")
    assert problem(caller.post("servers/", {"name": "n"})) == (403, "not_permitted")


def test_who_may_change_one_server_makes_no_tags_for_all(server: Server, person: Any, program: Any):
    group = ServerGroup.objects.create(name="mine")
    group.servers.add(server)
    user = person(username="joe")
    Grant.objects.create(server_group=group, user=user, permissions=["change"])
    Tag.objects.create(name="prod")
    joe = program(user)
    assert joe("PATCH", f"servers/{server.agent_id}/", {"tags": ["prod"]}).status_code == 200
    refused = joe("PATCH", f"servers/{server.agent_id}/", {"tags": ["prod", "mine"]})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (400, "/tags")
    assert list(Tag.objects.values_list("name", flat=True)) == ["prod"]


def test_a_scope_that_is_not_there_is_a_right_one_lacks(
    server: Server, root: Any, program: Callable[..., Program]
):
    caller = program(root, "run_command")
    assert names(caller.get("servers/")) == ["Home server"]  # every right includes to see
    assert problem(caller("PATCH", "servers/agent-home-server/", {"notes": "x"})) == (403, "not_permitted")
    assert problem(caller("DELETE", "servers/agent-home-server/")) == (403, "not_permitted")
    assert problem(caller.post("servers/", {"name": "n"})) == (403, "not_permitted")


def test_a_token_for_a_group_sees_no_other_server_even_when_the_group_is_gone(
    server: Server, other_group: ServerGroup, root: Any, program: Callable[..., Program]
):
    caller = program(root, "view", "change", groups=[other_group])
    assert names(caller.get("servers/")) == ["other"]
    assert problem(caller.get("servers/agent-home-server/")) == (404, "not_found")
    assert problem(caller.post("servers/", {"name": "n"})) == (403, "not_permitted")
    other_group.delete()
    assert names(caller.get("servers/")) == []
    assert access.visible(root).count() == 2
