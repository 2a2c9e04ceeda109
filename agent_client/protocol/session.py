"""What both ends of a session share: its states, its outgoing messages, and the limits on the peer."""

from abc import ABC, abstractmethod
from collections import deque
from enum import Enum, IntEnum
from typing import Union

from agent_client.protocol.codes import CloseCode
from agent_client.protocol.errors import (
    InvalidState,
    MalformedFrame,
    MessageTooLarge,
    ProtocolError,
)
from agent_client.protocol.events import CloseRequired, Event
from agent_client.protocol.frames import Frame, Header, Kind, encode, header
from agent_client.protocol.limits import (
    MAX_MESSAGES_PER_SECOND,
    MAX_RUBBISH,
    MAX_WINDOWS,
    RUBBISH_SPAN,
    SEND_AT_ONCE,
    Timing,
)
from agent_client.protocol.liveness import Liveness, Meter


class State(Enum):
    """Where a session is between accept and close."""

    CONNECTING = "connecting"  # accepted, HANDSHAKE_ACK not passed yet
    GREETING = "greeting"  # HANDSHAKE_ACK passed, HELLO not yet
    OPEN = "open"
    CLOSED = "closed"


class Step(Enum):
    """What moves a session on."""

    ACK = "ack"
    ACK_BASIC = "ack_basic"
    HELLO = "hello"
    CLOSE = "close"


STEPS: dict[tuple[State, Step], State] = {
    (State.CONNECTING, Step.ACK): State.GREETING,
    (State.CONNECTING, Step.ACK_BASIC): State.OPEN,
    (State.CONNECTING, Step.CLOSE): State.CLOSED,
    (State.GREETING, Step.HELLO): State.OPEN,
    (State.GREETING, Step.CLOSE): State.CLOSED,
    (State.OPEN, Step.HELLO): State.OPEN,  # a later HELLO replaces the first
    (State.OPEN, Step.CLOSE): State.CLOSED,
    (State.CLOSED, Step.CLOSE): State.CLOSED,
}


LIVENESS_KEPT = 4  # PINGs or PONGs that may wait; older ones tell nothing new to a side that does not read


class Urgency(IntEnum):
    """The order in which queued messages leave: lower first, the same in the order they were queued."""

    LIVENESS = 0  # PING and PONG, ahead of everything
    CONTROL = 1  # and WINDOW and RESET, which make room
    INTERACTIVE = 2  # frames of a terminal
    BULK = 3  # frames of everything else


class Session(ABC):
    """One end of a session. Feed it what arrives, send what `to_send` returns, call `tick` in time."""

    def __init__(self, *, now: float, timing: Timing, silence: float) -> None:
        self.state = State.CONNECTING
        self.timing = timing
        self.ignored = 0  # messages of unknown types
        self.liveness = Liveness(silence, now)
        self.queued = 0  # characters of control messages waiting for `to_send`
        self.queued_frames = 0  # bytes of frames waiting for `to_send`
        self._queues: dict[Urgency, deque[Union[str, bytes]]] = {
            Urgency.LIVENESS: deque(maxlen=LIVENESS_KEPT),
            Urgency.CONTROL: deque(),
        }
        self._frames: dict[Urgency, deque[bytes]] = {Urgency.INTERACTIVE: deque(), Urgency.BULK: deque()}
        self._highest = 0  # number of a stream that was ever asked for
        self._owed = 0  # bytes granted to streams we gave up; they may still come
        self._rubbish = Meter(MAX_RUBBISH, RUBBISH_SPAN, now)
        self._messages = Meter(MAX_MESSAGES_PER_SECOND, 1.0, now)

    @property
    def closed(self) -> bool:
        """Tell whether the session is over."""
        return self.state is State.CLOSED

    def heard(self, now: float) -> None:
        """Note that bytes arrived, be they a part of a message only."""
        self.liveness.heard(now)

    def receive_text(self, text: str, now: float, wall: float) -> list[Event]:
        """Take a text message; wrong ones are counted, too many of them end the session."""
        if self.closed:
            return []
        self.heard(now)
        try:
            return self._take_text(text, now, wall)
        except MessageTooLarge as exc:
            return [CloseRequired(CloseCode.TOO_BIG, str(exc))]
        except ProtocolError as exc:
            return self._wrong(exc, now)

    def receive_bytes(self, data: bytes, now: float) -> list[Event]:
        """Take a binary message: a frame of a stream that was opened before, else it is wrong."""
        if self.closed:
            return []
        self.heard(now)
        try:
            return self._take_frame(header(data), data, now)
        except MessageTooLarge as exc:
            return [CloseRequired(CloseCode.TOO_BIG, str(exc))]
        except ProtocolError as exc:
            return self._wrong(exc, now)

    def to_send(self, most: int = SEND_AT_ONCE) -> list[Union[str, bytes]]:
        """Return queued messages, most urgent first; call again until there are none.

        Of frames it gives about `most` bytes, so that what becomes urgent meanwhile passes the rest.
        """
        messages: list[Union[str, bytes]] = []
        for queue in self._queues.values():
            messages.extend(queue)
            queue.clear()
        self.queued = 0
        if self.queued_frames:
            self._some_frames(messages, most)
        return messages

    def close(self) -> None:
        """Note that the connection is over; nothing is sent or taken any more."""
        self._step(Step.CLOSE)
        for queue in self._queues.values():
            queue.clear()
        for frames in self._frames.values():
            frames.clear()
        self.queued = self.queued_frames = 0

    @abstractmethod
    def _take_text(self, text: str, now: float, wall: float) -> list[Event]:
        """Take one message; each end understands other ones."""

    @abstractmethod
    def _take_frame(self, head: Header, data: bytes, now: float) -> list[Event]:
        """Take a frame; the agent's end takes the payload, the master's passes it on."""

    def _step(self, step: Step) -> None:
        try:
            self.state = STEPS[self.state, step]
        except KeyError:
            raise InvalidState(f"no step {step.value} in state {self.state.value}") from None

    def _queue(self, message: Union[str, bytes], urgency: Urgency = Urgency.CONTROL) -> None:
        if self.closed:
            raise InvalidState("the session is closed")
        self._queues[urgency].append(message)
        if urgency is Urgency.CONTROL:
            self.queued += len(message)

    def _queue_frame(self, kind: Kind, number: int, data: bytes, urgency: Urgency) -> None:
        """Queue a frame behind those of its stream; WINDOW and RESET need not wait for them."""
        if kind is Kind.WINDOW:
            self._queue(data)
        elif kind is Kind.RESET:
            self._discard(number)
            self._queue(data)
        else:
            if self.closed:
                raise InvalidState("the session is closed")
            self._frames[urgency].append(data)
            self.queued_frames += len(data)

    def _queue_reset(self, number: int, offset: int, payload: bytes, owed: int) -> None:
        """Give a stream up; bytes it was granted may be on the way."""
        self._owed = min(self._owed + owed, MAX_WINDOWS)
        frame = Frame(Kind.RESET, number, offset, payload)
        self._queue_frame(Kind.RESET, number, encode(frame), Urgency.CONTROL)

    def _discard(self, number: int) -> None:
        """Drop what waits for a stream that is over."""
        for frames in self._frames.values():
            kept = [data for data in frames if header(data).stream != number]
            if len(kept) < len(frames):
                self.queued_frames -= sum(map(len, frames)) - sum(map(len, kept))
                frames.clear()
                frames.extend(kept)

    def _some_frames(self, messages: list[Union[str, bytes]], most: int) -> None:
        for frames in self._frames.values():
            while frames and most > 0:
                data = frames.popleft()
                most -= len(data)
                self.queued_frames -= len(data)
                messages.append(data)

    def _stray(self, head: Header, now: float) -> list[Event]:
        """Drop a frame of a stream that is over; one of a stream that never was is wrong."""
        if head.stream > self._highest:
            raise MalformedFrame(f"stream {head.stream} was never opened")
        if 0 < head.size <= self._owed:
            self._owed -= head.size
            return []
        return self._unasked(now)

    def _wrong(self, error: ProtocolError, now: float) -> list[Event]:
        if self._rubbish.full(now):
            return [CloseRequired(CloseCode.RUBBISH, f"too many wrong messages, the last: {error}")]
        return self._unasked(now)

    def _unasked(self, now: float) -> list[Event]:
        """Count a message nobody waits for."""
        if self._messages.full(now):
            return [CloseRequired(CloseCode.RUBBISH, "too many messages a second")]
        return []

    def _silent(self, now: float) -> list[Event]:
        if self.liveness.dead(now):
            return [CloseRequired(CloseCode.ABNORMAL, f"nothing was heard for {self.liveness.silence:g} s")]
        return []
