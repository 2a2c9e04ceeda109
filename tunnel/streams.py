"""A stream of an agent in the hands of whoever asked for it: positions, windows, and what waits to be read.

Frames come from the worker that holds the agent's socket, which may be this one, and go back on a `Way`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Protocol, Self

from agent_client.protocol import Code
from agent_client.protocol.errors import InvalidState, ProtocolError, StreamBroken
from agent_client.protocol.events import (
    Event,
    StreamData,
    StreamEnded,
    StreamReset,
    StreamWritable,
)
from agent_client.protocol.frames import Frame, decode, encode
from agent_client.protocol.limits import MAX_SENTENCE, MAX_WINDOW
from agent_client.protocol.streams import Stream
from servers.errors import StreamLost
from servers.transports import ByteStream
from tunnel import metrics
from tunnel.outcomes import Outcome

PIECE = 64 * 1024  # bytes of a frame we write, and about what one read returns at most


class Way(Protocol):
    """How frames get from the owner of a stream to its agent."""

    def send(self, frame: bytes) -> None:
        """Carry a frame; when that cannot be done the stream is told that it is lost."""

    def forget(self) -> None:
        """Note that the stream is over."""


class OwnedStream:
    """A `servers.transports.ByteStream` through a tunnel. All methods run on the switchboard's loop."""

    def __init__(self, kind: str) -> None:
        self.number = 0
        self.data: Any = None
        self._end_detail: dict[str, Any] | None = None
        self.kind = kind
        self._stream: Stream | None = None
        self._way: Way | None = None
        self._given_up = False
        self._least = self._most = 0  # bytes of the window at first, and on a calm line later
        self._ended = False  # the agent said its end
        self._lost: StreamLost | None = None
        self._over = False
        self._waiting: deque[bytes] = deque()
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writing = asyncio.Lock()
        self._count_in, self._count_out = metrics.stream_counters(kind)

    # -- what carries it tells ---------------------------------------------------------------------

    def opened(self, outcome: Outcome, way: Way, *, grows_to: int = MAX_WINDOW) -> None:
        """Take the success that opened it; the first frames follow. Its window grows to `grows_to` bytes at most."""
        if outcome.opened is None:
            raise InvalidState("a stream without a number")
        opened, self.data, self._way = outcome.opened, outcome.data, way
        self.number = opened.number
        self._least, self._most = opened.grants, max(opened.grants, min(opened.most, grows_to))
        self._stream = Stream(opened.number, may_send=opened.may_send, grants=opened.grants, most=opened.most)
        metrics.stream_opened(self.kind)
        if self._given_up:
            self._reset(Code.CANCELLED, "nobody waits for it any more")

    def frame(self, data: bytes) -> None:
        """Take a frame of the agent."""
        if self._over or self._stream is None:
            return
        try:
            events = self._stream.receive(decode(data))
        except StreamBroken as exc:
            self._reset(exc.code, exc.reason)
        except ProtocolError as exc:
            self._reset(Code.PROTOCOL, str(exc))
        else:
            for event in events:
                self._take(event)
            if self._stream.over and not self._over:  # a reset has finished it already
                self._finish()

    def calm(self, calm: bool) -> None:
        """Let the window grow, or not, as the line allows."""
        if self._stream is not None:
            self._stream.most = self._most if calm else self._least

    def lost(self, code: Code, error: str = "") -> None:
        """Note that no frame will come or go any more; what came before can still be read."""
        if not self._over and self._stream is not None:
            self._lost = StreamLost(code.value, error)
            self._finish()

    def give_up(self) -> None:
        """End it, or see to it that it ends as soon as it is opened: nobody waits for it."""
        self._given_up = True
        self._reset(Code.CANCELLED, "nobody waits for it any more")

    # -- what its owner does -----------------------------------------------------------------------

    @property
    def end_detail(self) -> dict[str, Any] | None:
        """What the agent said with its end."""
        return self._end_detail

    @property
    def over(self) -> bool:
        """Tell whether both sides are done, or it broke."""
        return self._over

    async def read(self) -> bytes:
        """Return what has come, empty after the end."""
        while not self._waiting:
            if self._ended:
                return b""
            if self._lost is not None:
                raise self._lost
            self._readable.clear()
            await self._readable.wait()
        pieces = [self._waiting.popleft()]
        size = len(pieces[0])
        while self._waiting and size + len(self._waiting[0]) <= PIECE:
            pieces.append(self._waiting.popleft())
            size += len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def consumed(self, count: int) -> None:
        """Let the agent send as many bytes more."""
        if not self._over and self._stream is not None:
            window = self._stream.consumed(count)
            if window is not None:
                self._send(window)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield what comes until the end."""
        while piece := await self.read():
            yield piece
            self.consumed(len(piece))

    async def read_all(self, most: int) -> bytes:
        """Return everything up to the end."""
        return await read_all(self, most)

    async def write(self, data: bytes) -> None:
        """Send bytes as the agent takes them."""
        async with self._writing:
            view = memoryview(data)
            while view:
                stream = await self._room()
                piece = view[: min(PIECE, stream.sendable)]
                self._count_out(len(piece))
                self._send(stream.data(bytes(piece)))
                view = view[len(piece) :]

    async def write_end(self, detail: dict[str, Any] | None = None) -> None:
        """Say that nothing more will be written."""
        async with self._writing:
            if self._lost is not None:
                raise self._lost
            if self._stream is not None and not self._over:
                self._send(self._stream.end(detail))
                if self._stream.over:
                    self._finish()

    async def reset(self, code: str = Code.CANCELLED.value, error: str = "") -> None:
        """End both directions at once, if it is not over."""
        self._reset(Code(code), error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What somebody still writes is read by nobody, and may wait for room that never comes.
        if self._ended and kind is None and not self._over and not self._writing.locked():
            await self.write_end()
        self._reset(Code.CANCELLED, "its reader left")

    # ----------------------------------------------------------------------------------------------

    def _take(self, event: Event) -> None:
        if isinstance(event, StreamData):
            self._count_in(len(event.payload))
            self._waiting.append(event.payload)
            self._readable.set()
        elif isinstance(event, StreamWritable):
            self._writable.set()
        elif isinstance(event, StreamEnded):
            self._end_detail, self._ended = event.detail, True
            self._readable.set()
        elif isinstance(event, StreamReset):
            self.lost(event.code, event.error)

    async def _room(self) -> Stream:
        """Wait until the agent takes bytes."""
        while True:
            if self._lost is not None:
                raise self._lost
            if self._stream is None or self._over:
                raise StreamLost(Code.CANCELLED.value, "the stream is over, nothing more can be written")
            if self._stream.sendable > 0:
                return self._stream
            self._writable.clear()
            await self._writable.wait()

    def _send(self, frame: Frame) -> None:
        if self._way is not None:
            self._way.send(encode(frame))

    def _reset(self, code: Code, error: str) -> None:
        if not self._over and self._stream is not None:
            self._send(self._stream.reset(code, error[:MAX_SENTENCE]))
            self.lost(code, error)

    def _finish(self) -> None:
        self._over = True
        metrics.stream_closed(self.kind)
        self._readable.set()
        self._writable.set()
        if self._way is not None:
            self._way.forget()


async def read_all(stream: ByteStream, most: int) -> bytes:
    """Return everything up to the end of a stream, of whatever kind it is."""
    pieces, size = [], 0
    async for piece in stream:
        size += len(piece)
        if size > most:
            error = f"more than {most} bytes came"
            await stream.reset(Code.TOO_LARGE.value, error)
            raise StreamLost(Code.TOO_LARGE.value, error)
        pieces.append(piece)
    return b"".join(pieces)
