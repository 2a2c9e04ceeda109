"""A master that shakes hands and then sends whatever bytes a test wants, right or wrong."""

import base64
import contextlib
import hashlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0, mask: bytes = b"") -> bytes:
    """Return a frame as servers send it, or wrong in one way."""
    first = (0x80 if fin else 0) | rsv | opcode
    bit = 0x80 if mask else 0
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", first, bit | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    return head + mask + payload


def text(message: dict) -> bytes:
    return frame(1, json.dumps(message).encode())


def ack(**members: object) -> bytes:
    greeting = {
        "type": "HANDSHAKE_ACK",
        "session": "raw",
        "serverTime": time.time(),
        "ping": 0.2,
        "silence": 5,
        "heartbeat": 30,
    }
    return text({**greeting, **members})


class RawMaster:
    """Accepts connections in turn and lets `serve(connection)` do what it likes after the handshake."""

    def __init__(self, serve: Callable[[socket.socket], None], *, answer: "bytes | None" = None) -> None:
        self._serve = serve
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.requests: list[bytes] = []
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, name="raw-master")
        self._thread.start()

    def __enter__(self) -> "RawMaster":
        return self

    def __exit__(self, *_exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            try:
                self._shake(connection)
                self._serve(connection)
            except OSError:
                continue

    def _shake(self, connection: socket.socket) -> None:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            data = connection.recv(4096)
            if not data:
                raise ConnectionResetError
            request += data
        self.requests.append(request)
        if self._answer is not None:
            connection.sendall(self._answer)
            return
        lines = (line.split(b": ", 1) for line in request.split(b"\r\n") if b": " in line)
        key = next(value for name, value in lines if name.lower() == b"sec-websocket-key")
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )


def read_all(connection: socket.socket) -> bytes:
    """Read until the agent closes."""
    received = b""
    try:
        while data := connection.recv(65536):
            received += data
    except ConnectionResetError:
        pass
    return received


def frames(data: bytes) -> "list[tuple[int, bytes]]":
    """Take the agent's masked frames apart."""
    found = []
    while len(data) >= 2:
        size, at = data[1] & 0x7F, 2
        if size == 126:
            size, at = struct.unpack_from("!H", data, 2)[0], 4
        elif size == 127:
            size, at = struct.unpack_from("!Q", data, 2)[0], 10
        mask, payload = data[at : at + 4], data[at + 4 : at + 4 + size]
        found.append((data[0] & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))))
        data = data[at + 4 + size :]
    return found


def close_code(data: bytes) -> "int | None":
    """The code of the close frame the agent sent, if any."""
    payload = next((payload for opcode, payload in frames(data) if opcode == 8), None)
    return None if payload is None else struct.unpack_from("!H", payload)[0]
