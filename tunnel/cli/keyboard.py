"""The keyboard of `tunnel shell`: read in a thread, in raw mode while the shell has it, with the escapes that ssh has."""

import asyncio
import contextlib
import os
import select
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Final

PIECE: Final = 16 * 1024  # bytes read at once
SUSPEND_KEY: Final = 0x1A  # Ctrl-Z


class Escape(Enum):
    """What `~` and one more key at the start of a line mean."""

    LEAVE = "."
    SUSPEND = "^Z"
    HELP = "?"


_ESCAPES: Final = {ord("."): Escape.LEAVE, SUSPEND_KEY: Escape.SUSPEND, ord("?"): Escape.HELP}
HELP: Final = (
    "~.   leave; the shell runs on for a while",
    "~^Z  suspend this program",
    "~~   type one ~",
    "~?   this help",
    "(only at the start of a line)",
)


class Escapes:
    """Finds the escapes in what is typed."""

    def __init__(self) -> None:
        self._at_start = True
        self._tilde = False  # one is held back until the next key says what it means

    def feed(self, data: bytes) -> list[bytes | Escape]:
        """Return what is to be typed and what is to be done, in order."""
        found: list[bytes | Escape] = []
        typed = bytearray()
        for key in data:
            if self._tilde:
                self._tilde = False
                escape = _ESCAPES.get(key)
                if escape is not None:
                    if typed:
                        found.append(bytes(typed))
                        typed.clear()
                    found.append(escape)
                    self._at_start = True
                    continue
                typed += b"~" if key == ord("~") else bytes((ord("~"), key))
            elif self._at_start and key == ord("~"):
                self._tilde = True
                continue
            else:
                typed.append(key)
            self._at_start = key in b"\r\n"
        if typed:
            found.append(bytes(typed))
        return found


class RawMode:
    """A terminal that hands on every key; `back` puts it in order again, and may be called at any time."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._is_raw = False
        self._before = termios.tcgetattr(fd)

    def enter(self) -> bool:
        """Hand on every key; False while the terminal is another job's, for whom it must stay as it is."""
        if not self._in_front():
            return False
        if not self._is_raw:
            self._before = termios.tcgetattr(self._fd)
            self._is_raw = True
        # Not TCSAFLUSH, which would drop what was typed ahead; not TCSADRAIN, which waits for who reads nothing.
        tty.setraw(self._fd, termios.TCSANOW)
        return True

    def back(self) -> None:
        """Put it in order again; another job that has it by now did so, and we would be stopped if we tried."""
        if self._is_raw and self._in_front():
            with contextlib.suppress(termios.error):  # it hung up
                termios.tcsetattr(self._fd, termios.TCSANOW, self._before)
        self._is_raw = False

    def _in_front(self) -> bool:
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:  # it is not the terminal that decides over our jobs, or it hung up
            return True


class Keys(threading.Thread):
    """Reads a file in a thread; `heard` is called on the loop with what came, b"" at its end; None is at its end.

    With `most` no more than so many bytes are read beyond those that `taken` was told of.
    """

    def __init__(self, fd: int | None, heard: Callable[[bytes], None], most: int | None = None) -> None:
        super().__init__(name="shell keyboard", daemon=True)
        self._fd = fd
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._asleep, self._waker = os.pipe()
        self._change = threading.Condition()
        self._room = most
        self._over = False

    def taken(self, count: int) -> None:
        """Let so many more bytes be read."""
        with self._change:
            if self._room is not None:
                self._room += count
            self._change.notify()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Read meanwhile."""
        self.start()
        try:
            yield
        finally:
            with self._change:
                self._over = True
                self._change.notify()
            os.write(self._waker, b"x")
            self.join()
            os.close(self._waker)
            os.close(self._asleep)

    def run(self) -> None:
        """Read until the end of the file, or of `reading`."""
        while (most := self._wait_for_room()) and not self._over:
            try:
                data = b"" if self._fd is None else self._read(self._fd, most)
            except BlockingIOError:
                continue
            except OSError:  # the terminal hung up
                data = b""
            if self._over:
                return
            with self._change:
                if self._room is not None:
                    self._room -= len(data)
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._heard, data)
            if not data:
                return

    def _wait_for_room(self) -> int:
        """Return how many bytes may be read."""
        with self._change:
            self._change.wait_for(lambda: self._over or self._room is None or self._room > 0)
            return PIECE if self._room is None else min(PIECE, self._room)

    def _read(self, fd: int, most: int) -> bytes:
        ready, _, _ = select.select([fd, self._asleep], [], [])
        return b"" if self._asleep in ready else os.read(fd, most)
