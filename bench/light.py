"""Light agents, many in one process, so that they cost less than what is measured: see `bench.fleet`, which starts it.

It reads one line of JSON, then prints a line for each step: `dial`, `open` or `over`, the agent's place in the list,
and the monotonic clock. It ends with its standard input. Of the protocol it does what a v1 agent must, and writes
its answers as bytes that were made before.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import ssl
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from agent_client.backoff import Backoff, Ending

AT_ONCE = 32  # first dials under way; later ones come as the back-off says
OPEN_WITHIN = 30.0  # seconds from a dial to HANDSHAKE_ACK
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10  # opcodes, RFC 6455 §5.2
ZERO_MASK = b"\0\0\0\0"  # a client must mask; with zeros the payload stays as it is
ID = re.compile(rb'"id":"([^"]{1,128})"')
COMMANDS = (b'"GET_STATS"', b'"EXEC_COMMAND"')
REFUSED, REPLACED, REVOKED = 403, 4001, 4003
USAGE = {"cpu": 12.5, "ram": 2048, "ramPercent": 50.0, "disk": 33.0}


def frame(opcode: int, payload: bytes) -> bytes:
    """Return a client's frame of less than 64 KiB."""
    if len(payload) < 126:
        return bytes((0x80 | opcode, 0x80 | len(payload))) + ZERO_MASK + payload
    return bytes((0x80 | opcode, 0xFE)) + len(payload).to_bytes(2, "big") + ZERO_MASK + payload


def reply(command_id: bytes) -> bytes:
    """Return the frame that answers a command."""
    members = (
        b'{"requestId":"' + command_id + b'","status":"success","data":{"cpu":1.5,"ram":64},"error":null}'
    )
    return frame(TEXT, members)


class Socket(asyncio.Protocol):
    """One connection; `opened` and `over` are what became of it."""

    def __init__(self, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.over: asyncio.Future[tuple[Ending, float]] = loop.create_future()
        self._request = request
        self._buffer = b""
        self._upgraded = False
        self._ending, self._retry_after = Ending.UNREACHABLE, 0.0
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def connection_made(self, transport: Any) -> None:
        """Ask for the WebSocket."""
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Take what came, and answer all its commands in one write."""
        self._buffer += data
        if not self._upgraded and not self._upgrade():
            return
        answers = b"".join(self._answers())
        if answers and not self._transport.is_closing():
            self._transport.write(answers)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """Say how it ended."""
        for timer in self._timers.values():
            timer.cancel()
        if not self.over.done():
            self.over.set_result((self._ending, self._retry_after))

    def abort(self) -> None:
        """Give it up."""
        self._transport.abort()

    def _upgrade(self) -> bool:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return False
        self._upgraded, self._buffer = b" 101 " in head.split(b"\r\n")[0], rest
        if not self._upgraded:
            refused = b" 403 " in head.split(b"\r\n")[0]
            self._ending = Ending.REFUSED if refused else Ending.UNREACHABLE
            self._transport.abort()
        else:
            self._ending = Ending.LOST
        return self._upgraded

    def _answers(self) -> Iterator[bytes]:
        for opcode, payload in self._frames():
            if opcode == TEXT:
                found = ID.search(payload)
                if found and any(kind in payload for kind in COMMANDS):
                    yield reply(found[1])
                else:
                    yield from self._told(payload)
            elif opcode == PING:
                yield frame(PONG, payload)
            elif opcode == CLOSE:
                yield frame(CLOSE, payload[:2])
                self._closed(int.from_bytes(payload[:2], "big"))

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        data, at = self._buffer, 0
        while len(data) - at >= 2:
            length, start = data[at + 1], at + 2
            if length >= 126:
                wide = 2 if length == 126 else 8
                length, start = int.from_bytes(data[start : start + wide], "big"), start + wide
            if len(data) < start + length:
                break
            yield data[at] & 0x0F, data[start : start + length]
            at = start + length
        self._buffer = data[at:]

    def _told(self, payload: bytes) -> Iterator[bytes]:
        message = json.loads(payload)
        if message.get("type") == "HANDSHAKE_ACK":
            self.opened.set_result(None)
            self._every("PING", message.get("ping", 8.0), {"timestamp": time.time(), "rtt": 0.001})
            self._every("HEARTBEAT", message.get("heartbeat", 30.0), {"data": USAGE})
            yield _text({"type": "HELLO", "version": "0.1.0", "capabilities": ["system"]})
            yield _text({"type": "HEARTBEAT", "data": USAGE})
        elif message.get("type") == "GOODBYE":
            self._ending, self._retry_after = Ending.SENT_AWAY, float(message["retryAfter"])

    def _every(self, kind: str, seconds: float, members: dict[str, Any]) -> None:
        def say() -> None:
            self._transport.write(_text({"type": kind, **members}))
            self._timers[kind] = asyncio.get_running_loop().call_later(seconds, say)

        self._timers[kind] = asyncio.get_running_loop().call_later(seconds, say)

    def _closed(self, code: int) -> None:
        if code in (REPLACED, REVOKED):
            self._ending = Ending.REPLACED if code == REPLACED else Ending.REVOKED
        asyncio.get_running_loop().call_soon(self._transport.close)


def _text(message: dict[str, Any]) -> bytes:
    return frame(TEXT, json.dumps(message).encode())


class Agent:
    """Dials its addresses in turn; with `again` it comes back after the same pauses as the real agent."""

    def __init__(self, place: int, urls: list[str], agent_id: str, secret: str, tls: ssl.SSLContext) -> None:
        self._place = place
        self._urls = urls
        self._secret = {"X-Agent-ID": agent_id, "X-Agent-Secret": secret}
        self._tls = tls
        self._backoff = Backoff()
        self._tries = 0

    async def live(self, room: asyncio.Semaphore, *, again: bool) -> None:
        """Connect, and stay connected."""
        async with room:
            socket = await self._dial()
        while True:
            opened = time.monotonic()
            ending, retry_after = (Ending.UNREACHABLE, 0.0) if socket is None else await socket.over
            _say("over", self._place)
            if not again:
                return
            lived = time.monotonic() - opened
            await asyncio.sleep(self._backoff.wait(ending, lived=lived, retry_after=retry_after))
            socket = await self._dial()

    async def _dial(self) -> Socket | None:
        """Return the socket, open or already over; None when nobody listens."""
        url = urlsplit(self._urls[self._tries % len(self._urls)])
        self._tries += 1
        _say("dial", self._place)
        tls = self._tls if url.scheme == "wss" else None
        host, port = str(url.hostname), int(url.port or 0)
        request = self._request(url.netloc, url.path)
        loop = asyncio.get_running_loop()
        try:
            _, socket = await loop.create_connection(lambda: Socket(request), host, port, ssl=tls)
        except OSError:
            return None
        either: list[asyncio.Future[Any]] = [socket.opened, socket.over]
        await asyncio.wait(either, timeout=OPEN_WITHIN, return_when=asyncio.FIRST_COMPLETED)
        if socket.opened.done():
            _say("open", self._place)
        elif not socket.over.done():
            socket.abort()
        return socket

    def _request(self, host: str, path: str) -> bytes:
        headers = {
            "Host": host,
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": base64.b64encode(b"sixteen bytes ok").decode(),
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Protocol": "yumna.tunnel.v1",
            **self._secret,
        }
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        return "\r\n".join(lines).encode()


def _say(step: str, place: int) -> None:
    sys.stdout.write(f"{step} {place} {time.monotonic():.4f}\n")
    sys.stdout.flush()


async def main() -> None:
    """Run the agents until standard input ends."""
    given = json.loads(await asyncio.to_thread(sys.stdin.readline))
    tls = ssl.create_default_context(cafile=given["ca"])
    room = asyncio.Semaphore(AT_ONCE)
    agents = [
        Agent(place, urls, agent_id, secret, tls)
        for place, (urls, agent_id, secret) in enumerate(given["agents"])
    ]
    tasks = [asyncio.create_task(agent.live(room, again=given["again"])) for agent in agents]
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
