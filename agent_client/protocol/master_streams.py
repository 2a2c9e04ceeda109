"""The streams of the master's end, as the holder of the socket sees them: headers only (docs/protocol.md §4)."""

from dataclasses import dataclass, replace
from typing import Any, Optional

from agent_client.protocol.codes import AGENT_CODES, Code
from agent_client.protocol.errors import (
    MalformedFrame,
    MalformedMessage,
    NoStreams,
    StreamBroken,
    TooManyStreams,
    TunnelError,
)
from agent_client.protocol.events import Event, FrameReceived, ReplyReceived
from agent_client.protocol.frames import Frame, Header, Kind, encode, header
from agent_client.protocol.limits import (
    FRAME_HEADER,
    INITIAL_WINDOW,
    MAX_STREAMS,
    MAX_WINDOWS,
    SMALL_GRANT,
    Timing,
)
from agent_client.protocol.messages import MAX_STREAM, Command, Reply
from agent_client.protocol.session import Session, Urgency
from agent_client.protocol.streams import Account, reason, why
from agent_client.protocol.windows import NO_WINDOW, Allotment, RoundTrips, valid_window


@dataclass(frozen=True)
class Opening:
    """A stream that was asked for: the agent may send `grants` bytes, later up to `most` at once."""

    number: int
    owner: Any
    urgency: Urgency
    grants: int
    most: int


@dataclass(frozen=True)
class Held:
    """An open stream: what passed in both directions, and who owns it."""

    account: Account
    owner: Any
    urgency: Urgency


class MasterStreams(Session):
    """Numbers streams and lets their frames pass between the agent and the owners."""

    def __init__(self, *, now: float, timing: Timing, silence: float, basic: bool) -> None:
        super().__init__(now=now, timing=timing, silence=silence)
        self.basic = basic
        self._openings: dict[str, Opening] = {}
        self._held: dict[int, Held] = {}
        self._allotment = Allotment()
        self._trips = RoundTrips()

    @property
    def live_streams(self) -> dict[int, Any]:
        """The owners of the open streams by number; ask before `end`, which forgets them."""
        return {number: held.owner for number, held in self._held.items()}

    def relay(self, number: int, data: bytes) -> bool:
        """Let a frame of the owner pass to the agent; False when the stream is not open (any more).

        Raises:
            ProtocolError: the frame was wrong, or the agent does not read what it let be sent. The stream is over, the
                owner is not told by an event.
        """
        held = self._held.get(number)
        if held is None:
            return False
        try:
            head = header(data)
            if head.stream != number:
                raise MalformedFrame(f"a frame of stream {head.stream} for stream {number}")
            if self.queued_frames + len(data) > MAX_WINDOWS + FRAME_HEADER * MAX_STREAMS:
                raise StreamBroken(Code.WINDOW, "the agent does not read what it lets be sent")
            self._pass_down(held, head, data)
        except StreamBroken as exc:
            self._give_up(held, exc.code, exc.reason)
            raise
        except MalformedFrame as exc:
            self._give_up(held, Code.PROTOCOL, exc.reason)
            raise
        return True

    def reset_stream(self, number: int, code: Code, error: str) -> Optional[bytes]:
        """Give a stream up towards the agent, and return the frame that tells its owner; None when it is over."""
        held = self._held.get(number)
        return None if held is None else self._give_up(held, code, error)

    def _ask_for_stream(self, command: Command, owner: Any, *, interactive: bool) -> None:
        """Queue a command with the next number, and a window there is room for."""
        if self.basic:
            raise NoStreams
        if len(self._openings) + len(self._held) >= MAX_STREAMS or self._highest >= MAX_STREAM:
            raise TooManyStreams(MAX_STREAMS)
        window = command.params.get("window", INITIAL_WINDOW)
        if not valid_window(window):
            raise MalformedMessage(NO_WINDOW)
        number = self._highest + 1
        grants, most = self._allotment.take(number, window, grows=not interactive)
        urgency = Urgency.INTERACTIVE if interactive else Urgency.BULK
        params = {**command.params, "window": grants}
        try:
            self._queue(replace(command, stream=number, params=params).to_text())
        except TunnelError:
            self._allotment.free(number)
            raise
        self._highest = number
        self._openings[command.id] = Opening(number, owner, urgency, grants, most)

    def _opened(self, reply: Reply, awaited: bool, owner: Any, opening: Opening) -> list[Event]:
        """Take the answer to a command that asked for a stream."""
        number, window = opening.number, _window(reply)
        if reply.ok and awaited and window is not None:
            account = Account(number, may_send=window, grants=opening.grants, most=opening.most)
            self._held[number] = Held(account, opening.owner, opening.urgency)
            return [ReplyReceived(reply, owner, number, window, opening.grants, opening.most)]
        self._allotment.free(number)
        if not reply.ok:
            return [ReplyReceived(reply, owner)] if awaited else []
        if not awaited:
            error = "nobody waits for the stream any more"
            self._queue_reset(number, 0, reason(Code.CANCELLED, error), opening.grants)
            return []
        self._queue_reset(number, 0, reason(Code.PROTOCOL, NO_WINDOW), opening.grants)
        return [ReplyReceived(Reply(reply.request_id, code=Code.PROTOCOL, error=NO_WINDOW), owner)]

    def _take_frame(self, head: Header, data: bytes, now: float) -> list[Event]:
        held = self._held.get(head.stream)
        if held is None:
            if any(opening.number == head.stream for opening in self._openings.values()):
                raise MalformedFrame(f"stream {head.stream} is not open yet")
            return self._stray(head, now)
        account, granted = held.account, held.account.out.window
        try:
            changed = account.took(head.kind, head.offset, head.size)
        except StreamBroken as exc:
            frame = self._give_up(held, exc.code, exc.reason)
            return [FrameReceived(head.stream, frame, held.owner)]
        if not changed:
            return self._unasked(now)
        if head.kind is Kind.RESET:
            data = _agents_own(data)
            self._discard(head.stream)
        self._free_if_over(held)
        events: list[Event] = [FrameReceived(head.stream, data, held.owner)]
        if head.kind is Kind.WINDOW and head.offset - granted < SMALL_GRANT:
            events += self._unasked(now)
        return events

    def _pass_down(self, held: Held, head: Header, data: bytes) -> None:
        if head.kind is Kind.RESET:
            self._owed = min(self._owed + held.account.owed, MAX_WINDOWS)
        if held.account.gave(head.kind, head.offset, head.size):
            self._queue_frame(head.kind, head.stream, data, held.urgency)
        self._free_if_over(held)

    def _give_up(self, held: Held, code: Code, error: str) -> bytes:
        """Tell the agent that a stream is over, and return the frame that tells the owner the same."""
        account = held.account
        owed, payload = account.owed, reason(code, error)
        account.gave(Kind.RESET, account.into.position, len(payload))
        self._queue_reset(account.number, account.into.position, payload, owed)
        self._free_if_over(held)
        return encode(Frame(Kind.RESET, account.number, account.out.position, payload))

    def _free_if_over(self, held: Held) -> None:
        if held.account.over:
            number = held.account.number
            del self._held[number]
            self._allotment.free(number)


def _window(reply: Reply) -> Optional[int]:
    """The agent's initial window, or None when it is none."""
    data = reply.data if isinstance(reply.data, dict) else {}
    window = data.get("window", INITIAL_WINDOW)
    return window if valid_window(window) else None


def _agents_own(data: bytes) -> bytes:
    """Return a RESET whose code is one that is an agent's to give."""
    payload = data[FRAME_HEADER:]
    code, error = why(payload)
    if code in AGENT_CODES:
        return data
    return data[:FRAME_HEADER] + reason(Code.INTERNAL, error)
