"""Run a program to its end: in its own process group, within a time limit, with bounded output."""

import contextlib
import errno
import logging
import os
import selectors
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

from agent_client.calls import Call, Refused
from agent_client.children import exited, pidfd, signal_group
from agent_client.protocol.codes import Code
from agent_client.steady import steady
from agent_client.wakeup import WakeUp

if TYPE_CHECKING:
    import subprocess  # an agent that has run no program yet goes without it, and what it brings in

log = logging.getLogger("agent.commands")

LARGEST_OUTPUT = 64 * 1024  # bytes kept of each of stdout and stderr; the rest is read and dropped
READ_SIZE = 256 * 1024  # bytes a read; a large one drains a chatty program at memory speed
PIPE_SIZE = 1024 * 1024  # bytes the kernel may hold for us where it can be asked (Linux)
GRACE = 0.5  # seconds between SIGTERM and SIGKILL; the caller waits 1 beyond the time limit for us to say `timeout`
LINGER = 0.2  # seconds to read on after the end: somebody outside the group may hold the pipes open for ever
POLL = 0.05  # seconds between looks at the process where the kernel has no pidfd

REAP = 5.0  # seconds to wait for a killed process; one that hangs in the kernel is left behind

_SHORT_OF = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ, which `fcntl` names from Python 3.10 on


@dataclass(frozen=True)
class Program:
    """What to run, and with what."""

    argv: Sequence[str]
    cwd: str
    env: Mapping[str, str]
    stdin: bytes = b""


@dataclass(frozen=True)
class Finished:
    """How a program ended; `exit_code` is minus the signal's number when a signal ended it."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    truncated: bool
    seconds: float


class _Kept:
    """The first bytes of an output."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.dropped = False

    def add(self, chunk: bytes) -> None:
        room = LARGEST_OUTPUT - len(self.data)
        self.data += chunk[:room]
        self.dropped = self.dropped or len(chunk) > room


def execute(program: Program, call: Call) -> Finished:
    """Run `program` until it ends, `call` is cancelled or its time is over.

    Whatever is left of its process group is killed at the end. A program that leaves the group on purpose
    (a daemon, `setsid`) lives on.

    Raises:
        Refused: it cannot be started, was cancelled or took too long.
    """
    started = steady()
    process = begin(program, stdin=bool(program.stdin))
    try:
        with _Watch(process, program.stdin, call) as watch:
            stopped = watch.until_over()
    finally:
        _end(process)
    if stopped is not None:
        raise stopped
    return Finished(
        exit_code=process.returncode,
        stdout=bytes(watch.stdout.data),
        stderr=bytes(watch.stderr.data),
        truncated=watch.stdout.dropped or watch.stderr.dropped,
        seconds=steady() - started,
    )


def begin(program: Program, *, stdin: bool) -> "subprocess.Popen[bytes]":
    """Start a program in a session of its own, with pipes for its output and, if asked, its input.

    Raises:
        Refused: it cannot be started.
    """
    import subprocess

    try:
        return subprocess.Popen(
            program.argv,
            cwd=program.cwd,
            env=program.env,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
    except FileNotFoundError as exc:
        raise Refused(Code.NOT_FOUND, f"{exc.filename or program.argv[0]} does not exist") from exc
    except NotADirectoryError as exc:
        raise Refused(Code.NOT_FOUND, f"{exc.filename or program.cwd} is no folder") from exc
    except PermissionError as exc:
        raise Refused(
            Code.PERMISSION_DENIED, f"{exc.filename or program.argv[0]} may not be used or run"
        ) from exc
    except (OSError, ValueError) as exc:
        if isinstance(exc, OSError) and exc.errno in _SHORT_OF:
            raise Refused(Code.BUSY, f"{program.argv[0]} cannot be started now: {exc.strerror}") from exc
        raise Refused(Code.INVALID_PARAMS, f"{program.argv[0]} cannot be started: {exc}") from exc


class _Watch:
    """Feeds and reads a process without ever blocking, until it is over."""

    def __init__(self, process: "subprocess.Popen[bytes]", stdin: bytes, call: Call) -> None:
        self.stdout, self.stderr = _Kept(), _Kept()
        self._process = process
        self._call = call
        self._to_write = memoryview(stdin)
        self._selector = selectors.DefaultSelector()
        self._wakeup = WakeUp()
        self._pidfd = pidfd(process.pid)

    def __enter__(self) -> "_Watch":
        for pipe, kept in ((self._process.stdout, self.stdout), (self._process.stderr, self.stderr)):
            assert pipe is not None  # noqa: S101 - Popen was asked for it
            _enlarge(pipe.fileno())
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe.fileno(), selectors.EVENT_READ, kept)
        if self._process.stdin is not None:
            os.set_blocking(self._process.stdin.fileno(), False)
            self._selector.register(self._process.stdin.fileno(), selectors.EVENT_WRITE)
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        if self._pidfd is not None:
            self._selector.register(self._pidfd, selectors.EVENT_READ)
        self._call.on_cancel(self._wakeup.wake)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._selector.close()
        self._wakeup.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def until_over(self) -> Optional[Refused]:
        """Return None when the process ended by itself, else why it was stopped; its group is dead then."""
        stopped: Optional[Refused] = None
        ends_at = float("inf")  # when the group gets SIGKILL
        while not exited(self._process.pid):
            try:
                self._call.check()
            except Refused as exc:
                if stopped is None:
                    stopped, ends_at = exc, steady() + GRACE
                    signal_group(self._process.pid, signal.SIGTERM)
                    signal_group(self._process.pid, signal.SIGCONT)  # one that was stopped hears nothing else
                elif steady() >= ends_at:
                    break
            self._move(min(self._call.remaining if stopped is None else ends_at - steady(), 60.0))
        signal_group(self._process.pid, signal.SIGKILL)
        self._read_the_rest()
        return stopped

    def _move(self, timeout: float) -> None:
        if self._pidfd is None:
            timeout = min(timeout, POLL)
        for key, _ in self._selector.select(max(0.0, timeout)):
            if isinstance(key.data, _Kept):
                self._read(key.fd, key.data)
            elif key.fileobj is self._wakeup:
                self._wakeup.clear()
            elif key.fd != self._pidfd:
                self._write(key.fd)

    def _read(self, fd: int, kept: _Kept) -> None:
        try:
            chunk = os.read(fd, READ_SIZE)
        except BlockingIOError:
            return
        if chunk:
            kept.add(chunk)
        else:
            self._selector.unregister(fd)

    def _write(self, fd: int) -> None:
        try:
            self._to_write = self._to_write[os.write(fd, self._to_write) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # it does not want to hear more
            self._to_write = self._to_write[:0]
        if not self._to_write:
            self._selector.unregister(fd)
            assert self._process.stdin is not None  # noqa: S101 - it was registered
            self._process.stdin.close()

    def _read_the_rest(self) -> None:
        """Read what is in the pipes, until their end or until nobody we know can write to them."""
        if self._pidfd is not None:
            self._selector.unregister(self._pidfd)
        deadline = steady() + LINGER
        while steady() < deadline:
            if not any(isinstance(key.data, _Kept) for key in self._selector.get_map().values()):
                return
            self._move(deadline - steady())


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill what is left of the group, then let its number go."""
    import subprocess

    if process.returncode is None:
        signal_group(process.pid, signal.SIGKILL)
        try:
            process.wait(REAP)
        except subprocess.TimeoutExpired:
            log.warning("process %s was killed but does not end, the kernel holds it", process.pid)


def _enlarge(fd: int) -> None:
    import fcntl

    with contextlib.suppress(OSError):  # not Linux, or the user's share of pipe memory is used up
        fcntl.fcntl(fd, _SET_PIPE_SIZE, PIPE_SIZE)
