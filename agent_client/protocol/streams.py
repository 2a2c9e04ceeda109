"""One end of a stream: positions, windows, END and RESET (docs/protocol.md §4)."""

from enum import Enum
from typing import Optional

from agent_client.protocol.codes import Code
from agent_client.protocol.errors import InvalidState, MessageTooLarge, ProtocolError, StreamBroken
from agent_client.protocol.events import Event, StreamData, StreamEnded, StreamReset, StreamWritable
from agent_client.protocol.frames import Frame, Kind
from agent_client.protocol.limits import MAX_DATA, MAX_DETAIL, MAX_SENTENCE, MAX_WINDOW
from agent_client.protocol.text import JsonObject, dumps, loads

NO_REASON = "the other side gave no reason"


class State(Enum):
    """How much of a stream is left."""

    OPEN = "open"
    SENT_END = "sent_end"  # we send no more, the peer may
    GOT_END = "got_end"  # the peer sends no more, we may
    ENDED = "ended"
    RESET = "reset"


class Step(Enum):
    """What moves a stream on; a WINDOW does not."""

    SEND = "send"
    SEND_END = "send_end"
    TAKE = "take"
    TAKE_END = "take_end"
    RESET = "reset"


STEPS: dict[tuple[State, Step], State] = {
    (State.OPEN, Step.SEND): State.OPEN,
    (State.OPEN, Step.SEND_END): State.SENT_END,
    (State.OPEN, Step.TAKE): State.OPEN,
    (State.OPEN, Step.TAKE_END): State.GOT_END,
    (State.OPEN, Step.RESET): State.RESET,
    (State.SENT_END, Step.TAKE): State.SENT_END,
    (State.SENT_END, Step.TAKE_END): State.ENDED,
    (State.SENT_END, Step.RESET): State.RESET,
    (State.GOT_END, Step.SEND): State.GOT_END,
    (State.GOT_END, Step.SEND_END): State.ENDED,
    (State.GOT_END, Step.RESET): State.RESET,
}


class Direction:
    """How far one direction of a stream went, and how far it may go; bytes from its beginning."""

    def __init__(self, window: int, most: int) -> None:
        self.position = 0
        self.window = window
        self._most = most

    def data(self, offset: int, size: int) -> None:
        """Note bytes, or raise StreamBroken."""
        self.joins(offset)
        if offset + size > self.window:
            raise StreamBroken(Code.WINDOW, f"bytes up to {offset + size}, the window ends at {self.window}")
        self.position += size

    def joins(self, offset: int) -> None:
        """Raise StreamBroken unless `offset` is where the bytes so far end."""
        if offset > self.position:
            raise StreamBroken(Code.GAP, f"the bytes from {self.position} to {offset} are missing")
        if offset < self.position:
            raise StreamBroken(Code.PROTOCOL, f"byte {offset} came before, {self.position} bytes are here")

    def extend(self, position: int) -> bool:
        """Note a WINDOW and tell whether it extends the last; StreamBroken when nobody may grant so much."""
        if position > self.position + self._most:
            raise StreamBroken(Code.WINDOW, f"a window over {self._most} bytes was granted")
        if position <= self.window:
            return False
        self.window = position
        return True


class Account:
    """What the headers of a stream's frames add up to, as seen by one end; it needs no payloads."""

    def __init__(self, number: int, *, may_send: int, grants: int, most: int = MAX_WINDOW) -> None:
        self.number = number
        self.state = State.OPEN
        self.out = Direction(may_send, MAX_WINDOW)
        self.into = Direction(grants, most)

    @property
    def over(self) -> bool:
        """Tell whether nothing may be sent nor come any more."""
        return self.state is State.ENDED or self.state is State.RESET

    @property
    def owed(self) -> int:
        """How many granted bytes the peer may have on the way when we give the stream up."""
        return self.into.window - self.into.position if (self.state, Step.TAKE) in STEPS else 0

    def gave(self, kind: Kind, offset: int, size: int) -> bool:
        """Note a frame of ours; see `took`."""
        if kind is Kind.WINDOW:
            return (self.state, Step.TAKE) in STEPS and self.into.extend(offset)
        return self._pass(kind, offset, size, self.out, Step.SEND, Step.SEND_END)

    def took(self, kind: Kind, offset: int, size: int) -> bool:
        """Note a frame of the peer and tell whether it changes anything.

        Raises:
            StreamBroken: it breaks a rule, and has changed nothing.
        """
        if kind is Kind.WINDOW:
            return (self.state, Step.SEND) in STEPS and self.out.extend(offset)
        return self._pass(kind, offset, size, self.into, Step.TAKE, Step.TAKE_END)

    def _pass(self, kind: Kind, offset: int, size: int, direction: Direction, data: Step, end: Step) -> bool:
        if kind is Kind.RESET:
            self.state = self._after(Step.RESET)
        elif kind is Kind.END:
            after = self._after(end)
            direction.joins(offset)
            self.state = after
        else:
            self._after(data)
            direction.data(offset, size)
            return size > 0
        return True

    def _after(self, step: Step) -> State:
        try:
            return STEPS[self.state, step]
        except KeyError:
            raise StreamBroken(Code.PROTOCOL, f"no {step.value} in state {self.state.value}") from None


class Stream:
    """One end of stream `number`: makes the frames to send, judges those that come.

    `may_send` is the peer's initial window and `grants` ours, in bytes. `most` is what ours may grow to as the
    consumer takes bytes; it may be changed at any time.
    """

    def __init__(self, number: int, *, may_send: int, grants: int, most: Optional[int] = None) -> None:
        self.number = number
        self.most = grants if most is None else most
        self._account = Account(number, may_send=may_send, grants=grants)
        self._size = grants
        self._taken = 0

    @property
    def state(self) -> State:
        """How much of it is left."""
        return self._account.state

    @property
    def over(self) -> bool:
        """Tell whether nothing may be sent nor come any more."""
        return self._account.over

    @property
    def sent(self) -> int:
        """Bytes we sent."""
        return self._account.out.position

    @property
    def received(self) -> int:
        """Bytes that came."""
        return self._account.into.position

    @property
    def granted(self) -> int:
        """The position the peer may send up to."""
        return self._account.into.window

    @property
    def sendable(self) -> int:
        """Bytes that may be sent now; 0 after our END."""
        if (self.state, Step.SEND) not in STEPS:
            return 0
        return self._account.out.window - self._account.out.position

    @property
    def owed(self) -> int:
        """How many granted bytes the peer may have on the way when we give the stream up."""
        return self._account.owed

    def data(self, payload: bytes) -> Frame:
        """Return the frame that sends `payload`.

        Raises:
            InvalidState: it is empty or larger than a frame, beyond the window, or after END or RESET.
        """
        if not 0 < len(payload) <= MAX_DATA:
            raise InvalidState(f"{len(payload)} bytes make no frame")
        return self._given(Kind.DATA, self.sent, payload)

    def end(self, detail: Optional[JsonObject] = None) -> Frame:
        """Return the frame after which we send no more.

        Raises:
            InvalidState: after END or RESET.
            ProtocolError: `detail` is no JSON or too long.
        """
        payload = b"" if detail is None else dumps(detail).encode()
        if len(payload) > MAX_DETAIL:
            raise MessageTooLarge(len(payload), MAX_DETAIL)
        return self._given(Kind.END, self.sent, payload)

    def reset(self, code: Code, error: str) -> Frame:
        """Return the frame that gives the stream up, in both directions.

        Raises:
            InvalidState: it is over.
        """
        return self._given(Kind.RESET, self.received, reason(code, error))

    def consumed(self, count: int) -> Optional[Frame]:
        """Note that `count` more of the received bytes were taken; return a WINDOW when it is worth one.

        It is when half of the window is used. A consumer that waits for more bytes than that must have taken those
        that are here, else both sides wait.

        Raises:
            InvalidState: so many did not come.
        """
        if not 0 <= count <= self.received - self._taken:
            raise InvalidState(f"{count} bytes consumed, {self.received - self._taken} are there")
        self._taken += count
        if 2 * (self._taken + self._size - self.granted) < self._size:
            return None
        self._size = min(2 * self._size, self.most)
        position = self._taken + self._size
        if self._account.gave(Kind.WINDOW, position, 0):
            return Frame(Kind.WINDOW, self.number, position)
        return None

    def receive(self, frame: Frame) -> list[Event]:
        """Take a frame of the peer; what comes after the end is dropped.

        Raises:
            StreamBroken: it breaks a rule; answer with `reset`.
        """
        if self.over:
            return []
        detail = _detail(frame) if frame.kind is Kind.END else None
        changed = self._account.took(frame.kind, frame.offset, len(frame.payload))
        if not changed:
            return []
        if frame.kind is Kind.DATA:
            return [StreamData(self.number, frame.payload)]
        if frame.kind is Kind.WINDOW:
            return [StreamWritable(self.number)]
        if frame.kind is Kind.END:
            return [StreamEnded(self.number, detail)]
        return [StreamReset(self.number, *why(frame.payload))]

    def _given(self, kind: Kind, offset: int, payload: bytes) -> Frame:
        try:
            self._account.gave(kind, offset, len(payload))
        except StreamBroken as exc:
            raise InvalidState(f"stream {self.number}: {exc}") from exc
        return Frame(kind, self.number, offset, payload)


def reason(code: Code, error: str) -> bytes:
    """Return the payload of a RESET."""
    return dumps(
        {"code": code.value, "error": error.encode(errors="replace").decode()[:MAX_SENTENCE]}
    ).encode()


def why(payload: bytes) -> tuple[Code, str]:
    """Read the payload of a RESET; whatever it is, the stream is over."""
    try:
        members = loads(payload.decode())
        code, error = Code(members.get("code")), members.get("error")
    except (ProtocolError, ValueError):
        return Code.INTERNAL, NO_REASON
    return code, error[:MAX_SENTENCE] if isinstance(error, str) and error else NO_REASON


def _detail(frame: Frame) -> Optional[JsonObject]:
    if not frame.payload:
        return None
    if len(frame.payload) > MAX_DETAIL:
        raise StreamBroken(Code.PROTOCOL, f"END with {len(frame.payload)} bytes of detail")
    try:
        return loads(frame.payload.decode())
    except (ProtocolError, UnicodeDecodeError) as exc:
        raise StreamBroken(Code.PROTOCOL, "the detail of END is no JSON object") from exc
