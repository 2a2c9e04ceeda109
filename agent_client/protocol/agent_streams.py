"""The streams of the agent's end of a session (docs/protocol.md §4)."""

from dataclasses import dataclass
from typing import Optional

from agent_client.protocol.codes import Code
from agent_client.protocol.errors import InvalidState, StreamBroken
from agent_client.protocol.events import Event, StreamReset
from agent_client.protocol.frames import Frame, Header, Kind, decode, encode
from agent_client.protocol.limits import INITIAL_WINDOW, MAX_STREAMS, SMALL_GRANT, Timing
from agent_client.protocol.messages import Command
from agent_client.protocol.session import Session, Urgency
from agent_client.protocol.streams import Stream
from agent_client.protocol.text import JsonObject
from agent_client.protocol.windows import NO_WINDOW, Allotment, RoundTrips, valid_window


@dataclass(frozen=True)
class Live:
    """An open stream; its window may grow from `first` to `most` bytes while the line is calm."""

    stream: Stream
    command_id: str
    urgency: Urgency
    first: int
    most: int


class AgentStreams(Session):
    """Takes frames to their streams; the methods that send are for streams that are open."""

    def __init__(self, *, now: float, timing: Timing, silence: float) -> None:
        super().__init__(now=now, timing=timing, silence=silence)
        self._live: dict[int, Live] = {}
        self._of_command: dict[str, int] = {}
        self._allotment = Allotment()
        self._trips = RoundTrips()

    @property
    def live_streams(self) -> tuple[int, ...]:
        """The numbers of the open streams; after `close` those it has cut."""
        return tuple(self._live)

    def sendable(self, number: int) -> int:
        """How many bytes a stream may send now; 0 when it is not open."""
        live = self._live.get(number)
        return 0 if live is None or self.closed else live.stream.sendable

    def send_data(self, number: int, payload: bytes) -> None:
        """Send bytes on a stream.

        Raises:
            InvalidState: no such stream is open, or it may not send these.
        """
        live = self._open_one(number)
        self._send(live, live.stream.data(payload))

    def end_stream(self, number: int, detail: Optional[JsonObject] = None) -> None:
        """Send no more on a stream; when the master has ended too, it is over.

        Raises:
            InvalidState: no such stream is open, or it has ended.
            ProtocolError: `detail` is no JSON or too long.
        """
        live = self._open_one(number)
        self._send(live, live.stream.end(detail))
        self._free_if_over(live)

    def reset_stream(self, number: int, code: Code, error: str) -> None:
        """Give a stream up, with what is queued of it; nothing happens when it is over already."""
        live = self._live.get(number)
        if live is not None and not self.closed:
            self._give_up(live, code, error)

    def consumed(self, number: int, count: int) -> None:
        """Note that received bytes were taken; nothing happens when the stream is over already.

        Raises:
            InvalidState: so many did not come.
        """
        live = self._live.get(number)
        frame = None if live is None else live.stream.consumed(count)
        if live is not None and frame is not None and not self.closed:
            self._send(live, frame)

    def _no_stream(self, command: Command, opening: int) -> Optional[tuple[Code, str]]:
        """Say why a command gets no stream, while `opening` others wait for one; its number is used up either way."""
        number, before = command.stream or 0, self._highest
        self._highest = max(before, number)
        if number <= before:
            return Code.INVALID_PARAMS, f"stream {number} or a later one was asked for before"
        if not valid_window(command.params.get("window", INITIAL_WINDOW)):
            return Code.INVALID_PARAMS, NO_WINDOW
        if len(self._live) + opening >= MAX_STREAMS:
            return Code.BUSY, f"{MAX_STREAMS} streams are open, wait for some of them to end"
        return None

    def _add(self, command: Command, number: int, first: int, most: int, *, interactive: bool) -> Stream:
        urgency = Urgency.INTERACTIVE if interactive else Urgency.BULK
        may_send = command.params.get("window", INITIAL_WINDOW)
        stream = Stream(number, may_send=may_send, grants=first, most=most if self._trips.calm else first)
        self._live[number] = Live(stream, command.id, urgency, first, most)
        self._of_command[command.id] = number
        return stream

    def _cancel_stream(self, command_id: str) -> list[Event]:
        """End the stream a command has opened."""
        live = self._live[self._of_command[command_id]]
        error = "the command was cancelled"
        self._give_up(live, Code.CANCELLED, error)
        return [StreamReset(live.stream.number, Code.CANCELLED, error)]

    @property
    def shortest_trip(self) -> float:
        """The shortest of the last round trips, in seconds."""
        return self._trips.least

    def _tune(self, rtt: float) -> None:
        """Let windows grow as far as the line allows."""
        self._trips.measured(rtt)
        for live in self._live.values():
            live.stream.most = live.most if self._trips.calm else live.first

    def _take_frame(self, head: Header, data: bytes, now: float) -> list[Event]:
        live = self._live.get(head.stream)
        if live is None:
            return self._stray(head, now)
        granted = live.stream.sendable
        try:
            events = live.stream.receive(decode(data))
        except StreamBroken as exc:
            self._give_up(live, exc.code, exc.reason)
            return [StreamReset(head.stream, exc.code, exc.reason)]
        self._free_if_over(live)
        if not events or (head.kind is Kind.WINDOW and live.stream.sendable - granted < SMALL_GRANT):
            events += self._unasked(now)
        return events

    def _give_up(self, live: Live, code: Code, error: str) -> None:
        owed = live.stream.owed
        frame = live.stream.reset(code, error)
        self._queue_reset(frame.stream, frame.offset, frame.payload, owed)
        self._free_if_over(live)

    def _free_if_over(self, live: Live) -> None:
        if live.stream.over:
            number = live.stream.number
            del self._live[number], self._of_command[live.command_id]
            self._allotment.free(number)

    def _send(self, live: Live, frame: Frame) -> None:
        self._queue_frame(frame.kind, frame.stream, encode(frame), live.urgency)

    def _open_one(self, number: int) -> Live:
        try:
            return self._live[number]
        except KeyError:
            raise InvalidState(f"stream {number} is not open") from None
