"""The WebSocket handshake over an open socket, by websocket-client."""

import socket
from dataclasses import dataclass, field
from selectors import EVENT_READ
from typing import Any, Optional

from agent_client.address import Address
from agent_client.patience import Patience, Stopped, TimedOut
from agent_client.protocol.handshake import ID_HEADER, SECRET_HEADER, SUBPROTOCOL
from agent_client.vendor.websocket import (
    WebSocket,
    WebSocketBadStatusException,
    WebSocketConnectionClosedException,
)

LARGEST_ANSWER = 64 * 1024  # bytes of the master's answer; real ones are far below 8 KiB
READ_SIZE = 4096  # bytes
SWITCHING_PROTOCOLS = 101
REFUSALS = frozenset({401, 403})


class WrongAnswer(Exception):
    """The master's HTTP answer is no WebSocket; `refused` tells a refusal of this agent from other trouble.

    `status` is that of the answer, None when it has none.
    """

    def __init__(self, reason: str, *, status: Optional[int] = None) -> None:
        super().__init__(reason)
        self.status = status
        self.refused = status in REFUSALS


@dataclass(frozen=True)
class Credentials:
    """Who the agent is."""

    agent_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Upgraded:
    """What the master agreed to; `received` are bytes that arrived behind the handshake."""

    received: bytes
    subprotocol: Optional[str]


class _Blocking:
    """A non-blocking socket as websocket-client's handshake wants it: it waits, within the one deadline."""

    def __init__(self, sock: socket.socket, patience: Patience) -> None:
        self._sock = sock
        self._patience = patience
        self._read = 0
        self.buffer = b""

    def gettimeout(self) -> float:
        return 0.0  # keeps websocket-client from waiting by itself

    def send(self, data: bytes) -> int:
        """Send all of it: websocket-client does not look at the count."""
        self._patience.send_all(self._sock, data)
        return len(data)

    def recv(self, size: int) -> bytes:
        """Return 1 to `size` bytes, none at the end of the connection; read-ahead stays in `buffer`."""
        if not self.buffer:
            self.buffer = self._receive()
        data, self.buffer = self.buffer[: max(0, size)], self.buffer[max(0, size) :]
        return data

    def _receive(self) -> bytes:
        if self._read > LARGEST_ANSWER:
            raise WrongAnswer("the answer to the WebSocket handshake does not end")
        data = self._patience.retry(lambda: self._sock.recv(READ_SIZE), self._sock, EVENT_READ)
        self._read += len(data)
        return data

    def close(self) -> None:
        """Leave the socket to whom it belongs."""


def upgrade(
    sock: socket.socket,
    address: Address,
    credentials: Credentials,
    patience: Patience,
    subprotocol: str = SUBPROTOCOL,
) -> Upgraded:
    """Make `sock` a WebSocket.

    Raises:
        WrongAnswer: the master did not agree.
        TimedOut: it took too long.
        Stopped: the agent is to stop.
    """
    blocking = _Blocking(sock, patience)
    websocket: Any = WebSocket(enable_multithread=False)
    try:
        websocket.connect(
            address.url,
            socket=blocking,
            redirect_limit=0,
            suppress_origin=True,
            # The subprotocol goes as a plain header: given as an option it would be demanded, and a minimal
            # master that selects none is a good master too.
            header=[
                f"{ID_HEADER}: {credentials.agent_id}",
                f"{SECRET_HEADER}: {credentials.secret}",
                f"Sec-WebSocket-Protocol: {subprotocol}",
            ],
        )
    except WebSocketBadStatusException as exc:
        raise _refusal(exc.status_code) from None  # its text repeats what the master sent
    except WebSocketConnectionClosedException:
        raise WrongAnswer("the master closed the connection instead of answering the handshake") from None
    except (OSError, WrongAnswer, TimedOut, Stopped):
        raise
    except Exception as exc:  # whatever a hostile answer makes the library raise
        raise WrongAnswer("the answer to the WebSocket handshake is none") from exc
    return Upgraded(blocking.buffer, _selected(websocket.status, websocket.headers or {}, subprotocol))


def _selected(status: int, headers: "dict[str, str]", offered: str) -> Optional[str]:
    if status != SWITCHING_PROTOCOLS:  # websocket-client takes a redirect it does not follow for a success
        raise _refusal(status)
    selected = headers.get("sec-websocket-protocol")
    if selected not in (None, offered):
        raise WrongAnswer("the master selected a subprotocol that was not offered")
    if "sec-websocket-extensions" in headers:
        raise WrongAnswer("the master uses a WebSocket extension that was not offered")
    return selected


def _refusal(status: int) -> WrongAnswer:
    if status in REFUSALS:
        return WrongAnswer(
            f"the master refused this agent with status {status}: check AGENT_ID and AGENT_SECRET, and in the "
            "panel that the server exists, is not suspended and has the connection type tunnel",
            status=status,
        )
    if 300 <= status < 400:
        return WrongAnswer(
            f"the master answered with a redirect ({status}), which is never followed: put the final address "
            "into MASTER_URL",
            status=status,
        )
    if status == 404:
        return WrongAnswer(
            "there is no tunnel at this address (404): check the path of MASTER_URL", status=status
        )
    return WrongAnswer(f"the master answered with status {status}", status=status)
