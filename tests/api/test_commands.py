"""`servers/<agent_id>/commands/`: through the one door, answered as what it was, and never twice for one key."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError
from django.test import AsyncClient
from django.utils import timezone

from servers import errors, identity, nodes, tokens
from servers.models import CommandRecord, Server, ServerGroup
from tests.api.conftest import V1, Program, problem
from tests.servers.conftest import Wire
from tests.tunnel.waiting import until
from tunnel import background
from tunnel.api import command_views, idempotency
from tunnel.models import IdempotencyKey

pytestmark = pytest.mark.django_db(transaction=True)
PATH = "servers/wired-1/commands/"
UPTIME = {"service": "system", "action": "exec", "params": {"argv": ["uptime"]}}


def raising(error: Exception) -> Callable[..., Any]:
    def answer(*_: Any, **__: Any) -> Any:
        raise error

    return answer


def test_a_command_is_run_and_answered_with_its_id(wired: Server, wire: Wire, admin: Program, root: Any):
    wire.answer = lambda **command: {"stdout": "up 3 days", "asked": command["params"]}
    response = admin.post(PATH, UPTIME | {"timeout": 3})
    assert response.status_code == 200, response.content
    body = response.json()
    assert body["data"] == {"stdout": "up 3 days", "asked": {"argv": ["uptime"]}}
    assert (body["service"], body["action"]) == ("system", "exec")
    assert 0 <= body["duration_seconds"] < 10
    assert (wire.sent[0]["id"], wire.sent[0]["timeout"]) == (body["id"], 3)
    record = CommandRecord.objects.get(pk=body["id"])
    assert (record.state, record.actor, record.actor_user) == ("succeeded", "root (token test)", root)


ENDS = [
    (errors.NotConnected(), 409, "not_connected", "no"),
    (errors.NotSent(), 503, "not_sent", "no"),
    (errors.BusUnavailable(), 503, "bus_unavailable", "no"),
    (errors.NoReply(), 504, "no_reply", "unknown"),
    (errors.Disconnected(), 502, "disconnected", "unknown"),
    (errors.RelayLost(), 502, "relay_lost", "unknown"),
    (errors.Revoked(), 502, "revoked", "unknown"),
    (errors.CommandFailed("forbidden", "the policy forbids it"), 403, "forbidden", "no"),
    (errors.CommandFailed("timeout", "stopped after 3 s"), 502, "timeout", "yes"),
    (errors.CommandFailed("not_found", "no such file"), 502, "not_found", "yes"),
    (errors.CommandFailed("exists"), 502, "exists", "yes"),
    (errors.CommandFailed("internal"), 502, "internal", "yes"),
    (errors.CommandFailed("unknown_action"), 502, "unknown_action", "no"),
]


@pytest.mark.parametrize(
    ("error", "status", "code", "ran"), ENDS, ids=lambda value: getattr(value, "code", None)
)
def test_every_end_has_its_status_and_the_code_of_the_protocol(
    wired: Server, wire: Wire, admin: Program, error: Exception, status: int, code: str, ran: str
):
    wire.answer = raising(error)
    response = admin.post(PATH, UPTIME)
    assert problem(response) == (status, code)
    body = response.json()
    assert (body["ran"], body["detail"]) == (ran, str(error))
    assert CommandRecord.objects.get(pk=body["id"]).code == code
    assert ("Retry-After" in response) == (status == 503)


def test_a_fault_inside_is_a_problem_that_tells_nothing(wired: Server, wire: Wire, admin: Program):
    wire.answer = raising(ZeroDivisionError("secret words"))
    response = admin.post(PATH, UPTIME)
    assert problem(response) == (500, "internal")
    assert b"secret words" not in response.content
    assert CommandRecord.objects.get().state == "unknown"


def test_a_suspended_server_gets_no_command(wired: Server, wire: Wire, admin: Program):
    identity.suspend(wired)
    response = admin.post(PATH, UPTIME)
    assert problem(response) == (403, "forbidden")
    assert "is suspended" in response.json()["detail"]
    assert wire.sent == []


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"service": "system"}, "/action"),
        ({"service": 1, "action": "x"}, "/service"),
        ({"service": "s" * 65, "action": "x"}, "/service"),
        ({"service": "a\0", "action": "x"}, "/service"),
        ({"service": "s", "action": "x", "params": []}, "/params"),
        ({"service": "s", "action": "x", "timeout": 31}, "/timeout"),
        ({"service": "s", "action": "x", "timeout": 0}, "/timeout"),
        ({"service": "s", "action": "x", "timeout": "5"}, "/timeout"),
        ({"service": "s", "action": "x", "timeout": True}, "/timeout"),
        ({"service": "s", "action": "x", "servers": ["all"]}, "/servers"),
    ],
)
def test_a_wrong_command_is_refused_with_the_place(
    wired: Server, wire: Wire, admin: Program, body: Any, pointer: str
):
    response = admin.post(PATH, body)
    assert problem(response) == (400, "invalid")
    assert pointer in [one["pointer"] for one in response.json()["errors"]]
    assert wire.sent == []


def test_who_may_not_run_commands_is_told_so_only_if_the_server_is_visible(
    wired: Server, wire: Wire, person: Callable[..., Any], program: Callable[..., Program]
):
    group = ServerGroup.objects.create(name="others")
    root = person("run_command", "view_server", username="u")
    assert problem(program(person("view_server")).post(PATH, UPTIME)) == (403, "not_permitted")
    assert problem(program(root, "view").post(PATH, UPTIME)) == (403, "not_permitted")
    assert problem(program(root, groups=[group]).post(PATH, UPTIME)) == (404, "not_found")
    assert problem(Program().post(PATH, UPTIME)) == (401, "not_authenticated")
    assert wire.sent == []


# Idempotency ----------------------------------------------------------------------------------------------------


def test_the_same_key_and_body_runs_once_and_answers_the_same(wired: Server, wire: Wire, admin: Program):
    wire.answer = lambda **command: {"id": command["id"], "text": "\u2028é\0"}
    first, second = (admin.post(PATH, UPTIME, **{"Idempotency-Key": "k1"}) for _ in range(2))
    assert first.status_code == second.status_code == 200
    assert first.json() == second.json()
    assert "Idempotency-Replayed" not in first
    assert second["Idempotency-Replayed"] == "true"
    assert len(wire.sent) == 1


def test_the_end_as_an_error_is_kept_too(wired: Server, wire: Wire, admin: Program):
    wire.answer = raising(errors.NoReply())
    first, second = (admin.post(PATH, UPTIME, **{"Idempotency-Key": "k1"}) for _ in range(2))
    assert problem(first) == problem(second) == (504, "no_reply")
    assert first.json() == second.json()
    assert len(wire.sent) == 1


def test_a_command_that_certainly_did_not_run_gives_its_key_back(wired: Server, wire: Wire, admin: Program):
    wire.answer = raising(errors.NotConnected())
    assert problem(admin.post(PATH, UPTIME, **{"Idempotency-Key": "k1"})) == (409, "not_connected")
    wire.answer = lambda **_: "done"
    assert admin.post(PATH, UPTIME, **{"Idempotency-Key": "k1"}).json()["data"] == "done"


def test_a_command_that_could_not_be_judged_gives_its_key_back(
    wired: Server, wire: Wire, admin: Program, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(nodes, "admit", raising(OperationalError("the server closed the connection")))
        assert problem(admin.post(PATH, UPTIME, **{"Idempotency-Key": "k1"})) == (503, "unavailable")
    assert admin.post(PATH, UPTIME, **{"Idempotency-Key": "k1"}).status_code == 200
    assert len(wire.sent) == 1


def test_a_key_belongs_to_one_request_of_one_login(wired: Server, wire: Wire, admin: Program, root: Any):
    assert admin.post(PATH, UPTIME, **{"Idempotency-Key": "k1"}).status_code == 200
    other = UPTIME | {"params": {"argv": ["reboot"]}}
    assert problem(admin.post(PATH, other, **{"Idempotency-Key": "k1"})) == (422, "key_reused")
    assert len(wire.sent) == 1
    colleague = Program(tokens.create(root, "other", ["run_command"])[1])
    assert colleague.post(PATH, other, **{"Idempotency-Key": "k1"}).status_code == 200
    assert len(wire.sent) == 2


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "ä"])
def test_a_key_of_no_valid_shape_is_refused(wired: Server, wire: Wire, admin: Program, key: str):
    response = admin.post(PATH, UPTIME, **{"Idempotency-Key": key})
    assert problem(response) == (400, "invalid")
    assert wire.sent == []


def test_many_at_once_with_one_key_run_one_command(wired: Server, wire: Wire, root: Any):
    token = tokens.create(root, "x", ["run_command"])[1]
    release = threading.Event()

    def answer(**command: Any) -> Any:
        async def later() -> str:
            await asyncio.to_thread(release.wait, 20)
            return command["id"]

        return later()

    def call(_: int) -> Any:
        response = Program(token).post(PATH, UPTIME, **{"Idempotency-Key": "k"})
        if response.status_code == 409:
            release.set()  # somebody was told that it runs: now it may end
        return response

    wire.answer = answer
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(call, range(8)))
    assert len(wire.sent) == 1
    assert {response.status_code for response in responses} <= {200, 409}
    busy = [response for response in responses if response.status_code == 409]
    assert {problem(response) for response in busy} == {(409, "in_progress")}
    assert {response.json()["id"] for response in busy} == {wire.sent[0]["id"]}


def test_a_process_that_died_in_between_leaves_a_key_that_runs_nothing(
    wired: Server, wire: Wire, admin: Program
):
    admin.post(PATH, UPTIME, **{"Idempotency-Key": "k1"})
    IdempotencyKey.objects.update(status=None, reply="")  # as it stood before the answer
    response = admin.post(PATH, UPTIME, **{"Idempotency-Key": "k1"})
    assert problem(response) == (409, "in_progress")
    assert CommandRecord.objects.filter(pk=UUID(response.json()["id"])).exists()
    assert len(wire.sent) == 1


def test_a_key_whose_command_ended_unseen_says_so_and_runs_nothing(wired: Server, wire: Wire, admin: Program):
    wire.answer = raising(ZeroDivisionError("secret words"))
    assert problem(admin.post(PATH, UPTIME, **{"Idempotency-Key": "k1"})) == (500, "internal")
    again = admin.post(PATH, UPTIME, **{"Idempotency-Key": "k1"})
    assert problem(again) == (500, "internal")
    assert again.json()["ran"] == "unknown"
    assert len(wire.sent) == 1


def test_a_reply_too_large_to_keep_is_not_run_again(
    wired: Server, wire: Wire, admin: Program, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(idempotency, "MAX_REPLY", 100)
    wire.answer = lambda **_: "x" * 200
    assert admin.post(PATH, UPTIME, **{"Idempotency-Key": "k1"}).status_code == 200
    assert problem(admin.post(PATH, UPTIME, **{"Idempotency-Key": "k1"})) == (409, "reply_not_kept")
    assert len(wire.sent) == 1


def test_keys_are_forgotten_after_a_day(wired: Server, wire: Wire, admin: Program):
    admin.post(PATH, UPTIME, **{"Idempotency-Key": "old"})
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=25))
    admin.post(PATH, UPTIME, **{"Idempotency-Key": "new"})
    assert background.prune()["idempotency keys"] == 1
    assert IdempotencyKey.objects.get().key == "new"


# On the event loop ----------------------------------------------------------------------------------------------


async def test_slow_nodes_hold_no_thread(wired: Server, wire: Wire, root: Any):
    """More commands wait than there are threads, and a quick request goes through beside them."""
    token = (await asyncio.to_thread(tokens.create, root, "x", ["run_command"]))[1]
    release, client, shown = asyncio.Event(), AsyncClient(), {"Authorization": f"Token {token}"}

    async def slow() -> str:
        await release.wait()
        return "late"

    wire.answer = lambda **_: slow()
    waiting = [
        asyncio.create_task(client.post(V1 + PATH, UPTIME, "application/json", headers=shown))
        for _ in range(20)
    ]
    await until(lambda: len(wire.sent) == 20, 20)
    assert (await client.get(f"{V1}me/", headers=shown)).status_code == 200
    release.set()
    assert {response.status_code for response in await asyncio.gather(*waiting)} == {200}


async def test_a_caller_that_goes_away_before_it_was_sent_leaves_its_key_free(
    wired: Server, wire: Wire, root: Any, monkeypatch: pytest.MonkeyPatch
):
    token = (await asyncio.to_thread(tokens.create, root, "x", ["run_command"]))[1]
    shown = {"Authorization": f"Token {token}", "Idempotency-Key": "once"}
    begun, release = threading.Event(), threading.Event()

    def slow(*order: Any) -> idempotency.Claim:
        begun.set()
        assert release.wait(20)
        return idempotency.claim(*order)

    monkeypatch.setattr(command_views, "claim", slow)
    client = AsyncClient()
    task = asyncio.create_task(client.post(V1 + PATH, UPTIME, "application/json", headers=shown))
    assert await asyncio.to_thread(begun.wait, 20)
    task.cancel()
    await asyncio.sleep(0)
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert wire.sent == []
    record = await CommandRecord.objects.aget()
    assert (record.state, record.code) == ("cancelled", "cancelled")
    again = await client.post(V1 + PATH, UPTIME, "application/json", headers=shown)
    assert again.status_code == 200
    assert len(wire.sent) == 1
