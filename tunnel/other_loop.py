"""A stream for callers on another event loop than the one it lives on, as in a management command."""

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from agent_client.protocol import Code
from tunnel.streams import OwnedStream, read_all

T = TypeVar("T")


class OtherLoopStream:
    """A `servers.transports.ByteStream` whose calls hop to the loop of the stream and wait for it."""

    def __init__(self, stream: OwnedStream, loop: asyncio.AbstractEventLoop) -> None:
        self._stream = stream
        self._loop = loop
        self._reading: concurrent.futures.Future[bytes] | None = None  # what nobody here has taken yet
        self.number = stream.number
        self.data = stream.data

    @property
    def over(self) -> bool:
        """Tell whether both sides are done, or it broke."""
        return self._stream.over

    @property
    def end_detail(self) -> dict[str, Any] | None:
        """What the agent said with its end."""
        return self._stream.end_detail

    async def read(self) -> bytes:
        """Return what has come; a caller that is cancelled leaves it to the next one.

        Reading over there goes on: what it took in the moment of the cancelling would be lost with it.
        """
        if self._reading is None:
            self._reading = asyncio.run_coroutine_threadsafe(self._stream.read(), self._loop)
        reading = self._reading
        arrived, loop = asyncio.Event(), asyncio.get_running_loop()
        reading.add_done_callback(lambda _: _ring(loop, arrived))
        await arrived.wait()
        self._reading = None
        return reading.result()

    def consumed(self, count: int) -> None:
        """Let the agent send as many bytes more."""
        self._loop.call_soon_threadsafe(self._stream.consumed, count)

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
        await self._hop(self._stream.write(data))

    async def write_end(self, detail: dict[str, Any] | None = None) -> None:
        """Say that nothing more will be written."""
        await self._hop(self._stream.write_end(detail))

    async def reset(self, code: str = Code.CANCELLED.value, error: str = "") -> None:
        """End both directions at once."""
        await self._hop(self._stream.reset(code, error))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reading is not None:
            self._reading.cancel()
        await self._hop(self._stream.__aexit__(kind, exc, trace))

    async def _hop(self, call: Coroutine[Any, Any, T]) -> T:
        """Run a call over there; who is cancelled here cancels it there."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, self._loop))


def _ring(loop: asyncio.AbstractEventLoop, bell: asyncio.Event) -> None:
    with suppress(RuntimeError):  # the reader's loop is closed
        loop.call_soon_threadsafe(bell.set)
