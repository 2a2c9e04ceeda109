"""A line between agents and a worker that can be cut: every connection is reset, and new ones are refused meanwhile.

It may end TLS, as the proxy before a panel does.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

HOST = "127.0.0.1"
CHUNK = 64 * 1024


class Relay:
    """Listens on an address of this machine and passes bytes to a port of loopback until `stop`."""

    def __init__(self, target: int, tls: ssl.SSLContext | None = None, host: str = HOST) -> None:
        self._target = target
        self._tls = tls
        self._host = host
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._thread.start()
        self.port = 0
        self._run(self._listen())

    def cut(self, seconds: float) -> None:
        """Be away for so long."""
        self._run(self._away(seconds))

    def stop(self) -> None:
        """Cut for good."""
        self._run(self._hang_up())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._pass_on, self._host, self.port, ssl=self._tls)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def _away(self, seconds: float) -> None:
        await self._hang_up()
        await asyncio.sleep(seconds)
        await self._listen()

    async def _hang_up(self) -> None:
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(HOST, self._target)
        both = {writer, far_writer}
        self._writers |= both
        with suppress(OSError):
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        self._writers -= both


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
