"""Commands from every kind of caller: a thread, another event loop, the worker's own, a process that was forked."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.db import connection

from agent_client.protocol import CloseCode, Code
from servers import identity
from servers.errors import CommandFailed, NoReply, NotConnected
from servers.models import Server
from servers.threads import in_thread
from tests.tunnel.nodes import Node, Sockets, silent
from tests.tunnel.waiting import until
from tunnel import dispatch, sessions
from tunnel import worker as worker_module
from tunnel.handshake import Admission
from tunnel.requests import Request
from tunnel.sessions import Welcome
from tunnel.streams import OwnedStream
from tunnel.switchboard import Switchboard

pytestmark = pytest.mark.django_db(transaction=True)
SOON = 10.0  # seconds; what is looked for here happens within some tenths of one

# A server that forks its workers after it has asked an agent itself: Gunicorn with --preload, or Celery.
FORKS = """
import os, sys
import django

django.setup()
from tunnel.dispatch import send_command


def ask():
    return send_command("web-01", "system.echo", {"pid": os.getpid()})["params"]["pid"] == os.getpid()


assert ask()
child = os.fork()
if child == 0:
    sys.exit(0 if ask() and ask() else 1)
ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
sys.exit(ended if ask() else 2)
"""


def on_another_loop(work: Callable[[], Awaitable[Any]]) -> Awaitable[Any]:
    """Run `work` on an event loop of a thread."""

    async def run() -> Any:
        return await work()

    return asyncio.to_thread(lambda: asyncio.run(run()))


async def forget_background() -> None:
    """End the loop that this process keeps for callers without one, as its own end would."""
    loop = dispatch._background._loop
    if loop is not None:
        starting = dispatch._background._starting
        if starting is not None and starting.done():
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(starting.result().stop(), loop))
        loop.call_soon_threadsafe(loop.stop)
    dispatch._background.forget()


@pytest.fixture
async def background():
    """No caller without a loop was here before, nor will be after."""
    await forget_background()
    yield
    await forget_background()


@pytest.fixture
async def elsewhere(redis_url, background):
    """A node held by another process, as far as any caller here can tell; its news of the others are in `told`."""
    told: list[dict[str, Any]] = []
    sockets = Sockets()
    holder = Switchboard(sockets, told.append)
    await holder.start()
    server, _ = await in_thread(identity.create, "web-01")
    worker, session = uuid.uuid4(), uuid.uuid4()
    welcome = Welcome(server.pk, server.agent_id, server.secret_version)
    await in_thread(sessions.open_worker, worker, holder.bus.inbox)
    await in_thread(sessions.claim, welcome, session, worker, basic=False, address=None)
    node = Node(sockets, welcome=welcome, session=session)
    node.told = told
    node.inbox = holder.bus.inbox
    yield node
    await holder.stop()


@pytest.fixture
async def here(redis_url, monkeypatch, background):
    """A node held by the worker of this process, on the event loop of the test."""
    monkeypatch.setattr(worker_module, "RECHECK", 60.0)
    monkeypatch.setattr(worker_module.stopping, "chain", lambda _loop, _stop: None)
    worker = await worker_module.current()
    server, _ = await in_thread(identity.create, "web-01")
    welcome, session = Welcome(server.pk, server.agent_id, server.secret_version), uuid.uuid4()
    await worker.open(Admission(welcome, False, "127.0.0.1"), session)
    node = Node(worker, welcome=welcome, session=session)
    node.inbox = worker.switchboard.bus.inbox
    yield node
    node.connection.lost(1006)
    await worker.stop()
    worker_module._forget()
    await get_channel_layer().flush()


@pytest.fixture(params=["here", "elsewhere"])
def node(request):
    return request.getfixturevalue(request.param)


def send(number: int = 1) -> Any:
    return dispatch.send_command("web-01", "system.echo", {"n": number})


def asend(number: int = 1) -> Awaitable[Any]:
    return dispatch.asend_command("web-01", "system.echo", {"n": number})


ECHO = {"action": "echo", "params": {"n": 1}}


async def test_a_thread_without_a_loop_gets_its_answer(node):
    assert await asyncio.to_thread(send) == ECHO


async def test_the_loop_of_the_sockets_gets_its_answer(node):
    assert await asend() == ECHO


async def test_another_loop_gets_its_answer(node):
    assert await on_another_loop(asend) == ECHO


async def test_many_threads_at_once_share_one_line_and_each_gets_its_own_answer(elsewhere):
    answers = await asyncio.gather(*(asyncio.to_thread(send, number) for number in range(30)))
    assert [answer["params"]["n"] for answer in answers] == list(range(30))
    assert Counter(thread.name for thread in threading.enumerate())["tunnel dispatch"] == 1


async def test_a_thread_hears_what_went_wrong_as_the_error_that_it_is(node):
    def refuse(node: Node, command: Any) -> None:
        node.agent.fail(command.id, Code.NOT_FOUND, "no such thing here")
        node.flush()

    node.handler = refuse
    with pytest.raises(CommandFailed, match="no such thing here"):
        await asyncio.to_thread(send)
    with pytest.raises(NotConnected):
        await asyncio.to_thread(dispatch.send_command, "web-99", "GET_STATS")


@pytest.mark.parametrize("far", [False, True], ids=["same loop", "another loop"])
async def test_a_caller_that_is_cancelled_cancels_its_command(node, far):
    node.handler = silent
    if far:
        with pytest.raises(TimeoutError):
            await on_another_loop(lambda: asyncio.wait_for(asend(), 0.5))
    else:
        task = asyncio.ensure_future(asend())
        await until(lambda: node.commands, SOON)
        task.cancel()
    await until(lambda: node.cancelled == [node.commands[0].id], SOON)


async def test_a_loop_that_is_held_up_keeps_no_thread_for_ever(elsewhere, monkeypatch):
    monkeypatch.setattr(dispatch, "THREAD_GRACE", 0.1)
    assert await asyncio.to_thread(send) == ECHO
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        go.wait(SOON)

    dispatch._background.loop().call_soon_threadsafe(hold)
    held.wait(SOON)
    began = time.monotonic()
    with pytest.raises(NoReply):
        await asyncio.to_thread(dispatch.send_command, "web-01", "system.echo", timeout=0.1)
    go.set()
    assert time.monotonic() - began < SOON
    assert await asyncio.to_thread(send) == ECHO


async def test_a_forked_child_asks_over_a_line_of_its_own(elsewhere):
    environment = os.environ | {
        "DATABASE_URL": f"sqlite:///{connection.settings_dict['NAME']}",
        "DJANGO_SETTINGS_MODULE": "tests.settings",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FORKS, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, said = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, said.decode()
    parent, *rest = (command.params["pid"] for command in elsewhere.commands)
    assert Counter(rest) == {rest[0]: 2, parent: 1}
    assert rest[0] != parent


@pytest.mark.parametrize("far", [False, True], ids=["same loop", "another loop"])
async def test_a_session_is_closed_from_any_loop_and_its_agent_stays_welcome(node, far):
    def ask() -> Awaitable[None]:
        return dispatch.disconnect(node.inbox, str(node.connection.id))

    await (on_another_loop(ask) if far else ask())
    await until(lambda: node.closed_with == CloseCode.NORMAL, SOON)
    assert (await in_thread(Server.objects.get)).status == "active"


async def test_a_session_that_the_worker_does_not_hold_is_asked_for_over_the_bus(here):
    await dispatch.disconnect("nobody's inbox", str(uuid.uuid4()))
    assert here.closed_with is None
    assert await asend() == ECHO


async def test_a_change_of_a_server_is_told_to_everybody_from_a_thread_and_from_a_loop(elsewhere):
    change = (7, "web-07")
    await asyncio.to_thread(dispatch.announce_identity, *change)
    await until(lambda: len(elsewhere.told) == 1, SOON)
    began = time.monotonic()
    dispatch.announce_identity(*change)
    assert time.monotonic() - began < dispatch.ANNOUNCE_WITHIN
    await until(lambda: len(elsewhere.told) == 2, SOON)
    assert elsewhere.told == [{"kind": "news", "news": "identity", "server": 7, "agent": "web-07"}] * 2


async def test_the_worker_of_this_process_looks_at_once_when_a_server_changed(here):
    def suspend_and_tell() -> None:
        Server.objects.update(
            status="suspended"
        )  # what a script of the panel's owner does, and no signal sees
        server = Server.objects.get()
        dispatch.announce_identity(server.pk, server.agent_id)

    await asyncio.to_thread(suspend_and_tell)
    await until(lambda: here.closed_with == CloseCode.REVOKED, SOON)


# Streams --------------------------------------------------------------------------------------------------------

near_and_far = pytest.mark.parametrize("far", [False, True], ids=["same loop", "another loop"])


async def on(far: bool, work: Callable[[], Awaitable[Any]]) -> Any:
    return await (on_another_loop(work) if far else work())


def open_stream() -> Awaitable[Any]:
    request = Request("system", "exec", {"window": 64 * 1024}, SOON, streamed=True)
    return dispatch.open_stream("web-01", request)


def tells(node: Node, command: Any) -> None:
    """Open a stream, say two things on it, and end this direction."""
    number = node.open(command, {"handle": "h1"})
    node.write(number, b"first ")
    node.write(number, b"second")
    node.end(number, {"exitCode": 3})


@near_and_far
async def test_a_stream_is_read_and_written_from_any_loop(node, far):
    node.handler = tells

    async def talk() -> tuple[Any, ...]:
        async with await open_stream() as stream:
            said = b"".join([piece async for piece in stream])
            await stream.write(b"an answer")
            await stream.write_end({"sha256": "x"})
            return stream.number, stream.data["handle"], said, stream.end_detail, stream.over

    number, *found = await on(far, talk)
    assert found == ["h1", b"first second", {"exitCode": 3}, True]
    await until(lambda: node.ends[number].ended, SOON)
    assert bytes(node.ends[number].taken) == b"an answer"
    assert node.ends[number].detail == {"sha256": "x"}


@near_and_far
async def test_a_stream_is_read_whole_or_given_up_from_any_loop(node, far):
    node.handler = tells

    async def read() -> bytes:
        async with await open_stream() as stream:
            return await stream.read_all(100)

    async def give_up() -> int:
        stream = await open_stream()
        await stream.reset(Code.CANCELLED.value, "nobody looks")
        return stream.number

    async def fail() -> None:
        async with await open_stream():
            raise LookupError("of the caller")

    assert await on(far, read) == b"first second"
    given_up = await on(far, give_up)
    await until(lambda: node.ends[given_up].reset is not None, SOON)
    with pytest.raises(LookupError, match="of the caller"):
        await on(far, fail)
    await until(lambda: node.ends[max(node.ends)].reset is not None, SOON)


@near_and_far
async def test_a_reader_that_was_cancelled_lost_nothing(node, far):
    node.handler = lambda node, command: node.open(command)
    loop = asyncio.get_running_loop()

    async def wait_and_read() -> bytes:
        async with await open_stream() as stream:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(stream.read(), 0.2)
            loop.call_soon_threadsafe(node.write, stream.number, b"late")
            return bytes(await asyncio.wait_for(stream.read(), SOON))

    assert await on(far, wait_and_read) == b"late"


async def test_a_reader_on_another_loop_that_is_cancelled_just_as_its_answer_arrives_lost_nothing(
    node, monkeypatch
):
    node.handler = lambda node, command: node.open(command)
    loop, arrived, really_read = asyncio.get_running_loop(), threading.Event(), OwnedStream.read

    async def read_and_tell(stream: OwnedStream) -> bytes:
        data = await really_read(stream)
        asyncio.get_running_loop().call_later(0.01, arrived.set)
        return data

    async def read_and_read_again() -> tuple[bytes, bytes]:
        async with await open_stream() as stream:
            reading = asyncio.ensure_future(stream.read())
            await asyncio.sleep(0)
            loop.call_soon_threadsafe(node.write, stream.number, b"just now")
            assert arrived.wait(SOON)  # over there; this loop hears nothing meanwhile
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            loop.call_soon_threadsafe(node.end, stream.number)
            return await stream.read(), await stream.read_all(100)

    monkeypatch.setattr(OwnedStream, "read", read_and_tell)
    assert await on_another_loop(read_and_read_again) == (b"just now", b"")


@near_and_far
async def test_a_stream_that_the_agent_refuses_is_an_error_and_none_is_left(node, far):
    def refuse(node: Node, command: Any) -> None:
        node.agent.fail(command.id, Code.NOT_FOUND, "no such program")
        node.flush()

    node.handler = refuse
    with pytest.raises(CommandFailed, match="no such program"):
        await on(far, open_stream)
    assert not node.agent.live_streams


async def test_a_stream_that_is_opened_as_its_caller_on_another_loop_is_cancelled_does_not_stay(
    node, monkeypatch
):
    node.handler = lambda node, command: node.open(command)
    opened, really_open = threading.Event(), dispatch._open_stream

    async def open_and_tell(*args: Any) -> Any:
        stream = await really_open(*args)
        asyncio.get_running_loop().call_later(0.01, opened.set)
        return stream

    async def change_ones_mind() -> None:
        opening = asyncio.ensure_future(open_stream())
        await asyncio.sleep(0)
        assert opened.wait(SOON)  # over there; this loop hears nothing meanwhile
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening

    monkeypatch.setattr(dispatch, "_open_stream", open_and_tell)
    await on_another_loop(change_ones_mind)
    await until(lambda: node.ends[max(node.ends)].reset is not None, SOON)
