"""A program in a terminal of this machine: the floor of what a page is to its shell."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
from types import TracebackType

from bench.page import WIDE
from bench.panel import PATIENCE

CHUNK = 64 * 1024


class PtyLine:
    """Types to a program and reads what it writes; the program ends with it."""

    def __init__(self, *command: str) -> None:
        self._terminal, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", WIDE["rows"], WIDE["cols"], 0, 0))
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm-256color"},
        )
        os.close(theirs)

    def __enter__(self) -> PtyLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._terminal)  # hangs up
        self._process.terminate()
        self._process.wait(10)

    def type(self, data: bytes) -> None:
        """Press keys."""
        os.write(self._terminal, data)

    def read(self) -> bytes:
        """Wait for output.

        Raises:
            TimeoutError: nothing came for very long.
        """
        if not select.select([self._terminal], [], [], PATIENCE)[0]:
            raise TimeoutError("the program writes nothing")
        return os.read(self._terminal, CHUNK)
