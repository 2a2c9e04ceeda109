"""The agent's end of a session."""

from dataclasses import dataclass, field, replace
from typing import Any, Optional

from agent_client.protocol.agent_streams import AgentStreams
from agent_client.protocol.clock import MasterClock
from agent_client.protocol.codes import Code
from agent_client.protocol.errors import InvalidState, MessageTooLarge, ProtocolError, RejectedCommand
from agent_client.protocol.events import (
    CancelReceived,
    CommandReceived,
    Event,
    HeartbeatDue,
    MasterLeaving,
    SessionOpened,
)
from agent_client.protocol.limits import HELLO_TIMEOUT, INITIAL_WINDOW, MAX_SENTENCE, Timing
from agent_client.protocol.messages import (
    Cancel,
    Command,
    Goodbye,
    HandshakeAck,
    Heartbeat,
    Hello,
    Last,
    NodeEvent,
    Ping,
    Pong,
    Reply,
    from_master,
)
from agent_client.protocol.replay import ReplayGuard
from agent_client.protocol.session import State, Step, Urgency
from agent_client.protocol.streams import Stream
from agent_client.protocol.text import JsonObject

EMPTY_EACH = 4  # PINGs of which one measures the way itself, and not what waits on it
SHORTEST_PERIOD = 0.1  # seconds; no master may keep a node busy with pings or heartbeats
FIRST_REPORT = (
    0.5  # seconds from the first PONG to the PING that tells the round trip: somebody may be looking
)
LONGEST_PERIOD = 3600.0  # seconds; nor make it wait for ever

REJECTIONS = {
    Code.EXPIRED: "the command is older than 30 seconds or from the future, it was not run",
    Code.DUPLICATE: "a command with this id was already received, it was not run again",
    Code.BUSY: "too many commands within 30 seconds, wait and send it again",
}


@dataclass(frozen=True)
class AgentFacts:
    """What the agent tells of itself in HELLO."""

    version: str
    capabilities: tuple[str, ...]
    policy: JsonObject = field(default_factory=dict)
    machine_id: str = ""
    host: JsonObject = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """Why there is no session any more, and since when on the own clock."""

    reason: str
    at: float


class AgentSession(AgentStreams):
    """Answers the master: judges commands, measures the line, reports figures.

    `guard` outlives the session. `wall_offset` is the node's wall clock minus its steady clock, in seconds. `last` is
    how the session before this one ended.
    """

    def __init__(
        self,
        facts: AgentFacts,
        guard: ReplayGuard,
        *,
        now: float,
        wall_offset: float = 0.0,
        last: Optional[Ended] = None,
    ) -> None:
        super().__init__(now=now, timing=Timing(), silence=HELLO_TIMEOUT)
        self.id = ""
        self.rtt: Optional[float] = None
        self.clock = MasterClock(wall_offset)
        self._facts = facts
        self._guard = guard
        self._last = last
        self._running: dict[str, Command] = {}
        self._ping_sent: Optional[tuple[float, float]] = None
        self._next_ping = float("inf")
        self._last_ping = float("-inf")
        self._pings = 0
        self._next_heartbeat = float("inf")

    def next_tick(self) -> float:
        """When `tick` must be called next, on the own clock."""
        return min(self.liveness.deadline, self._next_ping, self._next_heartbeat)

    @property
    def alone_at(self) -> float:
        """When a PING goes out that bulk should let find the line empty (docs/protocol.md §4), on the own clock."""
        return self._next_ping if self._pings % EMPTY_EACH == 0 else float("inf")

    def tick(self, now: float) -> list[Event]:
        """Ping, ask for figures, or give up a silent master."""
        if self.closed:
            return []
        events = self._silent(now)
        if now >= self._next_ping:
            self._ping(now)
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + self.timing.heartbeat
            events.append(HeartbeatDue())
        return events

    def reply(self, command_id: str, data: Any) -> None:
        """Answer a command with success; what does not fit one message is answered `too_large`.

        Raises:
            InvalidState: no such command awaits an answer.
        """
        command = self._finish(command_id)
        if command.stream is not None:
            self._queue(self._error(command, Code.INTERNAL, "the action opened no stream"))
            return
        try:
            text = Reply(command_id, data=data, short=command.short).to_text()
        except MessageTooLarge as exc:
            text = self._error(command, Code.TOO_LARGE, f"the answer does not fit one message: {exc}")
        except ProtocolError as exc:
            text = self._error(command, Code.INTERNAL, str(exc))
        self._queue(text)

    def open_stream(
        self, command_id: str, data: JsonObject, *, window: int = INITIAL_WINDOW, interactive: bool = False
    ) -> Stream:
        """Answer a command that wants a stream with success, which opens it.

        `window` is what the master may send at first, in bytes; there may be room for less. Keystrokes and what answers
        them are `interactive` and pass everything else; windows of other streams grow as the line allows.

        Raises:
            InvalidState: no such command awaits an answer, or it wants no stream.
            ProtocolError: `data` does not fit one message; the command still awaits an answer.
        """
        command = self._running.get(command_id)
        if command is None or command.stream is None:
            raise InvalidState(f"command {command_id} awaits no stream")
        number = command.stream
        first, most = self._allotment.take(number, window, grows=not interactive)
        try:
            text = Reply(command_id, data={**data, "window": first}).to_text()
        except ProtocolError:
            self._allotment.free(number)
            raise
        self._queue(text)
        self._finish(command_id)
        return self._add(command, number, first, most, interactive=interactive)

    def fail(self, command_id: str, code: Code, error: str) -> None:
        """Answer a command with an error.

        Raises:
            InvalidState: no such command awaits an answer.
        """
        self._queue(self._error(self._finish(command_id), code, error))

    def awaits_answer(self, command_id: str) -> bool:
        """Tell whether `command_id` was received in this session and not answered yet."""
        return not self.closed and command_id in self._running

    def heartbeat(self, usage: JsonObject) -> None:
        """Report fresh figures."""
        self._queue(Heartbeat(usage).to_text())

    def event(self, name: str, data: Any = None) -> None:
        """Report that something happened on the node."""
        self._queue(NodeEvent(name, data).to_text())

    def _take_text(self, text: str, now: float, wall: float) -> list[Event]:
        try:
            message = from_master(text)
        except RejectedCommand as exc:
            self._queue(Reply(exc.command_id, code=exc.code, error=exc.reason).to_text())
            return self._unasked(now)
        if isinstance(message, HandshakeAck):
            return self._greeted(message, now, wall)
        if isinstance(message, Command):
            return self._judge(message, now)
        if isinstance(message, Cancel):
            return self._cancelled(message.id, now)
        if isinstance(message, Pong):
            return self._measured(message, now)
        if isinstance(message, Goodbye):
            return [MasterLeaving(message.reason, message.retry_after)]
        self.ignored += 1
        return self._unasked(now)

    def _greeted(self, ack: HandshakeAck, now: float, wall: float) -> list[Event]:
        if self.state is not State.CONNECTING:
            return self._unasked(now)
        self._step(Step.ACK)
        ack = replace(ack, timing=_bounded(ack.timing))
        self.id, self.timing = ack.session, ack.timing
        self.liveness.silence = ack.timing.silence
        if ack.server_time is not None:
            self.clock.greeted(ack.server_time, now)
        else:
            self.clock.greeted(wall, now)
        self._guard.follow(self.clock.offset)
        self._queue(self._hello(now).to_text())
        self._step(Step.HELLO)
        self._ping(now)
        self._next_heartbeat = now + ack.timing.heartbeat
        return [SessionOpened(ack), HeartbeatDue()]

    def _hello(self, now: float) -> Hello:
        facts, last = self._facts, self._last
        return Hello(
            self.id,
            facts.version,
            facts.capabilities,
            facts.policy,
            facts.machine_id,
            facts.host,
            None if last is None else Last(last.reason, max(0.0, now - last.at)),
        )

    def _cancelled(self, command_id: str, now: float) -> list[Event]:
        if command_id in self._running:
            return [CancelReceived(command_id)]
        if command_id in self._of_command:
            return self._cancel_stream(command_id)
        return self._unasked(now)

    def _judge(self, command: Command, now: float) -> list[Event]:
        no_stream = None if command.stream is None else self._no_stream(command, self._opening)
        refusal = None
        if command.timestamp is not None:
            refusal = self._guard.judge(command.id, command.timestamp, self.clock.time(now))
        elif command.id in self._running:
            refusal = Code.DUPLICATE
        if refusal is Code.EXPIRED and self._ping_sent is None:  # was the master's clock stepped? ask it soon
            self._next_ping = min(self._next_ping, max(now, self._last_ping + FIRST_REPORT))
        if refusal is not None:
            self._queue(self._error(command, refusal, REJECTIONS[refusal]))
            return self._unasked(now)
        if no_stream is not None:
            self._queue(self._error(command, *no_stream))
            return self._unasked(now)
        self._running[command.id] = command
        return [CommandReceived(command)]

    @property
    def _opening(self) -> int:
        """How many commands that want a stream await their answer."""
        return sum(command.stream is not None for command in self._running.values())

    def _ping(self, now: float) -> None:
        timestamp = round(self.clock.time(now), 3)
        self._ping_sent = (timestamp, now)
        self._pings += 1
        self._last_ping, self._next_ping = now, now + self.timing.ping
        self._queue(Ping(timestamp, self.rtt).to_text(), Urgency.LIVENESS)

    def _measured(self, pong: Pong, now: float) -> list[Event]:
        if self._ping_sent is None or pong.timestamp != self._ping_sent[0]:
            return self._unasked(now)
        if self.rtt is None:
            self._next_ping = min(self._next_ping, now + FIRST_REPORT)
        self.rtt = now - self._ping_sent[1]
        self._ping_sent = None
        self._tune(self.rtt)
        if pong.server_time is not None:
            self.clock.measured(pong.server_time, self.rtt, now)
            self._guard.follow(self.clock.offset)
        return []

    def _finish(self, command_id: str) -> Command:
        try:
            return self._running.pop(command_id)
        except KeyError:
            raise InvalidState(f"command {command_id} awaits no answer") from None

    @staticmethod
    def _error(command: Command, code: Code, error: str) -> str:
        return Reply(command.id, code=code, error=error[:MAX_SENTENCE], short=command.short).to_text()


def _bounded(timing: Timing) -> Timing:
    ping = min(max(timing.ping, SHORTEST_PERIOD), LONGEST_PERIOD)
    return Timing(
        ping=ping,
        silence=min(max(timing.silence, ping), LONGEST_PERIOD),
        heartbeat=min(max(timing.heartbeat, SHORTEST_PERIOD), LONGEST_PERIOD),
    )
