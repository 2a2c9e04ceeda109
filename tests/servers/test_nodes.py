"""The one door: who may pass, what is written when, and what a caller gets."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import OperationalError, connection, transaction

from servers import errors, identity, nodes, transports
from servers.access import CONSOLE
from servers.models import CommandRecord, Server
from tests.servers.conftest import Wire

pytestmark = pytest.mark.django_db
PATIENCE = 10.0  # seconds


def the_record() -> CommandRecord:
    return CommandRecord.objects.get()


def raising(error: BaseException) -> Callable[..., Any]:
    def answer(**_: Any) -> Any:
        raise error

    return answer


# The way through ------------------------------------------------------------------------------------------------


def test_a_command_reaches_the_transport_and_its_data_comes_back(wired: Server, wire: Wire):
    wire.answer = lambda **command: {"cpu": 15.5, "asked": command["params"]}
    assert nodes.run(wired, "system", "getUsage", {"a": 1}, timeout=3) == {"cpu": 15.5, "asked": {"a": 1}}
    assert wire.sent[0]["server"] == wired
    assert (wire.sent[0]["service"], wire.sent[0]["action"], wire.sent[0]["timeout"]) == (
        "system",
        "getUsage",
        3,
    )


def test_the_panels_own_errands_are_not_recorded(wired: Server, wire: Wire):
    nodes.run(wired, "system", "getUsage")
    assert not CommandRecord.objects.exists()


def test_the_record_is_pending_then_sent_before_the_transport_has_it(wired: Server, wire: Wire, root: Any):
    seen = {}

    def answer(**command: Any) -> str:
        record = CommandRecord.objects.get(pk=command["id"])
        seen["state"], seen["finished"] = record.state, record.finished_at
        return "up 3 days"

    wire.answer = answer
    assert nodes.run(wired, "system", "exec", {"argv": ["uptime"]}, actor=root) == "up 3 days"
    assert seen == {"state": "sent", "finished": None}
    record = the_record()
    assert (record.state, record.code, record.error) == ("succeeded", "", "")
    assert (record.server, record.server_name, record.actor, record.actor_user) == (
        wired,
        "wired",
        "root",
        root,
    )
    assert (record.service, record.action, record.params) == ("system", "exec", {"argv": ["uptime"]})
    assert record.finished_at >= record.created_at
    assert 0 <= record.duration_seconds < PATIENCE


def test_the_console_may_run_commands_and_is_recorded(wired: Server, wire: Wire):
    nodes.run(wired, "system", "getUsage", actor=CONSOLE)
    assert (the_record().actor, the_record().actor_user) == ("console", None)


def test_environment_and_input_are_sent_but_not_recorded(wired: Server, wire: Wire, root: Any):
    params = {
        "argv": ["sh"],
        "env": {"TOKEN": "hunter2"},
        "stdin": "hunter2",
        "nested": [{"Password": "hunter2"}],
    }
    nodes.run(wired, "system", "exec", params, actor=root)
    assert wire.sent[0]["params"] == params
    assert "hunter2" not in str(the_record().params)
    assert the_record().params["argv"] == ["sh"]


# Who may pass ---------------------------------------------------------------------------------------------------


def test_who_may_not_run_commands_is_refused_and_nothing_is_sent(
    wired: Server, wire: Wire, person: Callable[..., Any]
):
    others = ["view_server", "change_server", "open_shell", "read_files", "write_files", "forward_port"]
    for actor in (
        AnonymousUser(),
        person(),
        person(*others),
        person("run_command", username="x", is_active=False),
    ):
        with pytest.raises(errors.NotAllowed) as refused:
            nodes.run(wired, "system", "getUsage", actor=actor)
        assert (refused.value.code, refused.value.ran) == ("forbidden", "no")
    assert wire.sent == []
    assert not CommandRecord.objects.exists()


def test_the_permission_to_run_commands_is_enough(wired: Server, wire: Wire, person: Callable[..., Any]):
    assert nodes.run(wired, "system", "getUsage", actor=person("run_command")) == {"ok": True}


def test_a_suspended_server_gets_no_command_from_anybody(wired: Server, wire: Wire, root: Any):
    identity.suspend(wired)
    for actor in (root, CONSOLE, None):
        with pytest.raises(errors.NotAllowed, match="wired is suspended, reactivate it first"):
            nodes.run(wired, "system", "getUsage", actor=actor)
    assert wire.sent == []


# How it ends ----------------------------------------------------------------------------------------------------

ENDS = [
    (errors.NotConnected(), "failed", "not_connected"),
    (errors.NotSent(), "failed", "not_sent"),
    (errors.BusUnavailable(), "failed", "bus_unavailable"),
    (errors.CommandFailed("timeout", "stopped after 3 s"), "failed", "timeout"),
    (errors.CommandFailed("expired"), "failed", "expired"),
    (errors.CommandFailed("cancelled", "stopped"), "cancelled", "cancelled"),
    (errors.CommandFailed("duplicate"), "unknown", "duplicate"),
    (errors.Disconnected(), "unknown", "disconnected"),
    (errors.NoReply(), "unknown", "no_reply"),
    (errors.RelayLost(), "unknown", "relay_lost"),
    (errors.Revoked(), "unknown", "revoked"),
    (ZeroDivisionError("secret words"), "unknown", "internal"),
    (KeyboardInterrupt(), "unknown", ""),
]


@pytest.mark.parametrize(
    ("error", "state", "code"), ENDS, ids=lambda value: getattr(value, "code", None) or str(value)
)
def test_every_end_is_recorded_as_what_it_was_and_raised(
    wired: Server, wire: Wire, root: Any, error: BaseException, state: str, code: str
):
    wire.answer = raising(error)
    with pytest.raises(type(error)):
        nodes.run(wired, "system", "getUsage", actor=root)
    record = the_record()
    assert (record.state, record.code) == (state, code)
    assert record.error
    assert "secret words" not in record.error
    assert record.finished_at is not None


def test_a_node_may_send_any_sentence_and_the_record_takes_it(wired: Server, wire: Wire, root: Any):
    wire.answer = raising(errors.CommandFailed("x" * 500, "\0\x1b[31m\udc80" + "y" * 100_000))
    with pytest.raises(errors.CommandFailed):
        nodes.run(wired, "system", "getUsage", actor=root)
    assert the_record().state == "failed"
    assert len(the_record().error) == 2000
    assert len(the_record().code) == 64


class OneTableAway:
    """Lets the database fail for statements that change the history, from `now_on` on."""

    def __init__(self) -> None:
        self.away = False

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if self.away and "servers_commandrecord" in sql and not sql.startswith("SELECT"):
            raise OperationalError("the database is away")
        return execute(sql, params, many, context)


def test_a_database_that_is_away_at_the_end_does_not_spoil_the_answer(
    wired: Server, wire: Wire, root: Any, caplog: pytest.LogCaptureFixture
):
    fault = OneTableAway()

    def answer(**_: Any) -> str:
        fault.away = True
        return "done"

    wire.answer = answer
    with connection.execute_wrapper(fault):
        assert nodes.run(wired, "system", "getUsage", actor=root) == "done"
    assert "which could not be recorded" in caplog.text
    assert the_record().state == "sent"  # `records.end_forgotten` makes it unknown later


def test_a_command_that_cannot_be_recorded_is_not_sent(wired: Server, wire: Wire, root: Any):
    fault = OneTableAway()
    fault.away = True
    with (
        connection.execute_wrapper(fault),
        pytest.raises(errors.NotSent, match="could not be recorded") as refused,
    ):
        nodes.run(wired, "system", "getUsage", actor=root)
    assert refused.value.ran == "no"
    assert wire.sent == []


# Transports -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["http", "ssh"])
def test_types_that_are_not_reached_yet_say_so_in_words(db: None, root: Any, kind: str):
    server = Server.objects.create(name="standard", agent_id="standard-1", connection_type=kind)
    with pytest.raises(
        errors.CommandFailed, match=f"servers of type {kind} are listed but not reached yet"
    ) as refused:
        nodes.run(server, "system", "getUsage", actor=root)
    assert (refused.value.code, refused.value.ran) == ("unknown_action", "no")
    assert (the_record().state, the_record().code) == ("failed", "unknown_action")
    assert transports.for_server(server).capabilities(server) == []


def test_a_type_nobody_serves_says_which_app_is_missing():
    server = Server(name="n", agent_id="agent-n", connection_type="smoke")
    with pytest.raises(errors.CommandFailed, match="no app in INSTALLED_APPS reaches servers of type smoke"):
        nodes.run(server, "system", "getUsage")


# On an event loop -----------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
class TestOnAnEventLoop:
    async def test_a_command_is_judged_recorded_and_answered(self, wired: Server, wire: Wire, root: Any):
        async def later(params: Any) -> Any:
            await asyncio.sleep(0)
            return {"got": params}

        wire.answer = lambda **command: later(command["params"])
        assert await nodes.arun(wired, "system", "getInfo", {"x": 1}, actor=root) == {"got": {"x": 1}}
        record = await CommandRecord.objects.aget()
        assert (record.state, str(record.pk)) == ("succeeded", wire.sent[0]["id"])

    async def test_who_may_not_is_refused(self, wired: Server, wire: Wire, person: Callable[..., Any]):
        nobody = await asyncio.to_thread(person)
        with pytest.raises(errors.NotAllowed):
            await nodes.arun(wired, "system", "getInfo", actor=nobody)
        assert wire.sent == []

    async def test_an_error_is_recorded(self, wired: Server, wire: Wire, root: Any):
        wire.answer = raising(errors.NoReply())
        with pytest.raises(errors.NoReply):
            await nodes.arun(wired, "system", "getInfo", actor=root)
        assert (await CommandRecord.objects.aget()).state == "unknown"

    async def test_a_caller_that_goes_away_leaves_an_unknown_outcome(
        self, wired: Server, wire: Wire, root: Any
    ):
        on_the_wire = asyncio.Event()

        async def never() -> None:
            on_the_wire.set()
            await asyncio.Event().wait()

        wire.answer = lambda **_: never()
        task = asyncio.create_task(nodes.arun(wired, "system", "exec", actor=root))
        await asyncio.wait_for(on_the_wire.wait(), PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        record = await CommandRecord.objects.aget()
        assert (record.state, record.error) == ("unknown", "the caller went away before the answer")

    async def test_a_caller_that_goes_away_before_it_was_sent_sends_nothing(
        self, wired: Server, wire: Wire, root: Any
    ):
        held, release = threading.Event(), threading.Event()

        def hold_the_row() -> None:
            try:
                with transaction.atomic():
                    list(Server.objects.select_for_update().filter(pk=wired.pk))
                    held.set()
                    assert release.wait(PATIENCE)
            finally:
                connection.close()

        holder = threading.Thread(target=hold_the_row, name="holder")
        holder.start()
        assert await asyncio.to_thread(held.wait, PATIENCE)
        task = asyncio.create_task(nodes.arun(wired, "system", "exec", actor=root))
        await asyncio.sleep(0)  # the task runs to where it waits for its thread
        task.cancel()
        await asyncio.sleep(0)
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(holder.join, PATIENCE)
        assert wire.sent == []
        record = await CommandRecord.objects.aget()
        assert (record.state, record.code) == ("cancelled", "cancelled")
