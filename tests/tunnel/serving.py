"""A Daphne in a process of its own with a small application, and a raw client for it.

As a program: `python -m tests.tunnel.serving paced|stock [ping interval] [ping timeout]`.
"""

import asyncio
import base64
import contextlib
import http.client
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
MESSAGE = 64 * 1024
TOTAL = 64 * 1024 * 1024
MESSAGES = TOTAL // MESSAGE
DEADLINE = 20.0


class Facts:
    """What the application did so far, told at /facts; /go lets a waiting application go on."""

    def __init__(self) -> None:
        self.sent = self.received = self.closed = 0
        self.go = asyncio.Event()


facts = Facts()


async def application(scope, receive, send) -> None:
    """Route by path."""
    await {
        "/pour": pour,
        "/pour-and-close": pour_and_close,
        "/swallow": swallow,
        "/download": download,
        "/upload": upload,
        "/facts": tell,
        "/go": go,
    }[scope["path"]](receive, send)


async def pour(receive, send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    for number in range(MESSAGES):
        await send({"type": "websocket.send", "bytes": struct.pack("!Q", number) * (MESSAGE // 8)})
        facts.sent += MESSAGE
    while (await receive())["type"] != "websocket.disconnect":
        pass
    facts.closed += 1


async def pour_and_close(receive, send) -> None:
    """Give up on the reader while a message waits for it."""
    pouring = asyncio.ensure_future(pour(receive, send))
    await facts.go.wait()
    while not facts.sent:
        await asyncio.sleep(0)
    await send({"type": "websocket.close", "code": 4001})
    await pouring


async def swallow(receive, send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await facts.go.wait()
    while (message := await receive())["type"] == "websocket.receive":
        facts.received += len(message["bytes"])
        if facts.received == TOTAL:
            await send({"type": "websocket.send", "text": "all"})
    facts.closed += 1


async def download(receive, send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for number in range(MESSAGES):
        body = struct.pack("!Q", number) * (MESSAGE // 8)
        await send({"type": "http.response.body", "body": body, "more_body": True})
        facts.sent += MESSAGE
    await send({"type": "http.response.body", "body": b""})
    facts.closed += 1


async def upload(receive, send) -> None:
    await facts.go.wait()
    more = True
    while more:
        message = await receive()
        facts.received += len(message["body"])
        more = message["more_body"]
    await answer(send, str(facts.received))


async def tell(receive, send) -> None:
    await answer(send, f"{facts.sent} {facts.received} {facts.closed}")


async def go(receive, send) -> None:
    facts.go.set()
    await answer(send, "going")


async def answer(send, text: str) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text.encode()})


class Daphne:
    """The server process as the tests see it."""

    def __init__(self, kind: str, *options: str) -> None:
        command = [sys.executable, "-m", "tests.tunnel.serving", kind, *options]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        self.get("/facts")  # so that the first request's memory is not counted

    def rss(self) -> int:
        return psutil.Process(self.process.pid).memory_info().rss

    def get(self, path: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def facts(self) -> tuple[int, int, int]:
        sent, received, closed = map(int, self.get("/facts").split())
        return sent, received, closed

    def connect(self, path: str) -> socket.socket:
        """Open a WebSocket and return its socket, nothing of the messages read yet."""
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)
        key = base64.b64encode(os.urandom(16)).decode()
        raw.sendall(
            f"GET {path} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += exactly(raw, 1)
        assert head.startswith(b"HTTP/1.1 101"), head
        return raw

    def stop(self) -> int:
        self.process.terminate()
        try:
            return self.process.wait(DEADLINE)
        finally:
            self.process.kill()
            self.process.stdout.close()


@contextlib.contextmanager
def daphne(kind: str, *options: str) -> Iterator[Daphne]:
    server = Daphne(kind, *options)
    try:
        yield server
    finally:
        server.stop()


def exactly(raw: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = raw.recv(size - len(data))
        if not part:
            raise EOFError(f"connection ended after {len(data)} of {size} bytes")
        data += part
    return bytes(data)


def read_frame(raw: socket.socket) -> tuple[int, bytes]:
    """Return opcode and payload of one unmasked frame."""
    first, size = exactly(raw, 2)
    if size == 126:
        (size,) = struct.unpack("!H", exactly(raw, 2))
    elif size == 127:
        (size,) = struct.unpack("!Q", exactly(raw, 8))
    return first & 0x0F, exactly(raw, size)


def frame(payload: bytes, opcode: int = 2) -> bytes:
    """Return a frame masked with zeros."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size)
    return head + bytes(4) + payload


def settled(read: Callable[[], object], quiet: float = 0.5) -> object:
    """Return a value once it has stayed the same for a while."""
    deadline = time.monotonic() + DEADLINE
    value, since = read(), time.monotonic()
    while time.monotonic() - since < quiet:
        assert time.monotonic() < deadline, f"still changing: {value}"
        now = read()
        if now != value:
            value, since = now, time.monotonic()
        time.sleep(0.02)
    return value


def until(fact: Callable[[], bool], deadline: float = DEADLINE) -> None:
    """Wait for a fact."""
    end = time.monotonic() + deadline
    while not fact():
        assert time.monotonic() < end, "did not become true in time"
        time.sleep(0.02)


def main(kind: str, ping_interval: str = "20", ping_timeout: str = "30") -> None:
    from daphne.server import Server

    from tunnel.serve import PacedServer

    pings = {
        "ping_interval": float(ping_interval),
        "ping_timeout": float(ping_timeout),
        "signal_handlers": True,
    }
    if kind == "paced":
        server = PacedServer(application, host="127.0.0.1", port=0, **pings)
    else:
        server = Server(application, endpoints=["tcp:port=0:interface=127.0.0.1"], **pings)
    said = server.listen_success
    server.listen_success = lambda port: (said(port), print(port.getHost().port, flush=True))
    server.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
