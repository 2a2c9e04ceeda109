"""One command on its way through the agent: its parameters, its time limit, and how it is stopped."""

import threading
from typing import Any, Callable, Optional

from agent_client.protocol.codes import Code
from agent_client.protocol.errors import TunnelError
from agent_client.protocol.text import JsonObject
from agent_client.steady import steady


class Refused(TunnelError):
    """What a service raises to answer a command with an error: a code for programs, a sentence for people."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


class Call:
    """A command while it runs. `params` are checked, with defaults filled in; `timeout` is in seconds."""

    def __init__(self, command_id: str, params: JsonObject, timeout: float) -> None:
        self.command_id = command_id
        self.params = params
        self.timeout = timeout
        self.deadline = steady() + timeout
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._on_cancel: Optional[Callable[[], Any]] = None

    @property
    def cancelled(self) -> bool:
        """Tell whether the command is to stop."""
        return self._stop.is_set()

    @property
    def remaining(self) -> float:
        """Seconds until the time limit, never negative."""
        return max(0.0, self.deadline - steady())

    @property
    def overdue(self) -> float:
        """Seconds since the time limit, never negative."""
        return max(0.0, steady() - self.deadline)

    def start_clock(self) -> None:
        """Count the time limit from now on: waiting for a free thread does not count."""
        self.deadline = steady() + self.timeout

    def on_cancel(self, callback: Callable[[], Any]) -> None:
        """Have `callback` called once, in another thread, when the command is to stop; at once if it is."""
        with self._lock:
            self._on_cancel = callback
            late = self.cancelled
        if late:
            callback()

    def cancel(self) -> None:
        """Ask the command to stop."""
        with self._lock:
            if self.cancelled:
                return
            self._stop.set()
            callback = self._on_cancel
        if callback is not None:
            callback()

    def wait(self, seconds: float) -> None:
        """Do nothing for `seconds`, less when the command is to stop or its time is over."""
        self._stop.wait(min(seconds, self.remaining))

    def check(self) -> None:
        """Let long work ask whether to go on.

        Raises:
            Refused: it was cancelled, or its time is over.
        """
        if self.cancelled:
            raise Refused(Code.CANCELLED, "the command was cancelled")
        if not self.remaining:
            raise Refused(Code.TIMEOUT, f"the command was stopped after {self.timeout:g} s")
