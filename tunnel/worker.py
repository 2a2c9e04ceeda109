"""One web worker: the agent sockets it holds, its lease, and the tasks that keep both true.

It starts at first use on the server's event loop, and stops when the server is told to stop.
"""

import asyncio
import gc
import logging
import math
import os
import time
import uuid
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from channels.layers import get_channel_layer
from django.db import Error as DatabaseError

from agent_client.protocol import CloseCode
from agent_client.protocol.messages import Hello
from servers.threads import Lane, in_thread
from tunnel import facts, figures, metrics, sessions, stopping
from tunnel.conf import settings
from tunnel.connection import AgentConnection, Send
from tunnel.handshake import Admission
from tunnel.letters import Envelope
from tunnel.live import hub
from tunnel.logs import about
from tunnel.models import CloseReason
from tunnel.recordings import recorders
from tunnel.routes import JOINING
from tunnel.sessions import Loser, Welcome
from tunnel.shells import news
from tunnel.switchboard import Switchboard

log = logging.getLogger("tunnel.worker")

TICK = 1.0  # seconds; deadlines of commands and silence are noticed this late
STALL = (
    3.0  # seconds late; a process that was held up so long has not yet read what its agents said meanwhile
)
RECHECK = 5.0  # seconds between two looks at whether our agents are still welcome
FIGURES = 1.0  # seconds over which fresh figures are gathered for the other workers
DRAIN_LOOK = 0.05  # seconds between looks at whether all commands are answered
# Database connections for opening and ending sessions. Both wait for other writers, on a locked SQLite for long, and
# they come in crowds: lease, routes and pages must not stand behind them.
SESSION_THREADS = 2
TICKS_A_NUDGE = 3  # lease renewals between two nudges of the background worker
JOBS = "jobs"  # the alias of the channel layer for the background worker
BACKGROUND = "tunnel-background"


async def current() -> "Worker":
    """Return this process's worker on the running loop, started at first use."""
    global _current, _starting
    loop = asyncio.get_running_loop()
    if _current is None or _current.loop is not loop:
        _current = Worker()
        _starting = asyncio.create_task(_current.start(), name="tunnel worker start")
    if _starting is not None:
        await asyncio.shield(_starting)
    return _current


def running() -> "Worker | None":
    """Return this process's worker if one runs."""
    return _current if _current is not None and not _current.loop.is_closed() else None


def _forget() -> None:
    """Have no worker: a forked child holds neither its sockets nor its loop."""
    global _current, _starting
    _current = _starting = None


def _set_aside() -> None:
    """Let the garbage collector pass over what is loaded by now, which stays.

    An ended session is garbage in cycles. Python looks for those once a quarter more than everything was made, which
    with all of Django beside it is after hundreds of sessions, and their memory is then in pieces.
    """
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()


_session_lane = Lane("tunnel-sessions", SESSION_THREADS)
_current: "Worker | None" = None
_starting: "asyncio.Task[None] | None" = None
os.register_at_fork(after_in_child=_forget)


@dataclass
class Ending:
    """How a session ended; `failed` when its row could not be written, which is tried again."""

    welcome: Welcome
    reason: CloseReason
    detail: str
    failed: bool = False


class Worker:
    """Holds agent connections and answers for them. All methods run on its event loop."""

    def __init__(self) -> None:
        self.id = uuid.uuid4()
        self.loop = asyncio.get_running_loop()
        self.switchboard = Switchboard(self, self._on_news, hub.refresh)
        self.recorders = recorders.Recorders(self.id, lambda: self.switchboard.announce(recorders.NEWS))
        self._by_agent: dict[str, AgentConnection] = {}
        self._by_session: dict[str, AgentConnection] = {}
        self._opening: set[str] = set()  # sessions whose sockets are not accepted yet
        self._ending: dict[str, Ending] = {}  # sessions over here, whose rows may be open still
        self._hellos: dict[uuid.UUID, Hello] = {}  # the last one of each session, until it is written
        self._figures: dict[int, dict[str, Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._inbox = f"{JOINING}{self.id}"
        self._registered = False
        self._registering = asyncio.Lock()
        self._renewals = 0
        self._ticked = time.monotonic()
        self._nudging: asyncio.Task[None] | None = None
        self.stopping = False

    # -- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Join the bus and take the lease."""
        _set_aside()
        await self.switchboard.start(self._joined)
        self._every(sessions.RENEWAL, self._renew, "lease")
        self._every(RECHECK, self._recheck, "recheck")
        self._every(recorders.LOOK, self.recorders.look, "recordings")
        self._every(TICK, self._tick, "tick")
        self._every(FIGURES, self._tell_figures, "figures")
        stopping.chain(self.loop, self.stop)
        log.info("worker started worker=%s", self.id)

    async def stop(self) -> None:
        """Say goodbye to all agents, let running commands end, give the lease back."""
        if self.stopping:
            return
        self.stopping = True
        await self.recorders.stop()  # first: the last output still comes
        held = list(self._by_session.values())
        log.info("worker stops: %d tunnels say goodbye worker=%s", len(held), self.id)
        for connection, retry_after in zip(
            held, stopping.spread(len(held), settings.RECONNECT_SPREAD), strict=True
        ):
            connection.goodbye(retry_after)
        until = time.monotonic() + settings.DRAIN
        while self._awaited(held) and time.monotonic() < until:  # noqa: ASYNC110 - a few looks
            await asyncio.sleep(DRAIN_LOOK)
        for connection in held:
            connection.close(CloseCode.WORKER_RESTART)
        await asyncio.gather(*(connection.closed() for connection in held))
        await self._finish()

    def _awaited(self, held: list[AgentConnection]) -> bool:
        """Tell whether anybody waits for our agents, or one of our own callers for an agent elsewhere."""
        return self.switchboard.asking or any(connection.pending for connection in held)

    async def _finish(self) -> None:
        me = asyncio.current_task()
        closing = [task for task in self._tasks if task.get_name().startswith("close ")]
        if closing:
            await asyncio.wait(closing, timeout=settings.DRAIN)
        for task in self._tasks:
            if task is not me:
                task.cancel()
        with suppress(DatabaseError):
            await in_thread(sessions.close_worker, self.id)
        await self.switchboard.stop()

    # -- agents ----------------------------------------------------------------------------------

    async def open(self, admission: Admission, session: uuid.UUID, before: float = math.inf) -> None:
        """Claim the session in the database, ending an older one of the same agent.

        Raises:
            sessions.NoLongerWelcome: the server row changed meanwhile.
            sessions.ClaimedTooLate: it was not claimed before `before` on the monotonic clock.
            django.db.Error: the database is away.
        """
        self._opening.add(str(session))
        try:
            await self._register()
            loser = await _session_lane.run(
                sessions.claim,
                admission.welcome,
                session,
                self.id,
                basic=admission.basic,
                address=None if admission.address == "unix" else admission.address,
                before=before,
            )
        except BaseException:
            # When we are cancelled the thread goes on: `_recheck` ends the row it may still make.
            self._opening.discard(str(session))
            raise
        if loser is not None:
            self._cut_loser(loser)

    def attach(self, admission: Admission, session: uuid.UUID, send: Send) -> AgentConnection:
        """Take over an accepted socket whose session was claimed."""
        connection = AgentConnection(session, admission, send, self)
        self._by_agent[admission.welcome.agent_id] = connection
        self._by_session[str(session)] = connection
        self._opening.discard(str(session))
        kind = "basic" if admission.basic else "v1"
        about("tunnel.session", agent=admission.welcome.agent_id, session=session).info(
            "tunnel opened from %s (%s)", admission.address, kind
        )
        self._tell_state(admission.welcome.server, admission.welcome.agent_id)
        if self.stopping:
            connection.goodbye(*stopping.spread(1, settings.RECONNECT_SPREAD))
            connection.close(CloseCode.WORKER_RESTART)
        else:  # a suspension or a newer session since the claim was told when there was no socket to close
            self._spawn(self._cut_unwelcome({str(session): admission.welcome}), session)
        return connection

    @property
    def tunnels(self) -> int:
        """How many tunnels it holds."""
        return len(self._by_session)

    @property
    def queued(self) -> int:
        """How many characters wait for agents that read slowly."""
        return sum(connection.queued for connection in list(self._by_session.values()))

    def find(self, agent_id: str) -> AgentConnection | None:
        """Return the open connection of an agent."""
        return self._by_agent.get(agent_id)

    def find_session(self, session: str) -> AgentConnection | None:
        """Return an open connection by its session id."""
        return self._by_session.get(session)

    def abandon(self, session: uuid.UUID, admission: Admission) -> None:
        """End a claimed session whose socket was gone before it was accepted."""
        self._opening.discard(str(session))
        self._end(session, Ending(admission.welcome, CloseReason.NETWORK_LOST, "gone before accept"))

    # -- what connections tell -------------------------------------------------------------------

    def introduced(self, connection: AgentConnection, hello: Hello) -> None:
        """Keep what an agent said of itself last; one write at a time, however often it says something else."""
        under_way = connection.id in self._hellos
        self._hellos[connection.id] = hello
        if not under_way:
            self._spawn(self._keep_hello(connection), connection.id)

    def reported(self, connection: AgentConnection, usage: dict[str, Any]) -> None:
        """Gather fresh figures for the pages of all workers and for the database."""
        self._figures[connection.welcome.server] = {
            "usage": figures.clean(usage),
            "rtt": figures.clean_rtt(connection.rtt),
            "at": time.time(),
        }

    def ended(self, connection: AgentConnection, reason: CloseReason, detail: str) -> None:
        """Forget a connection and end its row."""
        metrics.session_closed(reason.value)
        agent_id = connection.welcome.agent_id
        if self._by_agent.get(agent_id) is connection:
            del self._by_agent[agent_id]
        self._by_session.pop(str(connection.id), None)
        self._end(connection.id, Ending(connection.welcome, reason, detail))

    def _end(self, session: uuid.UUID, ending: Ending) -> None:
        self._ending[str(session)] = ending
        self._spawn(self._close_row(str(session), ending), session)

    async def _close_row(self, session: str, ending: Ending) -> None:
        try:
            await _session_lane.run(sessions.close, uuid.UUID(session), ending.reason, ending.detail)
        except DatabaseError as exc:
            ending.failed = True
            log.warning("a session's end could not be written yet: %s session=%s", exc, session)
        else:
            self._ending.pop(session, None)
        self._tell_state(ending.welcome.server, ending.welcome.agent_id)

    async def _keep_hello(self, connection: AgentConnection) -> None:
        written = None
        try:
            while (hello := self._hellos[connection.id]) is not written:
                await in_thread(facts.keep, connection.welcome.server, connection.id, hello)
                hub.state_changed(connection.welcome.server)
                written = hello
        except DatabaseError as exc:
            log.warning("what an agent said of itself could not be written: %s", exc)
        finally:
            del self._hellos[connection.id]

    def _cut_loser(self, loser: Loser) -> None:
        mine = self._by_session.get(loser.session)
        if mine is not None:
            mine.close(CloseCode.REPLACED, "a newer connection took over")
        else:
            self.switchboard.cut(loser.inbox, loser.session, CloseCode.REPLACED)

    # -- news ------------------------------------------------------------------------------------

    def tell_refused(self, server: int) -> None:
        """Have the pages of all workers look at a server whose agent was refused."""
        self.switchboard.announce("state", server=server)
        hub.state_changed(server)

    def _tell_state(self, server: int, agent_id: str) -> None:
        self.switchboard.routes.drop(agent_id)
        self.switchboard.announce("state", server=server, agent=agent_id)
        hub.state_changed(server)
        news.server_changed(server)

    async def _tell_figures(self) -> None:
        fresh, self._figures = self._figures, {}
        if not fresh:
            return
        for server, row in fresh.items():
            hub.figures(server, row["usage"], row["rtt"], row["at"])
        rows = [[server, row["usage"], row["rtt"], row["at"]] for server, row in fresh.items()]
        self.switchboard.announce("figures", rows=rows)
        self._nudge({"type": "figures.write", "rows": rows})

    def _on_news(self, envelope: Envelope) -> None:
        if envelope["news"] == "state":
            hub.state_changed(envelope["server"])
            news.server_changed(envelope["server"])
        elif envelope["news"] == "shell":
            news.shell_changed(envelope["shell"])
        elif envelope["news"] == recorders.NEWS:
            self._spawn(self.recorders.look(), self.id)
        elif envelope["news"] == "figures":
            for server, usage, rtt, at in envelope["rows"]:
                hub.figures(server, usage, rtt, at)
        elif envelope["news"] == "identity":
            self._spawn(self._recheck(), self.id)

    def _nudge(self, message: dict[str, Any]) -> None:
        """Send a job to the background worker, unless the last one is still on its way.

        The database is the truth, so a lost one is harmless; waiting for Redis here would cost the lease.
        """
        if self._nudging is None or self._nudging.done():
            self._nudging = asyncio.create_task(self._send_job(message), name="tunnel nudge")

    async def _send_job(self, message: dict[str, Any]) -> None:
        try:
            await get_channel_layer(JOBS).send(BACKGROUND, message)
        except Exception as exc:  # noqa: BLE001 - each layer has its own errors
            log.debug("the background worker was not nudged: %r", exc)

    # -- what must stay true ---------------------------------------------------------------------

    def identity_changed(self) -> None:
        """Look now whether all agents are still welcome."""
        self._spawn(self._recheck(), self.id)

    async def _recheck(self) -> None:
        if not self.stopping:
            await self._cut_unwelcome({key: one.welcome for key, one in self._by_session.items()})
            await self._end_rows_without_sockets()

    async def _end_rows_without_sockets(self) -> None:
        """End our sessions that live in the database alone: they would show a tunnel that is not there."""
        if not self._registered:
            return
        for session, welcome in (await in_thread(sessions.open_rows, self.id)).items():
            if not any(session in known for known in (self._by_session, self._opening, self._ending)):
                self._ending[session] = Ending(welcome, CloseReason.NETWORK_LOST, "no socket", failed=True)
        for session, ending in list(self._ending.items()):
            if ending.failed:
                ending.failed = False
                await self._close_row(session, ending)

    async def _cut_unwelcome(self, held: dict[str, Welcome]) -> None:
        if not held:
            return
        for session, reason in (await in_thread(sessions.unwelcome, self.id, held)).items():
            connection = self._by_session.get(session)
            if connection is not None:
                revoked = reason is CloseReason.REVOKED
                connection.close(CloseCode.REVOKED if revoked else CloseCode.REPLACED, "seen in the database")

    async def _register(self) -> None:
        """Write this worker's row unless it stands: the first lease and the first handshakes come here together."""
        async with self._registering:
            if not self._registered:
                inbox = self._inbox
                await in_thread(sessions.open_worker, self.id, inbox)
                self._registered = inbox == self._inbox  # another one joined meanwhile has to be written too

    async def _renew(self) -> None:
        await self._register()
        if not await in_thread(sessions.renew, self.id):
            log.warning("the lease had run out, sessions are claimed again worker=%s", self.id)
            await in_thread(sessions.open_worker, self.id, self._inbox)
            kept = await in_thread(sessions.reclaim, self.id, list(self._by_session))
            for session in set(self._by_session) - kept:
                self._by_session[session].close(CloseCode.REPLACED, "taken over while the lease was lost")
        self._renewals += 1
        if self._renewals % TICKS_A_NUDGE == 0:
            self._nudge({"type": "tick"})

    async def _tick(self) -> None:
        now = time.monotonic()
        stalled, self._ticked = now - self._ticked > TICK + STALL, now
        if stalled:
            log.warning("this worker was held up, its agents are judged a second later worker=%s", self.id)
            return
        for connection in list(self._by_session.values()):
            connection.tick(now)

    def _joined(self, inbox: str) -> None:
        self._inbox = inbox
        self._registered = False
        self._spawn(self._renew(), self.id)

    # -- tasks -----------------------------------------------------------------------------------

    def _every(self, seconds: float, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        self._keep(asyncio.create_task(self._repeat(seconds, work, name), name=f"tunnel {name}"))

    async def _repeat(self, seconds: float, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        while True:
            try:
                await work()
            except DatabaseError as exc:
                log.warning("%s: the database is away: %s", name, exc)
            except Exception:
                log.exception("%s failed", name)
            await asyncio.sleep(seconds)

    def _spawn(self, work: Coroutine[Any, Any, None], about_what: object) -> None:
        self._keep(asyncio.create_task(self._guarded(work), name=f"close {about_what}"))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except DatabaseError as exc:
            log.warning("the database is away: %s", exc)
        except Exception:
            log.exception("a task of the worker failed")
