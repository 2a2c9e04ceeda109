"""A TCP proxy that is bad on purpose: it delays, slices, cuts, swallows, ends idle connections, and keeps what passed."""

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

CHUNK = 64 * 1024  # bytes a read
UNDER_WAY = 256  # chunks that may wait out their delay; beyond it nothing more is read
KEPT = 4 * 1024 * 1024  # bytes kept of each direction, for tests that look for what must not be there
LOOK_EVERY = 0.1  # seconds between looks at idle connections
NO_LINGER = struct.pack("ii", 1, 0)  # close with a reset, as a crashed router or a full table does

Result = TypeVar("Result")


@dataclass
class Faults:
    """What a proxy does to bytes from now on; may be changed while connections are open."""

    delay: float = 0.0  # seconds, each way
    slice: int = 0  # bytes a write at most, each alone
    idle_cut: float = float("inf")  # seconds without a byte either way after which both ends are closed
    black_hole: bool = False  # take everything, pass nothing, close nothing


@dataclass(eq=False)
class Passage:
    """One connection through the proxy."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    last: float = field(default_factory=time.monotonic)


class Chaos:
    """Listens on a free port of 127.0.0.1 in a thread of its own and passes on to `port`."""

    def __init__(self, port: int, **faults: Any) -> None:
        self.faults = Faults(**faults)
        self.connections = 0  # accepted so far
        self.idle_cuts = 0
        self.longest_idle = 0.0  # seconds; the longest pause of any connection
        self.upward, self.downward = bytearray(), bytearray()
        self._target = port
        self._open: set[Passage] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"chaos before {port}")

    def __enter__(self) -> "Chaos":
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = int(self._server.sockets[0].getsockname()[1])
        self._watch = self._do(self._started(self._end_idle()))
        return self

    def __exit__(self, *_exc: object) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def cut(self) -> int:
        """Reset all connections now; returns how many there were."""
        return self._do(self._cut(list(self._open)))

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            back, server = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            client.transport.abort()
            return
        passage = Passage(client, server)
        self._open.add(passage)
        up = self._pass(reader, server, passage, self.upward)
        down = self._pass(back, client, passage, self.downward)
        await asyncio.gather(up, down)
        self._open.discard(passage)
        for end in (client, server):
            end.close()

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, passage: Passage, kept: bytearray
    ) -> None:
        """Carry one direction: a task reads, this one writes what has waited long enough."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(UNDER_WAY)
        reading = asyncio.create_task(self._read(source, under_way, passage))
        with contextlib.suppress(OSError):
            while True:
                arrived, data = await under_way.get()
                await asyncio.sleep(max(0.0, arrived + self.faults.delay - time.monotonic()))
                if self.faults.black_hole:
                    continue
                kept += data[: KEPT - len(kept)]
                if not data:
                    sink.write_eof()
                    break
                await self._write(sink, data)
        await reading

    async def _read(
        self,
        source: asyncio.StreamReader,
        under_way: "asyncio.Queue[tuple[float, bytes]]",
        passage: Passage,
    ) -> None:
        data = b"something"
        while data:
            try:
                data = await source.read(CHUNK)
            except OSError:
                data = b""
            now = time.monotonic()
            self.longest_idle = max(self.longest_idle, now - passage.last)
            passage.last = now
            await under_way.put((now, data))

    async def _write(self, sink: asyncio.StreamWriter, data: bytes) -> None:
        size = self.faults.slice or len(data)
        for begin in range(0, len(data), size):
            sink.write(data[begin : begin + size])
            await sink.drain()
            if self.faults.slice:
                await asyncio.sleep(0)  # the kernel gets each slice alone

    async def _end_idle(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            now = time.monotonic()
            idle = [one for one in self._open if now - one.last > self.faults.idle_cut]
            self.idle_cuts += await self._cut(idle)

    async def _cut(self, passages: list[Passage]) -> int:
        for passage in passages:
            self._open.discard(passage)
            for end in (passage.client, passage.server):
                sock: socket.socket = end.get_extra_info("socket")
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
                end.transport.abort()
        return len(passages)

    async def _started(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        return asyncio.create_task(work)

    async def _stop(self) -> None:
        self._watch.cancel()
        self._server.close()
        self.faults.black_hole = False
        await self._cut(list(self._open))
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _do(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)
