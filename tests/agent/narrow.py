"""A line that carries so many bytes a second and holds little, in front of a master."""

import contextlib
import socket
import threading
import time

HELD = 4096  # bytes in each socket of the line, as far as the kernel obeys
SLICE = 0.02  # seconds of sending that may be made up for


class NarrowLine:
    """Listens on `port` and passes on what comes, both ways."""

    def __init__(self, to: int, rate: float) -> None:
        self._to = to
        self._rate = rate
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, HELD)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="narrow-line")]
        self._threads[0].start()

    def __enter__(self) -> "NarrowLine":
        return self

    def __exit__(self, *_exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for one in (*self._open, self._listener):
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            self._open += [near, far]
            for source, target in ((near, far), (far, near)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                thread = threading.Thread(target=self._carry, args=(source, target), name="narrow-line")
                self._threads.append(thread)
                thread.start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        free_at = time.monotonic()
        with contextlib.suppress(OSError):
            while data := source.recv(2500):
                free_at = max(free_at, time.monotonic() - SLICE) + len(data) / self._rate
                time.sleep(max(0.0, free_at - time.monotonic()))  # what a line of this width takes
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
