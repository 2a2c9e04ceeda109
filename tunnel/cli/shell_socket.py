"""The way of `tunnel shell` from anywhere: the panel's socket for terminals, with the token in its first request."""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import ssl
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlsplit

from agent_client.reader import Closed, Pinged, Reader, WrongFrame
from agent_client.vendor.websocket import ABNF
from tunnel.cli.address import Address
from tunnel.cli.exits import Exit, Failure
from tunnel.cli.proxy_login import authorization
from tunnel.cli.rest_errors import NotThePanel, Unreachable, wrong_tls
from tunnel.cli.shell_way import Said, Screenful, WayLost

CONNECT_WITHIN: Final = 15.0  # seconds for connection, TLS and the answer
LARGEST_HEAD: Final = 64 * 1024  # bytes of an answer's head; real ones are below 8 KiB
PIECE: Final = 64 * 1024  # bytes read at once
SILENCE: Final = 30.0  # seconds without a byte; the panel answers each `ping`
PING: Final = 10.0  # seconds between two of them
MAX_TYPED: Final = 32 * 1024  # bytes in a message; the panel takes twice as much
GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
SHOWN_OUT: Final = 4003


class SocketWay:
    """A `tunnel.cli.shell_way.ShellWay`."""

    def __init__(self, where: Address, token: str, tls: ssl.SSLContext, proxy: str, agent_id: str) -> None:
        self._where, self._token, self._tls, self._proxy = where, token, tls, proxy
        self._path = f"{where.path}/tunnel/ws/{quote(agent_id, safe='')}/shell/"
        self._writer: asyncio.StreamWriter | None = None

    async def run(self, wish: Said, front: Screenful) -> None:
        """Live until the shell is ended or not to be had."""
        again = wish["t"] == "attach"
        try:
            async with asyncio.timeout(CONNECT_WITHIN):
                reader, writer = await self._dial()
        except ssl.SSLError as exc:
            told = wrong_tls(self._where, exc)
            if again:
                raise WayLost(str(told)) from exc
            raise told from exc
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError) as exc:
            words = getattr(exc, "strerror", "") or "no answer"
            if again:
                raise WayLost(words) from exc
            raise Unreachable(f"{self._where} cannot be reached: {words}", sent=False) from exc
        self._writer = writer
        pings = asyncio.create_task(self._ping(), name="shell pings")
        try:
            self.say(wish)
            await self._hear(reader, front)
        except (OSError, EOFError, TimeoutError, WrongFrame) as exc:
            raise WayLost("the connection to the panel broke") from exc
        finally:
            self._writer = None
            pings.cancel()
            writer.close()

    def typed(self, data: bytes) -> None:
        """Type."""
        for at in range(0, len(data), MAX_TYPED):
            self._send(data[at : at + MAX_TYPED], ABNF.OPCODE_BINARY)

    def say(self, said: Said) -> None:
        """Say something."""
        self._send(json.dumps(said).encode(), ABNF.OPCODE_TEXT)

    def _send(self, payload: bytes, opcode: int) -> None:
        if self._writer is not None:
            self._writer.write(ABNF.create_frame(payload, opcode).format())

    async def _ping(self) -> None:
        number = 0
        while True:
            await asyncio.sleep(PING)
            number += 1
            self.say({"t": "ping", "n": number})

    async def _hear(self, reader: asyncio.StreamReader, front: Screenful) -> None:
        frames = Reader()
        ended = False
        while True:
            async with asyncio.timeout(SILENCE):
                data = await reader.read(PIECE)
            if not data:
                raise EOFError
            for item in frames.feed(data):
                if isinstance(item, bytes):
                    front.came(item)
                elif isinstance(item, Pinged):
                    self._send(item.payload, ABNF.OPCODE_PONG)
                elif isinstance(item, Closed):
                    if ended or item.code == SHOWN_OUT:
                        return
                    raise EOFError
                else:
                    said = _said(item)
                    front.told(said)
                    ended = ended or (said["t"], said.get("state")) == ("state", "ended")
            if ended:
                return

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        where = self._where
        tls = self._tls if where.secure else None
        if self._proxy:
            reader, writer = await self._through_proxy()
        else:
            reader, writer = await asyncio.open_connection(
                where.host, where.port, limit=LARGEST_HEAD, ssl=tls
            )
        try:
            await self._upgrade(reader, writer)
        except BaseException:
            writer.close()
            raise
        return reader, writer

    async def _through_proxy(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self._proxy)
        tls = self._tls if parts.scheme == "https" else None
        port = parts.port or (443 if tls else 80)
        reader, writer = await asyncio.open_connection(parts.hostname, port, limit=LARGEST_HEAD, ssl=tls)
        target = f"{_bracketed(self._where.host)}:{self._where.port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if login := authorization(self._proxy):
            lines.append(f"Proxy-Authorization: {login}")
        status, _ = await _asked(reader, writer, lines)
        if status != HTTPStatus.OK:
            writer.close()
            raise Unreachable(f"the proxy does not lead to {self._where} ({status})", sent=False)
        if self._where.secure:
            await writer.start_tls(self._tls, server_hostname=self._where.host)
        return reader, writer

    async def _upgrade(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        key = base64.b64encode(os.urandom(16))
        lines = [
            f"GET {self._path} HTTP/1.1",
            f"Host: {str(self._where).partition('://')[2].partition('/')[0]}",
            "User-Agent: yumna",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key.decode()}",
            "Sec-WebSocket-Version: 13",
            f"Authorization: Token {self._token}",
        ]
        status, headers = await _asked(reader, writer, lines)
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise Failure("the panel does not let this token open shells on this server", Exit.REFUSED)
        if status in (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT):
            raise ConnectionError(status, f"the proxy there does not reach the panel ({status})")
        wanted = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest()).decode()
        if status != HTTPStatus.SWITCHING_PROTOCOLS or headers.get("sec-websocket-accept") != wanted:
            words = "a redirect is not followed with a token" if 300 <= status < 400 else "check the address"
            raise NotThePanel(f"{self._where} opens no terminal: it answers {status}; {words}")


async def _asked(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lines: list[str]
) -> tuple[int, dict[str, str]]:
    """Ask, and return status and headers of the answer."""
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    await writer.drain()
    first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
        raise NotThePanel("what answers there does not speak HTTP")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)
    }
    return int(words[1]), headers


def _said(text: str) -> Said:
    with contextlib.suppress(ValueError, RecursionError):
        said = json.loads(text)
        if isinstance(said, dict) and isinstance(said.get("t"), str):
            return said
    raise EOFError  # no panel of ours speaks so


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
