"""Open a connection to a master: name, TCP, proxy, TLS, WebSocket handshake, all within one deadline."""

import errno
import os
import socket
import ssl
import sys
import threading
from collections import deque
from dataclasses import dataclass
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any, Optional, Union

from agent_client import proxy
from agent_client.address import Address
from agent_client.backoff import Ending
from agent_client.patience import Patience, TimedOut
from agent_client.proxy import Proxy, WrongProxy
from agent_client.tls import client_context
from agent_client.tls import in_words as tls_in_words
from agent_client.upgrade import Credentials, WrongAnswer, upgrade

SHORTEST_TRY = 1.0  # seconds for one of several addresses; a host far away answers within
LONGEST_TRY = 5.0  # seconds for one of several addresses: broken IPv6 must not use up the whole deadline
NOT_SENT_LOWAT = 16 * 1024  # bytes the kernel may hold unsent; what became urgent must not queue behind more
# `socket` names it from Python 3.12 on.
_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25 if sys.platform == "linux" else None)

_CONNECTING = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN})

AddressInfo = tuple[Any, ...]
Socket = Union[socket.socket, ssl.SSLSocket]


class DialFailed(Exception):
    """No connection; `ending` decides how long to wait, the sentence says why and what to check."""

    def __init__(self, ending: Ending, reason: str) -> None:
        super().__init__(reason)
        self.ending = ending


@dataclass(frozen=True)
class Connection:
    """An open WebSocket; `received` are bytes that arrived behind the handshake."""

    sock: Socket
    received: bytes


def dial(
    address: Address, credentials: Credentials, ca_file: Optional[str], patience: Patience
) -> Connection:
    """Connect to a master.

    Raises:
        DialFailed: it did not work, or the master refused.
        Stopped: the agent is to stop.
    """
    try:
        sock = _reach(address, ca_file, patience)
    except TimedOut as exc:
        raise DialFailed(Ending.UNREACHABLE, "no connection within the time limit") from exc
    except WrongProxy as exc:
        raise DialFailed(Ending.UNREACHABLE, str(exc)) from exc
    except ssl.SSLError as exc:
        raise DialFailed(Ending.UNREACHABLE, tls_in_words(exc)) from exc
    except OSError as exc:
        raise DialFailed(Ending.UNREACHABLE, in_words(exc)) from exc
    try:
        return Connection(sock, upgrade(sock, address, credentials, patience).received)
    except WrongAnswer as exc:
        sock.close()
        raise DialFailed(Ending.REFUSED if exc.refused else Ending.UNREACHABLE, str(exc)) from exc
    except TimedOut as exc:
        sock.close()
        raise DialFailed(
            Ending.UNREACHABLE, "the master did not answer the WebSocket handshake in time"
        ) from exc
    except OSError as exc:
        sock.close()
        raise DialFailed(Ending.UNREACHABLE, f"the WebSocket handshake broke off: {in_words(exc)}") from exc
    except BaseException:
        sock.close()
        raise


def _reach(address: Address, ca_file: Optional[str], patience: Patience) -> Socket:
    """Return a non-blocking socket to the master, inside TLS where the address says so."""
    through = proxy.proxy_for(address)
    host, port = (through.host, through.port) if through else (address.host, address.port)
    sock: Socket = connect(resolve(host, port, patience), patience)
    try:
        tune(sock)
        if through:
            ask_proxy(sock, through, address, patience)
        if address.secure:
            sock = secure(sock, address.host, ca_file, patience)
    except BaseException:
        sock.close()
        raise
    return sock


def resolve(host: str, port: int, patience: Patience) -> list[AddressInfo]:
    """Look a name up in a thread: the system's resolver can neither be interrupted nor given a deadline."""
    name = _as_bytes(host)
    found: deque[Union[list[AddressInfo], OSError, UnicodeError]] = deque(maxlen=1)

    def look() -> None:
        try:
            found.append(list(socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)))
        except (OSError, UnicodeError) as exc:
            found.append(exc)
        patience.wake()

    threading.Thread(target=look, name="agent-resolver", daemon=True).start()
    while not found:
        patience.wait()
    answer = found.pop()
    if isinstance(answer, UnicodeError):
        raise OSError(f"{host} is no host name") from answer
    if isinstance(answer, OSError):
        raise answer
    return answer


def connect(infos: list[AddressInfo], patience: Patience) -> socket.socket:
    """Try the addresses of a host in turn."""
    failure: Exception = OSError("the host has no address")
    for left, info in zip(range(len(infos), 0, -1), infos):
        share = patience
        if left > 1:
            share = patience.shorter(min(LONGEST_TRY, max(SHORTEST_TRY, patience.remaining / left)))
        try:
            return _connect_to(info, share)
        except (OSError, TimedOut) as exc:
            failure = exc
            if not patience.remaining:
                break
    raise failure


def _connect_to(info: AddressInfo, patience: Patience) -> socket.socket:
    family, kind, protocol, _, target = info
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        code = sock.connect_ex(target)
        while code in _CONNECTING:
            if patience.wait(sock, EVENT_WRITE):
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock


def tune(sock: socket.socket) -> None:
    """Send small messages at once, and keep what is urgent from queueing behind much."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if _NOTSENT_LOWAT is not None:
        sock.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, NOT_SENT_LOWAT)


def ask_proxy(sock: socket.socket, through: Proxy, address: Address, patience: Patience) -> None:
    """Have the proxy connect us to the master."""
    patience.send_all(sock, proxy.connect_request(through, address))
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):  # byte by byte: what follows belongs to TLS
        byte = patience.retry(lambda: sock.recv(1), sock, EVENT_READ)
        if not byte or len(answer) >= proxy.LARGEST_ANSWER:
            raise WrongProxy("the proxy broke off or sent too much")
        answer += byte
    proxy.check_answer(answer)


def secure(sock: socket.socket, host: str, ca_file: Optional[str], patience: Patience) -> ssl.SSLSocket:
    """Put TLS over `sock`, which belongs to the result from now on; the master proves that it is `host`."""
    context = client_context(ca_file)
    wrapped = context.wrap_socket(sock, server_hostname=_as_bytes(host), do_handshake_on_connect=False)
    try:
        patience.retry(wrapped.do_handshake, wrapped, EVENT_READ)
    except BaseException:
        wrapped.close()
        raise
    return wrapped


def _as_bytes(host: str) -> Union[bytes, str]:
    """Return a name of ASCII as bytes: text would be encoded by IDNA, whose tables weigh 0.2 MiB."""
    return host.encode("ascii") if host.isascii() else host


def in_words(exc: OSError) -> str:
    """Say what is wrong with the network."""
    if isinstance(exc, socket.gaierror):
        return f"the name of the host cannot be resolved ({exc.strerror})"
    return (exc.strerror or str(exc)).lower()
