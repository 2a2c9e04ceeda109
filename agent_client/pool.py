"""A few threads that run commands, so that a slow one delays neither the link nor the others."""

import logging
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any, Callable, Optional, Union

from agent_client.calls import Call, Refused
from agent_client.commands import Prepared
from agent_client.printable import printable
from agent_client.protocol.codes import Code
from agent_client.protocol.limits import MAX_SENTENCE
from agent_client.steady import steady

THREADS = 8  # commands that run at the same time; most wait for a child process
WAITING = 64  # commands that wait for a thread; beyond it the master is told `busy`
STUCK = 10.0  # seconds past its time limit after which a command counts as one that never ends

log = logging.getLogger("agent.commands")


@dataclass(frozen=True)
class Answer:
    """A success to send back."""

    data: Any


@dataclass(frozen=True)
class Failure:
    """An error to send back."""

    code: Code
    error: str


Outcome = Union[Answer, Failure]
Deliver = Callable[[Outcome], None]


@dataclass(frozen=True)
class _Job:
    prepared: Prepared
    deliver: Deliver


class Pool:
    """Runs prepared commands on `threads` threads; at most `waiting` more are kept."""

    def __init__(self, threads: int = THREADS, waiting: int = WAITING) -> None:
        self._limit = waiting
        self._changed = threading.Condition()
        self._waiting: deque[_Job] = deque()
        self._running: set[Call] = set()
        self._stuck: set[Call] = set()  # those that hung at the last look of `trouble`
        self._stopping = False
        # Daemons: a service that hangs in the kernel (a dead NFS server) must not keep the agent alive.
        self._threads = [
            threading.Thread(target=self._work, name=f"agent-pool-{number}", daemon=True)
            for number in range(threads)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def submit(self, prepared: Prepared, deliver: Deliver) -> None:
        """Run a command when a thread is free; `deliver` gets its outcome, once, in that thread.

        Raises:
            Refused: too many commands wait already, or the agent stops.
        """
        with self._changed:
            if self._stopping:
                raise Refused(Code.BUSY, "the agent is stopping")
            if len(self._waiting) >= self._limit:
                raise Refused(Code.BUSY, f"{self._limit} commands wait already, try again later")
            self._waiting.append(_Job(prepared, deliver))
            self._changed.notify()

    def cancel(self, call: Call) -> bool:
        """Stop a command: a running one is told and delivers its outcome soon.

        Returns: True when it was still waiting; then it never starts and delivers nothing.
        """
        with self._changed:
            job = next((job for job in self._waiting if job.prepared.call is call), None)
            if job is not None:
                self._waiting.remove(job)
        call.cancel()
        return job is not None

    def stop(self, timeout: float) -> bool:
        """Cancel everything and wait for the threads; tell whether all ended within `timeout` seconds."""
        with self._changed:
            self._stopping = True
            self._waiting.clear()
            running = list(self._running)
            self._changed.notify_all()
        for call in running:
            call.cancel()
        deadline = steady() + timeout
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - steady()))
        return not any(thread.is_alive() for thread in self._threads)

    def trouble(self) -> Optional[str]:
        """Say why no command can run any more, in a few words; to be asked every few seconds, by one thread.

        A thread cannot be stopped, only the agent as a whole can.
        """
        with self._changed:
            stuck = {call for call in self._running if call.overdue >= STUCK}
        # Twice in a row: on a machine that slept all are overdue, and end in the next moment.
        self._stuck, before = stuck, self._stuck
        if len(stuck & before) >= len(self._threads):
            return f"all {len(stuck)} threads for commands hang"
        ended = [thread.name for thread in self._threads if not thread.is_alive()]
        return f"thread {ended[0]} ended" if ended else None

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._stopping:
                    self._changed.wait()
                if self._stopping:
                    return
                job = self._waiting.popleft()
                self._running.add(job.prepared.call)
            try:
                outcome = run(job.prepared)
            finally:  # before it is delivered: waiting for a slow line is not running
                with self._changed:
                    self._running.discard(job.prepared.call)
            try:
                job.deliver(outcome)
            except Exception:
                log.exception("the outcome of %s was lost", job.prepared.name)


def run(prepared: Prepared) -> Outcome:
    """Run a command in this thread; whatever it raises becomes an error to send back."""
    call = prepared.call
    call.start_clock()
    try:
        call.check()
        return Answer(prepared.run(call))
    except Refused as exc:
        return Failure(exc.code, str(exc)[:MAX_SENTENCE])
    except BaseException as exc:  # a service that calls sys.exit() must not take the thread with it
        log.exception("%s failed, command=%s", prepared.name, printable(call.command_id))
        return Failure(Code.INTERNAL, f"{prepared.name} failed: {printable(f'{type(exc).__name__}: {exc}')}")
