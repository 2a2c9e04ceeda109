"""A slow line between an agent and a worker: so many bytes a second each way, and hardly any buffer."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

HOST = "127.0.0.1"
BUFFER = 8 * 1024  # bytes the kernel is asked to hold for it: some 11 KiB are taken ahead, 90 ms at 1 Mbit/s
PIECE = 1400  # bytes of a packet


class Narrow:
    """Passes bytes to a port of this machine until `stop`."""

    def __init__(self, target: int, rate: float) -> None:
        self._target = target
        self._rate = rate  # bytes a second
        self._open: list[socket.socket] = []
        self._listener = socket.socket()
        _suit(self._listener)  # connections have it from here
        self._listener.bind((HOST, 0))
        self._listener.listen()
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, name="narrow", daemon=True).start()

    def stop(self) -> None:
        """Hang up."""
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket()
                _suit(far)
                far.connect((HOST, self._target))
                self._open += [near, far]
                for pair in ((near, far), (far, near)):
                    pair[1].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=self._carry, args=pair, name="narrow", daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        free = 0.0  # when the line has carried what it took before
        with suppress(OSError):
            while data := source.recv(PIECE):
                free = max(free, time.monotonic()) + len(data) / self._rate
                time.sleep(max(0.0, free - time.monotonic()))
                sink.sendall(data)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def _suit(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, PIECE)  # loopback's 64 KiB are no such line's
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
