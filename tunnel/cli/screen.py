"""Where `tunnel shell` writes: in a thread, because a terminal may take nothing for as long as it likes."""

import asyncio
import contextlib
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

PIECE: Final = 16 * 1024  # bytes written at once, and told as written


class Screen(threading.Thread):
    """Writes to files in order. `written` is called on the loop with each count; `broke` when nobody reads any more."""

    def __init__(self, written: Callable[[int], None], broke: Callable[[OSError], None]) -> None:
        super().__init__(name="shell screen", daemon=True)  # one that is stuck ends with the process
        self._written, self._broke = written, broke
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[int, bytes, bool]] = deque()
        self._filled = threading.Semaphore(0)
        self._empty = asyncio.Event()
        self._empty.set()
        self._left = 0
        self.broken = False

    def put(self, fd: int, data: bytes, *, counts: bool = True) -> None:
        """Have bytes written; those of notes do not count."""
        pieces = [data[at : at + PIECE] for at in range(0, len(data), PIECE)]
        for piece in pieces:
            self._left += 1
            self._empty.clear()
            self._queue.append((fd, piece, counts))
            self._filled.release()

    async def flushed(self) -> None:
        """Wait until all is written, or never will be."""
        if not self.broken:
            await self._empty.wait()

    def run(self) -> None:
        """Write for ever."""
        while True:
            self._filled.acquire()
            fd, piece, counts = self._queue.popleft()
            try:
                _write(fd, piece)
            except OSError as exc:
                self._tell(self._fail, exc)
                return
            self._tell(self._done, len(piece) if counts else 0)

    def _tell(self, what: Callable[..., None], argument: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(what, argument)

    def _done(self, count: int) -> None:
        self._left -= 1
        if not self._left:
            self._empty.set()
        if count:
            self._written(count)

    def _fail(self, error: OSError) -> None:
        self.broken = True
        self._empty.set()
        self._broke(error)


def _write(fd: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:  # somebody else made it so; it is theirs too
            select.select([], [fd], [])
