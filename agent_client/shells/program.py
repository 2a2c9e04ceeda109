"""The program of a shell and all it started: seen to its end, by itself or by us."""

import logging
import os
import signal
import subprocess
from enum import Enum
from typing import Optional

from agent_client.children import exited, groups_of, pidfd, signal_groups

POLL = 0.1  # seconds between looks at what no file tells of
REAP = 5.0  # seconds to wait for what was killed; a process that hangs in the kernel is left behind

log = logging.getLogger("agent.shells")


class State(Enum):
    """Where a program is in its life."""

    RUNNING = "running"
    HUNG_UP = "hung_up"
    KILLED = "killed"
    OVER = "over"


class Step(Enum):
    """What moves a program on."""

    HANG_UP = "hang_up"
    KILL = "kill"
    EXIT = "exit"


STEPS: dict[tuple[State, Step], State] = {
    (State.RUNNING, Step.EXIT): State.OVER,
    (State.RUNNING, Step.HANG_UP): State.HUNG_UP,
    (State.HUNG_UP, Step.KILL): State.KILLED,
    (State.HUNG_UP, Step.EXIT): State.OVER,
    (State.KILLED, Step.EXIT): State.OVER,
}


class Program:
    """The leader of a session. Only `tell` is for other threads than the watching one, which signals and reaps.

    The leader stays a zombie until the last of its session was signalled, so that no number is another's by then.
    A program that ends by itself leaves what it put in the background alone, as a login over ssh does.
    """

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.pid = process.pid
        self.exit_code: Optional[int] = None  # minus the signal's number when a signal ended it
        self._process = process
        self._state = State.RUNNING
        self._told = False
        self._kill_at = float("inf")
        self._due = float("inf")
        self.pidfd = pidfd(process.pid)
        if self.pidfd is None:
            self._due = 0.0

    @property
    def over(self) -> bool:
        """Tell whether it ended and was reaped."""
        return self._state is State.OVER

    @property
    def file(self) -> Optional[int]:
        """What becomes readable at its end; while we end it, the clock is looked at instead."""
        return self.pidfd if self._state is State.RUNNING else None

    def tell(self, kill_at: float) -> None:
        """Have everything of the session hung up now, and what is left killed at `kill_at`; from any thread."""
        self._kill_at = min(self._kill_at, kill_at)
        self._told = True
        self._due = 0.0

    def due(self) -> float:
        """When `look` must be called next, on the own clock."""
        return self._due

    def look(self, now: float) -> None:
        """See whether it ended; hang up and kill when it is time. To be called early does no harm."""
        self._due = now + POLL if self.pidfd is None or self._told else float("inf")
        if (
            self._state is State.RUNNING and not self._told
        ):  # asked after `_due` was set: nobody is told unheard
            if exited(self.pid):
                self._reap()
            return
        groups = groups_of(self.pid)
        if self._state is State.RUNNING:
            self._step(Step.HANG_UP)
            self._due = now + POLL
            signal_groups(
                {self.pid, *groups}, signal.SIGHUP, signal.SIGCONT
            )  # what was stopped hears no other
        elif exited(self.pid) and not groups:
            self._reap()
        elif self._state is State.HUNG_UP and now >= self._kill_at:
            self._step(Step.KILL)
            signal_groups({self.pid, *groups}, signal.SIGKILL)
        elif self._state is State.KILLED and now >= self._kill_at + REAP:
            log.warning("shell %s was killed but does not end, the kernel holds it", self.pid)
            self._reap()

    def release(self) -> None:
        """Give its file back."""
        if self.pidfd is not None:
            os.close(self.pidfd)

    def _reap(self) -> None:
        self.exit_code = self._process.poll()
        self._step(Step.EXIT)
        self._due = float("inf")

    def _step(self, step: Step) -> None:
        self._state = STEPS[self._state, step]
