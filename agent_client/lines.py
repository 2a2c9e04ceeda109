"""The open streams of a session, as the link's thread sees them: who has bytes to send, whose turn it is."""

import threading
from typing import Callable, Optional

from agent_client.protocol import AgentSession, Code
from agent_client.protocol.events import Event, StreamData, StreamEnded, StreamReset, StreamWritable
from agent_client.protocol.frames import Kind, header
from agent_client.streams import Broken, Done, Endpoint, Opened

INTERACTIVE_PIECE = (
    16 * 1024
)  # bytes of a terminal in a frame: a screen is less, and a flood has another turn soon
GONE = "the session ended"


class OpenLine:
    """One stream. What `Line` promises may be called from any thread, the rest is the link's."""

    def __init__(self, number: int, endpoint: Endpoint, lines: "Lines") -> None:
        self.number = number
        self.endpoint = endpoint
        self.sent_end = False
        self.got_end = False
        self._lines = lines

    def wake(self) -> None:
        """Have the endpoint asked for bytes."""
        self._lines.ask(self)

    def consumed(self, count: int) -> None:
        """Give back the room of received bytes."""
        self._lines.used(self, count)


class Lines:
    """All streams of one session. `wake` wakes the link's thread."""

    def __init__(self, session: AgentSession, wake: Callable[[], None]) -> None:
        self._session = session
        self._wake = wake
        self._open: dict[int, OpenLine] = {}
        self._lock = threading.Lock()
        # Dictionaries for their order: the first who asked has the first turn, and nobody asks twice.
        self._asking: dict[bool, dict[int, OpenLine]] = {True: {}, False: {}}
        self._consumed: dict[int, int] = {}

    def waiting(self, *, bulk: bool) -> bool:
        """Tell whether somebody asks for a turn, `bulk` included or not."""
        return bool(self._asking[True]) or (bulk and bool(self._asking[False]))

    def open(self, command_id: str, opened: Opened) -> None:
        """Answer a command with a stream.

        Raises:
            ProtocolError: the data of the reply fit no message; the command still awaits an answer.
        """
        endpoint = opened.endpoint
        stream = self._session.open_stream(
            command_id, opened.data, window=opened.window, interactive=endpoint.interactive
        )
        line = OpenLine(stream.number, endpoint, self)
        self._open[line.number] = line
        endpoint.attach(line)

    def hear(self, event: Event) -> None:
        """Pass on what happened to a stream."""
        if not isinstance(event, (StreamData, StreamWritable, StreamEnded, StreamReset)):
            return
        line = self._open.get(event.number)
        if line is None:
            return
        if isinstance(event, StreamData):
            line.endpoint.received(event.payload)
        elif isinstance(event, StreamWritable):
            self.ask(line)
        elif isinstance(event, StreamEnded):
            line.got_end = True
            line.endpoint.ended(event.detail)
            self._drop_if_over(line)
        else:
            del self._open[line.number]
            line.endpoint.lost(event.code, event.error)

    def settle(self) -> None:
        """Tell the session what endpoints have consumed."""
        with self._lock:
            consumed, self._consumed = self._consumed, {}
        for number, count in consumed.items():
            self._session.consumed(number, count)

    def pull(self, piece: int, *, bulk: bool) -> bool:
        """Take bytes of whose turn it is; tell whether somebody had a turn.

        With `bulk` and no terminal that asks these are `piece` bytes of bulk at most.
        """
        line = self._next(bulk=bulk)
        if line is None:
            return False
        most = min(
            INTERACTIVE_PIECE if line.endpoint.interactive else piece, self._session.sendable(line.number)
        )
        taken = line.endpoint.take(most)
        if isinstance(taken, bytes):
            self._session.send_data(line.number, taken)
            self._queue(line)  # at the end: bulk has turns
        elif isinstance(taken, Done):
            line.sent_end = True
            self._session.end_stream(line.number, taken.detail)
            self._drop_if_over(line)
        elif isinstance(taken, Broken):
            self._session.reset_stream(line.number, taken.code, taken.error)
            del self._open[line.number]
        return True

    def bulk(self, message: bytes) -> Optional[bool]:
        """Tell whether a binary message is a frame of bulk (True), of a terminal (False), or neither."""
        head = header(message)
        if head.kind not in (Kind.DATA, Kind.END):
            return None
        line = self._open.get(head.stream)
        return line is None or not line.endpoint.interactive

    def end(self) -> None:
        """The session is over: so is every stream."""
        with self._lock:
            for asking in self._asking.values():
                asking.clear()
        for line in list(self._open.values()):
            line.endpoint.lost(Code.DISCONNECTED, GONE)
        self._open.clear()

    def ask(self, line: OpenLine) -> None:
        """Give a stream a turn; from any thread."""
        if self._queue(line):
            self._wake()

    def used(self, line: OpenLine, count: int) -> None:
        """Note consumed bytes; from any thread."""
        with self._lock:
            news = not self._consumed
            self._consumed[line.number] = self._consumed.get(line.number, 0) + count
        if news:
            self._wake()

    def _queue(self, line: OpenLine) -> bool:
        with self._lock:
            asking = self._asking[line.endpoint.interactive]
            news = line.number not in asking
            asking[line.number] = line
        return news

    def _next(self, *, bulk: bool) -> Optional[OpenLine]:
        """Return whose turn it is: terminals before bulk, and each its own turn."""
        with self._lock:
            for interactive in (True, False) if bulk else (True,):
                asking = self._asking[interactive]
                while asking:
                    number = next(iter(asking))
                    line = asking.pop(number)
                    if self._open.get(number) is line and not line.sent_end:
                        return line
        return None

    def _drop_if_over(self, line: OpenLine) -> None:
        if line.sent_end and line.got_end:
            self._open.pop(line.number, None)
