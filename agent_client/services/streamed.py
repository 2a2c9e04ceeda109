"""A program at a stream (`system.exec`, `shell.pipe`): its output as it comes, its input as it is sent, its end."""

import contextlib
import fcntl
import os
import selectors
import signal
import sys
import termios
import threading
from collections import deque
from enum import Enum
from typing import IO, TYPE_CHECKING, Callable, Optional

from agent_client.children import exited, pidfd, signal_group
from agent_client.protocol.codes import Code
from agent_client.protocol.outputs import RECORD, STDERR, STDOUT
from agent_client.protocol.text import JsonObject
from agent_client.steady import steady
from agent_client.streams import Done, Line, Taken

if TYPE_CHECKING:
    import subprocess

BUFFER = 64 * 1024  # bytes of records that wait for the line; then the pipes fill, and the program waits
READ_SIZE = 32 * 1024  # bytes a read
INPUT_WINDOW = 128 * 1024  # bytes the master may send that the program has not read
GRACE = 0.5  # seconds from SIGTERM to SIGKILL
LINGER = 0.2  # seconds to read on after the end: somebody outside the group may hold the pipes open for ever
POLL = 0.05  # seconds between looks at a process of which no file tells


class State(Enum):
    """Where a program is in its life."""

    RUNNING = "running"
    STOPPING = "stopping"  # its stream is gone: it was asked to end, and is killed soon
    READING = "reading"  # it ended, the rest of its output is in the pipes
    OVER = "over"


class Step(Enum):
    """What moves a program on."""

    STOP = "stop"
    EXIT = "exit"
    READ = "read"


STEPS: dict[tuple[State, Step], State] = {
    (State.RUNNING, Step.STOP): State.STOPPING,
    (State.RUNNING, Step.EXIT): State.READING,
    (State.STOPPING, Step.EXIT): State.READING,
    (State.READING, Step.READ): State.OVER,
}


class Running:
    """A program at the node's end of a stream.

    The link's thread takes and feeds; the watching thread reads, writes, signals and sees the end. With `leaves_rest`
    what it put in the background goes on after it, as after a login over ssh.
    """

    interactive = False

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        stdin: bytes,
        wake: Callable[[], None],
        *,
        leaves_rest: bool = False,
    ) -> None:
        self.pid = process.pid
        self._leaves_rest = leaves_rest
        self._process = process
        self._started = steady()
        self._wake = wake
        self._lock = threading.Lock()
        self._line: Optional[Line] = None
        self._state = State.RUNNING
        self._lost = False
        self._records = bytearray()
        self._outputs = {_fd(process.stdout): STDOUT, _fd(process.stderr): STDERR}
        self._stdin: Optional[int] = _fd(process.stdin)
        self._input = deque([(stdin, False)] if stdin else [])  # with: did it come on the stream
        self._input_over = False
        self._unread = 0  # bytes of it that the program left when it ended
        self._pidfd = pidfd(process.pid)
        self._due = float("inf") if self._pidfd is not None else 0.0
        self._kill_at = float("inf")
        self._rest_until = float("inf")
        self._rest: dict[
            int, int
        ] = {}  # bytes that were in each pipe when the program ended, and are to be read
        self._detail: JsonObject = {}
        for fd in (*self._outputs, self._stdin):
            os.set_blocking(fd, False)

    def attach(self, line: Line) -> None:
        """The stream is open."""
        self._line = line
        line.wake()  # there may be output already

    def take(self, most: int) -> Taken:
        """Give records, cut anywhere: the stream is one sequence of bytes."""
        with self._lock:
            full = len(self._records) >= BUFFER
            chunk = bytes(self._records[:most])
            del self._records[:most]
            over = self._state is State.OVER and not self._records and not chunk
            read_on = full and len(self._records) < BUFFER
        if read_on:
            self._wake()
        return Done(self._detail) if over else chunk or None

    def received(self, data: bytes) -> None:
        """Feed the program."""
        with self._lock:
            wanted = self._stdin is not None and not self._input_over
            if wanted:
                self._input.append((data, True))
        if wanted:
            self._wake()
        else:
            self._consumed(len(data))

    def ended(self, detail: Optional[JsonObject]) -> None:  # noqa: ARG002 - the seam's signature
        """The program's input ends after what was sent."""
        with self._lock:
            self._input_over = True
        self._wake()

    def lost(self, code: Code, error: str) -> None:  # noqa: ARG002 - the seam's signature
        """Nobody hears the program any more: it is stopped with all its group."""
        with self._lock:
            self._lost = True
            self._due = 0.0
        self._wake()

    def interest(self) -> Optional[dict[int, int]]:
        """Return what to wait for."""
        with self._lock:
            if self._state is State.OVER:
                return None
            files: dict[int, int] = {}
            if self._lost or len(self._records) < BUFFER:
                files.update(dict.fromkeys(self._outputs, selectors.EVENT_READ))
            if self._stdin is not None and self._input:
                files[self._stdin] = selectors.EVENT_WRITE
            if self._pidfd is not None and self._state is State.RUNNING:
                files[self._pidfd] = selectors.EVENT_READ
            return files

    def ready(self, fd: int, events: int) -> None:  # noqa: ARG002 - the seam's signature
        """Read, write, or see that the program ended."""
        if fd in self._outputs:
            self._read(fd)
        elif fd == self._stdin:
            self._write(fd)
        else:
            self.tick(steady())

    def due(self) -> float:
        """When to look at the clock next; at once when the input is to be closed, which must be unwatched by then."""
        with self._lock:
            if self._stdin is not None and self._input_over and not self._input:
                return 0.0
            return self._due

    def tick(self, now: float) -> None:
        """Close what is done with, see whether the program ended, signal one that is to end."""
        with self._lock:
            if self._stdin is not None and self._input_over and not self._input:
                self._stdin = None
                _close(self._process.stdin)
            self._due = (
                now + POLL if self._pidfd is None or self._state is not State.RUNNING else float("inf")
            )
            if self._state is State.READING:
                self._look_at_rest(now)
            elif exited(self.pid):
                self._exit(now)
            elif self._state is State.RUNNING and self._lost:
                self._state = STEPS[self._state, Step.STOP]
                self._kill_at, self._due = now + GRACE, now + POLL
                signal_group(self.pid, signal.SIGTERM)
                signal_group(self.pid, signal.SIGCONT)  # one that was stopped hears nothing else
            elif self._state is State.STOPPING and now >= self._kill_at:
                signal_group(self.pid, signal.SIGKILL)
            over = self._state is State.OVER
            unread, self._unread = self._unread, 0
        if unread:
            self._consumed(unread)  # else who writes on would wait for ever
        if over:
            self._wake_line()

    def release(self) -> None:
        """Give the files back."""
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            _close(pipe)
        if self._pidfd is not None:
            os.close(self._pidfd)

    def _exit(self, now: float) -> None:
        """Kill what is left of the group, unless it may stay, then let its number go."""
        if self._lost or not self._leaves_rest:
            signal_group(self.pid, signal.SIGKILL)
        code = self._process.wait()
        self._detail = {"exitCode": code, "durationMs": round((now - self._started) * 1000)}
        self._state = STEPS[self._state, Step.EXIT]
        self._rest = {fd: _waiting(fd) for fd in self._outputs}
        self._unread = sum(len(data) for data, counts in self._input if counts)
        self._input.clear()
        self._input_over = True
        self._rest_until = self._due = now + LINGER

    def _look_at_rest(self, now: float) -> None:
        waits_for_line = self._outputs and not self._lost and len(self._records) >= BUFFER
        if waits_for_line:
            self._rest_until = now + LINGER
        elif not self._outputs or (now >= self._rest_until and not any(self._rest.values())):
            self._state = STEPS[self._state, Step.READ]

    def _read(self, fd: int) -> None:
        try:
            chunk = os.read(fd, READ_SIZE)
        except BlockingIOError:
            return
        with self._lock:
            self._rest[fd] = max(0, self._rest.get(fd, 0) - len(chunk)) if chunk else 0
            if not chunk:
                del self._outputs[fd]
                self._due = self._due if self._outputs or self._state is not State.READING else 0.0
            elif not self._lost:
                self._records += RECORD.pack(self._outputs[fd], len(chunk)) + chunk
        if chunk:
            self._wake_line()

    def _write(self, fd: int) -> None:
        with self._lock:
            if not self._input:
                return
            data, counts = self._input[0]
        try:
            count = os.write(fd, data)
        except BlockingIOError:
            return
        except BrokenPipeError:  # it does not want to hear more
            count = len(data)
        with self._lock:
            if count < len(data):
                self._input[0] = (data[count:], counts)
            else:
                self._input.popleft()
        if counts:
            self._consumed(count)

    def _consumed(self, count: int) -> None:
        if self._line is not None:
            self._line.consumed(count)

    def _wake_line(self) -> None:
        if self._line is not None:
            self._line.wake()


def _fd(pipe: "Optional[IO[bytes]]") -> int:
    assert pipe is not None  # noqa: S101 - Popen was asked for it
    return pipe.fileno()


def _waiting(fd: int) -> int:
    """Return how many bytes are in a pipe."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)


def _close(pipe: "Optional[IO[bytes]]") -> None:
    if pipe is not None:
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
