"""Wait for a socket, but not beyond a deadline, and not when the agent is told to stop."""

import selectors
import socket
import ssl
from functools import partial
from typing import Callable, Optional, Protocol, TypeVar

from agent_client.steady import steady
from agent_client.wakeup import WakeUp


class Stopped(Exception):
    """The agent is to stop, so what was waited for does not matter any more."""


class TimedOut(Exception):
    """The deadline is over."""


Result = TypeVar("Result")


class Waitable(Protocol):
    """What a selector can wait on."""

    def fileno(self) -> int:
        """Return the number of its file."""


class Patience:
    """One deadline for a whole sequence of waits; `wakeup` wakes, `stopping` says whether to give up."""

    def __init__(self, seconds: float, wakeup: WakeUp, stopping: Callable[[], bool]) -> None:
        self._deadline = steady() + seconds
        self._wakeup = wakeup
        self._stopping = stopping

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._deadline - steady())

    def shorter(self, seconds: float) -> "Patience":
        """Return a deadline within this one."""
        return Patience(min(seconds, self.remaining), self._wakeup, self._stopping)

    def wake(self) -> None:
        """Wake who waits with this patience."""
        self._wakeup.wake()

    def wait(self, sock: Optional[Waitable] = None, events: int = 0) -> bool:
        """Wait until `sock` is ready (True), or somebody woke us (False).

        Raises:
            Stopped: the agent is to stop.
            TimedOut: the deadline is over.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._wakeup, selectors.EVENT_READ)
            if sock is not None:
                selector.register(sock, events)
            ready = selector.select(self.remaining)
        woken = any(key.fileobj is self._wakeup for key, _ in ready)
        if woken:
            self._wakeup.clear()
        if self._stopping():
            raise Stopped
        if not ready and not self.remaining:
            raise TimedOut
        return any(key.fileobj is sock for key, _ in ready)

    def retry(self, step: Callable[[], Result], sock: socket.socket, events: int) -> Result:
        """Repeat a step of a non-blocking socket until it is done; `events` is what it waits for without TLS.

        Raises:
            Stopped: the agent is to stop.
            TimedOut: the deadline is over.
        """
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:  # noqa: PERF203 - waiting is what the loop is for
                self.wait(sock, selectors.EVENT_READ)
            except ssl.SSLWantWriteError:
                self.wait(sock, selectors.EVENT_WRITE)
            except BlockingIOError:
                self.wait(sock, events)

    def send_all(self, sock: socket.socket, data: bytes) -> None:
        """Send all of `data`.

        Raises:
            Stopped: the agent is to stop.
            TimedOut: the deadline is over.
        """
        sent = 0
        while sent < len(data):
            rest = memoryview(data)[sent:]
            sent += self.retry(partial(sock.send, rest), sock, selectors.EVENT_WRITE)
