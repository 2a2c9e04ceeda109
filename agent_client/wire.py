"""Bytes in, bytes out: a non-blocking socket, TLS or not, that only the link's thread touches."""

import socket
import ssl
import sys
from contextlib import suppress
from selectors import EVENT_READ, EVENT_WRITE

from agent_client.dial import Connection
from agent_client.outbox import Outbox
from agent_client.reader import Item, Reader

READ_SIZE = 64 * 1024  # bytes a read
MOST_READS = 16  # before timers and sending have their turn again


class WireLost(Exception):
    """The connection is over, in one sentence."""


class Wire:
    """A connected WebSocket. `outbox` is what leaves, `read` what came."""

    def __init__(self, connection: Connection) -> None:
        self.outbox = Outbox()
        self.written = 0  # bytes that the kernel took, in all
        self._sock = connection.sock
        self._reader = Reader()
        self._early = connection.received
        self._read_wants_write = False  # TLS may have to write to go on reading, and the other way round
        self._write_wants_read = False

    def fileno(self) -> int:
        """What to wait on."""
        return self._sock.fileno()

    def events(self, *, reading: bool) -> int:
        """What to wait for: 0 when there is nothing to do."""
        events = 0
        if reading or self._write_wants_read:
            events |= EVENT_READ
        if (self.outbox and not self._write_wants_read) or self._read_wants_write:
            events |= EVENT_WRITE
        return events

    @property
    def pending(self) -> bool:
        """Tell whether bytes wait that no selector sees: already received, or decrypted."""
        return bool(self._early) or (isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0)

    def read(self) -> "tuple[int, list[Item]]":
        """Return how many bytes came, and the messages they complete.

        Raises:
            WireLost: the connection is over.
            WrongFrame: what came is no WebSocket frame we take.
        """
        count, items = len(self._early), []
        if self._early:
            early, self._early = self._early, b""
            items += self._reader.feed(early)
        self._read_wants_write = False
        for _ in range(MOST_READS):
            try:
                data = self._sock.recv(READ_SIZE)
            except (ssl.SSLWantReadError, BlockingIOError):
                break
            except ssl.SSLWantWriteError:
                self._read_wants_write = True
                break
            except OSError as exc:
                raise WireLost(_reason(exc)) from exc
            if not data:
                if items:
                    break  # they come first; the end of the stream stays readable
                raise WireLost("the master ended the connection without a close frame")
            count += len(data)
            items += self._reader.feed(data)
        return count, items

    def write(self) -> int:
        """Send what the kernel takes; returns how many bytes that were.

        Raises:
            WireLost: the connection is over.
        """
        count = 0
        self._write_wants_read = False
        while self.outbox:
            try:
                sent = self._sock.send(self.outbox.peek())
            except (ssl.SSLWantWriteError, BlockingIOError):
                break
            except ssl.SSLWantReadError:
                self._write_wants_read = True
                break
            except OSError as exc:
                raise WireLost(_reason(exc)) from exc
            self.outbox.sent(sent)
            count += sent
        self.written += count
        return count

    @property
    def unacknowledged(self) -> int:
        """How many bytes the kernel holds that the other side has not got yet, TLS included; 0 where it does not tell."""
        return _unacknowledged(self._sock)

    def close(self) -> None:
        """Give the socket back."""
        self._sock.close()


def _unacknowledged(sock: socket.socket) -> int:
    if sys.platform != "linux":  # elsewhere there may be no such module, and no such question to a socket
        return 0
    import fcntl
    import termios

    with suppress(OSError):  # a kernel in a sandbox may not tell
        # tcp(7) calls it SIOCOUTQ, whose number is another one on some processors.
        return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    return 0


def _reason(exc: OSError) -> str:
    if isinstance(exc, ssl.SSLError):
        return f"TLS failed: {exc.reason or exc}"
    return (exc.strerror or str(exc)).lower()
