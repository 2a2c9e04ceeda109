"""One session from the open WebSocket to its end: moves messages between socket, session and threads."""

import logging
import selectors
import time
from dataclasses import dataclass
from typing import Callable, Optional, Union

from agent_client.backoff import Ending
from agent_client.calls import Call, Refused
from agent_client.commands import Table
from agent_client.figures import Sampler
from agent_client.inbox import Inbox
from agent_client.lines import GONE, Lines
from agent_client.outbox import Lane
from agent_client.pace import Pace
from agent_client.pool import Answer, Outcome, Pool
from agent_client.printable import printable
from agent_client.protocol import AgentSession, CloseCode, Code, ProtocolError
from agent_client.protocol.events import (
    CancelReceived,
    CloseRequired,
    CommandReceived,
    Event,
    HeartbeatDue,
    MasterLeaving,
    SessionOpened,
)
from agent_client.protocol.limits import HELLO_TIMEOUT
from agent_client.protocol.messages import Command
from agent_client.protocol.session import State
from agent_client.reader import Closed, Item, Pinged, WrongFrame
from agent_client.steady import steady
from agent_client.streams import Opened
from agent_client.wakeup import WakeUp
from agent_client.wire import Wire, WireLost

FILL = 64 * 1024  # bytes unsent: replies wait in their threads, so that a PING is never far behind
PASSING = 16 * 1024  # bytes of terminals that may pass when the line has room for no more bulk
PAUSE = 512 * 1024  # bytes unsent: nothing more is read, a master that does not listen gets no answers
RESUME = 128 * 1024  # bytes unsent: reading goes on
ACK_TIMEOUT = HELLO_TIMEOUT  # seconds for HANDSHAKE_ACK
LEAVE_TIMEOUT = 10.0  # seconds after GOODBYE for the master to close; it drains for 5 at most
CLOSE_TIMEOUT = 1.0  # seconds for the closing handshake
LONGEST_WAIT = 60.0  # seconds in the selector; whatever happens, look at the clock then

ENDINGS = {CloseCode.REPLACED: Ending.REPLACED, CloseCode.REVOKED: Ending.REVOKED}

log = logging.getLogger("agent.link")


@dataclass(frozen=True)
class Staff:
    """Who does the work of a session: all of them outlive it."""

    table: Table
    pool: Pool
    sampler: Sampler
    inbox: Inbox
    wakeup: WakeUp
    stopping: Callable[[], bool]
    opened: Callable[[str], None]


@dataclass(frozen=True)
class End:
    """How a session ended. `close` is the code to send, None when the connection is gone already."""

    ending: Ending
    reason: str
    close: Optional[int] = None
    retry_after: float = 0.0
    lived: float = 0.0


class _Over(Exception):
    """Leaves the loop with how it ended."""

    def __init__(self, end: End) -> None:
        super().__init__(end.reason)
        self.end = end


class Conversation:
    """Drives an `AgentSession` over a `Wire`, in the link's thread; `run` returns when it is over."""

    def __init__(self, wire: Wire, session: AgentSession, staff: Staff) -> None:
        self._wire = wire
        self._session = session
        self._staff = staff
        self._lines = Lines(session, staff.wakeup.wake)
        self._pace = Pace()
        self._calls: dict[str, Call] = {}
        self._connected_at = steady()
        self._opened_at: Optional[float] = None
        self._leaving: Optional[MasterLeaving] = None
        self._left_at = float("inf")  # when to stop waiting for a master that said GOODBYE
        self._reading = True

    def run(self) -> End:
        """Talk until the session ends, then close the connection."""
        try:
            while True:
                self._step()
        except _Over as over:
            end = over.end
        except WrongFrame as exc:
            end = End(Ending.LOST, f"the master sent what is no WebSocket: {exc}", close=exc.code)
        except WireLost as exc:
            end = End(Ending.LOST, str(exc))
        finally:
            self._session.close()
            self._staff.inbox.close()
            self._lines.end()
        if end.close is not None:
            _close(self._wire, end.close, end.reason)
        return self._judged(end)

    def _judged(self, end: End) -> End:
        lived = 0.0 if self._opened_at is None else steady() - self._opened_at
        ending, retry_after = end.ending, 0.0
        if ending is Ending.LOST and self._leaving is not None:
            ending, retry_after = Ending.SENT_AWAY, self._leaving.retry_after
        return End(ending, printable(end.reason), end.close, retry_after, lived)

    def _step(self) -> None:
        """One turn: timers, threads, writing, waiting, reading."""
        now = steady()
        self._check_timers(now)
        self._hear_threads()
        self._serve_streams()
        self._write()
        events = self._wire.events(reading=self._reading)
        with selectors.DefaultSelector() as selector:
            selector.register(self._staff.wakeup, selectors.EVENT_READ)
            if events:
                selector.register(self._wire, events)
            ready = selector.select(self._patience())
        if any(key.fileobj is self._staff.wakeup for key, _ in ready):
            self._staff.wakeup.clear()
        if self._staff.stopping():
            raise _Over(End(Ending.LOST, "the agent stops", close=CloseCode.NORMAL))
        if self._reading and (self._wire.pending or any(key.fileobj is self._wire for key, _ in ready)):
            self._read()

    def _patience(self) -> float:
        if self._reading and self._wire.pending:
            return 0.0
        due = min(self._session.next_tick(), self._left_at)
        if self._lines.waiting(bulk=True):
            room = self._room
            if room > -PASSING and self._lines.waiting(bulk=room > 0):
                return 0.0
            due = min(due, steady() + self._pace.patience(room))
        if self._session.state is State.CONNECTING:
            due = min(due, self._connected_at + ACK_TIMEOUT)
        return max(0.0, min(due - steady(), LONGEST_WAIT))

    def _check_timers(self, now: float) -> None:
        if self._session.state is State.CONNECTING and now >= self._connected_at + ACK_TIMEOUT:
            reason = f"the master sent no HANDSHAKE_ACK within {ACK_TIMEOUT:g} s"
            raise _Over(End(Ending.LOST, reason, close=CloseCode.PROTOCOL_ERROR))
        if now >= self._left_at:
            raise _Over(End(Ending.LOST, "the master said GOODBYE and did not close", close=CloseCode.NORMAL))
        if now >= self._session.next_tick():
            self._handle(self._session.tick(now))

    def _hear_threads(self) -> None:
        """Let threads speak as long as the line is not full of what they said before."""
        self._collect()
        while self._wire.outbox.size < FILL:
            say = self._staff.inbox.take()
            if say is None:
                return
            say(self._session)
            self._collect()

    def _serve_streams(self) -> None:
        """Take bytes of streams while the line has room, so little that what is urgent does not wait for long."""
        self._lines.settle()
        self._collect()
        if not self._lines.waiting(bulk=True):
            return
        wire = self._wire
        self._pace.look(wire.written, wire.unacknowledged, self._session.shortest_trip, steady())
        wire.outbox.chunk = self._pace.piece
        while (room := self._room) > -PASSING and self._lines.pull(self._pace.piece, bulk=room > 0):
            self._collect()

    @property
    def _room(self) -> int:
        """How many bytes of bulk the line has room for."""
        waiting = self._wire.outbox.size
        room = min(self._pace.room(waiting), min(FILL, 2 * self._pace.piece) - waiting)
        return min(room, 0) if self._pace.holds(self._session.alone_at, steady()) else room

    def _collect(self) -> None:
        while True:
            messages = self._session.to_send()
            if not messages:
                return
            for message in messages:
                self._wire.outbox.message(message, self._lane(message))

    def _lane(self, message: Union[str, bytes]) -> Lane:
        bulk = None if isinstance(message, str) else self._lines.bulk(message)
        if bulk is None:
            return Lane.CONTROL
        return Lane.BULK if bulk else Lane.INTERACTIVE

    def _write(self) -> None:
        sent = self._wire.write()
        if not self._reading and sent:
            self._session.heard(steady())  # nothing is read now, but a peer that takes bytes lives
        size = self._wire.outbox.size
        self._reading = size <= (PAUSE if self._reading else RESUME)

    def _read(self) -> None:
        count, items = self._wire.read()
        if count:
            self._session.heard(steady())
        for item in items:
            self._take(item)

    def _take(self, item: Item) -> None:
        now = steady()
        if isinstance(item, Pinged):
            self._wire.outbox.pong(item.payload)
        elif isinstance(item, Closed):
            raise _Over(_closed(item))
        elif isinstance(item, str):
            self._handle(self._session.receive_text(item, now, time.time()))
        else:
            self._handle(self._session.receive_bytes(item, now))
        self._collect()

    def _handle(self, events: "list[Event]") -> None:
        for event in events:
            if isinstance(event, CommandReceived):
                self._start(event.command)
            elif isinstance(event, CancelReceived):
                self._cancel(event.command_id)
            elif isinstance(event, HeartbeatDue):
                self._staff.sampler.ask(self._report)
            elif isinstance(event, SessionOpened):
                self._open(event)
            elif isinstance(event, MasterLeaving):
                self._leaving, self._left_at = event, steady() + LEAVE_TIMEOUT
            elif isinstance(event, CloseRequired):
                code = None if event.code == CloseCode.ABNORMAL else event.code
                raise _Over(End(Ending.LOST, event.reason, close=code))
            else:
                self._lines.hear(event)

    def _open(self, event: SessionOpened) -> None:
        self._opened_at = steady()
        self._staff.inbox.open(self._session)
        self._staff.opened(event.ack.session)

    def _report(self, usage: "dict[str, object]") -> None:
        """Send figures; in the sampler's thread. When the line is full the next ones will do."""
        self._staff.inbox.offer(self._session, lambda session: session.heartbeat(usage))

    def _start(self, command: Command) -> None:
        try:
            prepared = self._staff.table.prepare(command)
            self._staff.pool.submit(prepared, lambda outcome: self._deliver(command, outcome))
        except Refused as exc:
            self._session.fail(command.id, exc.code, str(exc))
            return
        self._calls[command.id] = prepared.call

    def _deliver(self, command: Command, outcome: Outcome) -> None:
        """Send the answer of a command; in a thread of the pool. Nobody waits for it after the session."""
        opened = outcome.data if isinstance(outcome, Answer) and isinstance(outcome.data, Opened) else None
        if opened is None:
            self._staff.inbox.put(self._session, lambda _session: self._answer(command.id, outcome))
            return
        self._staff.inbox.put(
            self._session,
            lambda _session: self._open_stream(command.id, opened),
            lambda: opened.endpoint.lost(Code.DISCONNECTED, GONE),
        )

    def _open_stream(self, command_id: str, opened: Opened) -> None:
        self._calls.pop(command_id, None)
        try:
            self._lines.open(command_id, opened)
        except ProtocolError as exc:
            self._session.fail(command_id, Code.INTERNAL, f"the stream could not be opened: {exc}")
            opened.endpoint.lost(Code.INTERNAL, str(exc))

    def _answer(self, command_id: str, outcome: Outcome) -> None:
        self._calls.pop(command_id, None)
        if isinstance(outcome, Answer):
            self._session.reply(command_id, outcome.data)
        else:
            self._session.fail(command_id, outcome.code, outcome.error)

    def _cancel(self, command_id: str) -> None:
        call = self._calls.get(command_id)
        if call is not None and self._staff.pool.cancel(call):
            del self._calls[command_id]
            self._session.fail(command_id, Code.CANCELLED, "the command was cancelled before it started")


def _closed(item: Closed) -> End:
    try:
        ending = ENDINGS.get(CloseCode(item.code), Ending.LOST)
    except ValueError:
        ending = Ending.LOST
    reason = f"the master closed with code {item.code}" + (f" ({item.reason})" if item.reason else "")
    return End(ending, reason, close=CloseCode.NORMAL)


def _close(wire: Wire, code: int, reason: str) -> None:
    """Shake hands for the end, within a second; who does not answer is left."""
    wire.outbox.close(code, reason)
    deadline = steady() + CLOSE_TIMEOUT
    try:
        while steady() < deadline:
            wire.write()
            with selectors.DefaultSelector() as selector:
                selector.register(wire, wire.events(reading=True))
                selector.select(max(0.0, deadline - steady()))
            if any(isinstance(item, Closed) for item in wire.read()[1]):
                return
    except (WireLost, WrongFrame):
        return  # gone already
