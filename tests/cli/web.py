"""A small web server for one test: real sockets, real TLS, and whatever bytes the test writes as the answer."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

DEADLINE = 20.0


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    raw: socket.socket = field(compare=False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def reply(status: int, body: Any = b"", kind: str = "application/json", **headers: str) -> bytes:
    """Return the bytes of an answer."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Content-Type": kind, "Content-Length": str(len(content)), "Connection": "close"}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Words\r\n{head}\r\n".encode() + content


def problem(
    status: int, code: str, detail: str, *, headers: dict[str, str] | None = None, **members: Any
) -> bytes:
    """Return the bytes of a problem (RFC 9457)."""
    body = {"type": "/x/", "title": "title", "status": status, "detail": detail, "code": code, **members}
    return reply(status, body, "application/problem+json", **(headers or {}))


class Web:
    """Serves until its `with` block ends; `asked` holds what came."""

    def __init__(
        self,
        answer: Callable[[Asked], bytes | None],
        tls: ssl.SSLContext | None = None,
        *,
        at_once: bool = False,
    ) -> None:
        self.asked: list[Asked] = []
        self.failed: list[OSError] = []  # handshakes and connections that did not hold
        self._answer = answer
        self._tls = tls
        self._at_once = at_once  # answer what is no request too, as a web server does
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="web", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(DEADLINE)

    def _accept(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(raw,), name="web request", daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        raw.settimeout(DEADLINE)
        try:
            if self._tls:
                raw = self._tls.wrap_socket(raw, server_side=True)
            with raw:
                asked = Asked("", "", {}, raw.recv(65536), raw) if self._at_once else read(raw)
                self.asked.append(asked)
                answer = self._answer(asked)
                if answer is not None:
                    raw.sendall(answer)
        except OSError as exc:
            self.failed.append(exc)
            raw.close()


def read(raw: socket.socket) -> Asked:
    """Read one request."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = raw.recv(65536)
        if not part:
            raise ConnectionError(f"only {data!r} came")
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += raw.recv(65536)
    method, path, _ = first.split(" ")
    return Asked(method, path, headers, body, raw)


@contextmanager
def serving(
    answer: Callable[[Asked], bytes | None] | bytes,
    tls: ssl.SSLContext | None = None,
    *,
    at_once: bool = False,
) -> Iterator[Web]:
    """Serve one answer to everything, or what a function makes of each request."""
    web = Web(answer if callable(answer) else lambda _: answer, tls, at_once=at_once)
    try:
        yield web
    finally:
        web.close()
