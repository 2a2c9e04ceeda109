"""The master's end of a session."""

import heapq
from dataclasses import dataclass
from typing import Any, Optional

from agent_client.protocol.codes import CloseCode
from agent_client.protocol.errors import InvalidState, TooManyPending
from agent_client.protocol.events import (
    CloseRequired,
    CommandLapsed,
    Event,
    HeartbeatReceived,
    HelloReceived,
    NodeEventReceived,
    ReplyReceived,
    RttMeasured,
)
from agent_client.protocol.limits import (
    BASIC_SILENCE_FACTOR,
    HELLO_TIMEOUT,
    INITIAL_WINDOW,
    MAX_BINARY,
    MAX_PENDING,
    MAX_TEXT,
    Timing,
)
from agent_client.protocol.master_streams import MasterStreams
from agent_client.protocol.messages import (
    Cancel,
    Command,
    Goodbye,
    HandshakeAck,
    Heartbeat,
    Hello,
    NodeEvent,
    Ping,
    Pong,
    Reply,
    from_agent,
)
from agent_client.protocol.session import State, Step, Urgency


@dataclass(frozen=True)
class Pending:
    """A command on its way: who sent it, and until when its reply counts."""

    owner: Any
    deadline: float


class MasterSession(MasterStreams):
    """Commands one agent and judges what it answers. A basic agent sends no HELLO and no frames."""

    def __init__(
        self, session_id: str, *, now: float, wall: float, basic: bool, timing: Optional[Timing] = None
    ) -> None:
        timing = timing or Timing()
        silence = timing.heartbeat * BASIC_SILENCE_FACTOR if basic else timing.silence
        super().__init__(now=now, timing=timing, silence=silence, basic=basic)
        self.id = session_id
        self._pending: dict[str, Pending] = {}
        self._deadlines: list[tuple[float, str]] = []
        self._hello_until = now + HELLO_TIMEOUT
        limits = {"message": MAX_TEXT, "frame": MAX_BINARY, "window": INITIAL_WINDOW}
        self._queue(HandshakeAck(session_id, wall, timing, limits).to_text())
        self._step(Step.ACK_BASIC if basic else Step.ACK)

    @property
    def pending(self) -> int:
        """How many commands await a reply."""
        return len(self._pending)

    def send(
        self,
        command: Command,
        *,
        deadline: float,
        owner: Any = None,
        stream_owner: Any = None,
        interactive: bool = False,
    ) -> None:
        """Queue a command; its reply or its lapse at `deadline` comes back as an event with `owner`.

        With a `stream_owner` it asks for a stream, whose frames come back as events with that. `interactive` ones go
        before others.

        Raises:
            InvalidState: the session is closed, or the id is pending already.
            NotSendable: the agent owes too many replies, holds too many streams, or opens none.
            ProtocolError: the command does not fit one message.
        """
        if command.id in self._pending or command.id in self._openings:
            raise InvalidState(f"command {command.id} is pending already")
        if len(self._pending) >= MAX_PENDING:
            raise TooManyPending(MAX_PENDING)
        if stream_owner is None:
            self._queue(command.to_text())
        else:
            self._ask_for_stream(command, stream_owner, interactive=interactive)
        self._pending[command.id] = Pending(owner, deadline)
        heapq.heappush(self._deadlines, (deadline, command.id))

    def cancel(self, command_id: str) -> None:
        """Ask the agent to stop a command; it still answers, with `cancelled`."""
        if command_id in self._pending:
            self._queue(Cancel(command_id).to_text())

    def forget(self, command_id: str) -> None:
        """Drop the reply to this command when it comes; a stream it opens then is RESET."""
        self._pending.pop(command_id, None)

    def goodbye(self, reason: str, retry_after: float) -> None:
        """Tell the agent that this worker stops and when to come back, in seconds."""
        self._queue(Goodbye(reason, retry_after).to_text())

    def end(self) -> list[Any]:
        """Close and return the owners of the commands whose outcome will never be known."""
        self.close()
        owners = [pending.owner for pending in self._pending.values()]
        self._pending.clear()
        self._openings.clear()
        self._held.clear()
        return owners

    def tick(self, now: float) -> list[Event]:
        """End what has waited too long. Call it at least each second."""
        if self.closed:
            return []
        events = self._lapsed(now)
        if self.state is State.GREETING and now >= self._hello_until:
            events.append(CloseRequired(CloseCode.NO_HELLO, f"no HELLO within {HELLO_TIMEOUT:g} s"))
        return events + self._silent(now)

    def _lapsed(self, now: float) -> list[Event]:
        events: list[Event] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, command_id = heapq.heappop(self._deadlines)
            pending = self._pending.get(command_id)
            if pending is not None and pending.deadline <= now:
                if command_id in self._openings:
                    self._queue(Cancel(command_id).to_text())  # nobody would use the stream
                del self._pending[command_id]
                events.append(CommandLapsed(command_id, pending.owner))
        return events

    def _take_text(self, text: str, now: float, wall: float) -> list[Event]:
        message = from_agent(text)
        if isinstance(message, Reply):
            return self._replied(message, now)
        too_many = self._unasked(now)
        if too_many:
            return too_many
        if isinstance(message, Ping):
            self._queue(Pong(message.timestamp, wall).to_text(), Urgency.LIVENESS)
            return [] if message.rtt is None else self._measured(message.rtt)
        if isinstance(message, Heartbeat):
            return [HeartbeatReceived(message.data)]
        if isinstance(message, Hello):
            return self._greeted(message)
        if isinstance(message, NodeEvent):
            return [NodeEventReceived(message.name, message.data)]
        self.ignored += 1
        return []

    def _replied(self, reply: Reply, now: float) -> list[Event]:
        pending = self._pending.pop(reply.request_id, None)
        opening = self._openings.pop(reply.request_id, None)
        if opening is not None:
            owner = None if pending is None else pending.owner
            return self._opened(reply, pending is not None, owner, opening)
        if pending is None:
            return self._unasked(now)  # late, second, or never asked for: dropped
        return [ReplyReceived(reply, pending.owner)]

    def _measured(self, rtt: float) -> list[Event]:
        self._trips.measured(rtt)
        return [RttMeasured(rtt, self._trips.calm)]

    def _greeted(self, hello: Hello) -> list[Event]:
        if not self.basic:
            self._step(Step.HELLO)
        return [HelloReceived(hello)]
