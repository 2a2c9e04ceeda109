"""Command any agent from anywhere: a view, a shell, a Celery task, a thread of a WSGI server.

from tunnel.dispatch import send_command

usage = send_command("web-01", "GET_STATS")
reply = send_command("web-01", "system.exec", {"argv": ["uptime"]}, timeout=30)
"""

import asyncio
import logging
import os
import threading
import time
from concurrent.futures import CancelledError as FutureCancelled
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from typing import Any

from agent_client.protocol import CloseCode, Code, InvalidState
from servers.transports import ByteStream
from tunnel import metrics, worker
from tunnel.other_loop import OtherLoopStream
from tunnel.outcomes import Outcome
from tunnel.requests import Request
from tunnel.streams import OwnedStream
from tunnel.switchboard import Switchboard

log = logging.getLogger("tunnel.dispatch")

DEFAULT_TIMEOUT = 10.0  # seconds; a browser gives up at about 15
MAX_TIMEOUT = 3600.0  # seconds; what takes longer is a stream or a job of the node's own
# Seconds a change of a server waits for the workers to be told; they look by themselves too.
ANNOUNCE_WITHIN = 1.0
THREAD_GRACE = 3.0  # seconds a thread waits beyond the deadline for the loop to say how it ended


def send_command(
    agent_id: str, command: str, payload: dict[str, Any] | None = None, *, timeout: float = DEFAULT_TIMEOUT
) -> Any:
    """Have an agent run `command` and return its `data`.

    `command` is `"GET_STATS"` or `"service.action"`, `payload` its parameters. `timeout` is how many seconds it may
    take on the node; the call ends at most a second later.

    Raises:
        servers.errors.CommandError: it failed; the class says whether it certainly did not run.
        InvalidState: called on a running event loop, which it would block; use `asend_command` there.
        ValueError: `command` or `timeout` is none.
    """
    return run(agent_id, parse(command, payload, timeout))


async def asend_command(
    agent_id: str, command: str, payload: dict[str, Any] | None = None, *, timeout: float = DEFAULT_TIMEOUT
) -> Any:
    """The same for callers on an event loop; cancelling it cancels the command."""
    return await arun(agent_id, parse(command, payload, timeout))


def parse(command: str, payload: dict[str, Any] | None, timeout: float) -> Request:
    """Return the request that `command` names.

    Raises:
        ValueError: it names none, or `timeout` is not between 0 and an hour.
    """
    if not 0 < timeout <= MAX_TIMEOUT:
        raise ValueError(f"timeout must be between 0 and {MAX_TIMEOUT:g} seconds, not {timeout}")
    if command == "GET_STATS":
        return Request("system", "getUsage", {}, timeout, short=True)
    service, dot, action = command.partition(".")
    if not (service and dot and action):
        raise ValueError(f"{command!r} is neither GET_STATS nor of the form service.action")
    return Request(service, action, dict(payload or {}), timeout)


def run(agent_id: str, request: Request) -> Any:
    """Run a request from a thread without an event loop, and return its data or raise as `send_command` does."""
    if _on_a_loop():
        raise InvalidState("send_command would block this event loop, await asend_command instead")
    future = asyncio.run_coroutine_threadsafe(_ask(agent_id, request), _loop())
    try:
        return future.result(request.patience + THREAD_GRACE).result()
    except (FutureTimeout, FutureCancelled):
        future.cancel()
        return Outcome(code=Code.NO_REPLY).result()


async def arun(agent_id: str, request: Request) -> Any:
    """Run a request from any event loop."""
    loop = _loop()
    if loop is asyncio.get_running_loop():
        return (await _ask(agent_id, request)).result()
    future = asyncio.run_coroutine_threadsafe(_ask(agent_id, request), loop)
    return (await asyncio.wrap_future(future)).result()


async def open_stream(agent_id: str, request: Request) -> ByteStream:
    """Have an agent open a stream, from any event loop; cancelling it cancels the command.

    Raises:
        servers.errors.CommandError: it was not opened.
    """
    loop = _loop()
    if loop is asyncio.get_running_loop():
        return await _open_stream(agent_id, request)
    opened: list[OwnedStream] = []
    opening = asyncio.run_coroutine_threadsafe(_open_and_keep(agent_id, request, opened), loop)
    try:
        return OtherLoopStream(await asyncio.wrap_future(opening), loop)
    except asyncio.CancelledError:
        loop.call_soon_threadsafe(_give_up, opened)  # it may have been opened over there in this moment
        raise


async def disconnect(inbox: str, session: str) -> None:
    """Have the worker behind `inbox` close a session whose agent stays welcome; called on any event loop."""
    loop = _loop()
    if loop is asyncio.get_running_loop():
        await _disconnect(inbox, session)
    else:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_disconnect(inbox, session), loop))


async def _disconnect(inbox: str, session: str) -> None:
    here = worker.running()
    mine = here.find_session(session) if here is not None else None
    if mine is not None:
        mine.close(CloseCode.SERVICE_RESTART, "from the panel")
        return
    switchboard = await _switchboard()
    switchboard.cut(inbox, session, CloseCode.SERVICE_RESTART)


def announce_identity(server: int, agent_id: str) -> None:
    """Tell all workers that a server's row changed, so that those who hold its agent look at it now."""
    here = worker.running()
    if here is not None:
        here.loop.call_soon_threadsafe(here.identity_changed)
    future = asyncio.run_coroutine_threadsafe(_announce(server, agent_id), _loop())
    if _on_a_loop():
        return
    with suppress(FutureTimeout):  # the process may end right after this, with what it had to say
        future.result(ANNOUNCE_WITHIN)


async def _announce(server: int, agent_id: str) -> None:
    switchboard = await _switchboard()
    switchboard.announce("identity", server=server, agent=agent_id)
    await switchboard.announced()


async def announce(news: str, **members: Any) -> None:
    """Tell all workers some news, from any event loop."""
    loop = _loop()
    if loop is asyncio.get_running_loop():
        await _tell(news, members)
    else:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_tell(news, members), loop))


async def _tell(news: str, members: dict[str, Any]) -> None:
    (await _switchboard()).announce(news, **members)


async def _ask(agent_id: str, request: Request) -> Outcome:
    switchboard = await _switchboard()
    began = time.monotonic()
    outcome = await switchboard.ask(agent_id, request)
    _count(request, outcome, time.monotonic() - began)
    return outcome


async def _open_stream(agent_id: str, request: Request) -> OwnedStream:
    switchboard = await _switchboard()
    began = time.monotonic()
    outcome, stream = await switchboard.open_stream(agent_id, request)
    _count(request, outcome, time.monotonic() - began)
    outcome.result()
    return stream


async def _open_and_keep(agent_id: str, request: Request, opened: list[OwnedStream]) -> OwnedStream:
    opened.append(await _open_stream(agent_id, request))
    return opened[0]


def _give_up(opened: list[OwnedStream]) -> None:
    for stream in opened:
        stream.give_up()


def _count(request: Request, outcome: Outcome, seconds: float) -> None:
    status = "success" if outcome.code is None else outcome.code.value
    metrics.command(f"{request.service}.{request.action}", status, seconds)


def _on_a_loop() -> bool:
    """Tell whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _loop() -> asyncio.AbstractEventLoop:
    """The loop the switchboard lives on: the server's in a web worker, else one of our own in a thread."""
    here = worker.running()
    if here is not None and here.loop.is_running():
        return here.loop
    return _background.loop()


async def _switchboard() -> Switchboard:
    here = worker.running()
    if here is not None and here.loop is asyncio.get_running_loop():
        return (await worker.current()).switchboard
    return await _background.switchboard()


class _Background:
    """An event loop in a thread, with a switchboard that holds no sockets; made at first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting: asyncio.Task[Switchboard] | None = None

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop, running."""
        with self._lock:
            if self._loop is None or self._loop.is_closed():
                self._loop = asyncio.new_event_loop()
                self._starting = None
                threading.Thread(target=self._loop.run_forever, name="tunnel dispatch", daemon=True).start()
            return self._loop

    async def switchboard(self) -> Switchboard:
        """Return the switchboard, started; called on the loop."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._start(), name="tunnel dispatch start")
        return await asyncio.shield(self._starting)

    @staticmethod
    async def _start() -> Switchboard:
        switchboard = Switchboard()
        await switchboard.start()
        return switchboard

    def forget(self) -> None:
        """Start anew in a forked child: threads do not survive a fork."""
        self.__init__()  # type: ignore[misc]


_background = _Background()
os.register_at_fork(after_in_child=_background.forget)
