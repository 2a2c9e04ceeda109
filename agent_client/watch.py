"""One thread that waits for the files and clocks of everything that streams: terminals, pipes, ends of programs."""

import logging
import selectors
import threading
from collections.abc import Mapping
from typing import Optional, Protocol

from agent_client.steady import steady
from agent_client.wakeup import WakeUp

MOST = 128  # programs and shells at the same time; each costs a process
LONGEST_WAIT = 60.0  # seconds in the selector; whatever happens, look at the clocks then

log = logging.getLogger("agent.streams")


class Watched(Protocol):
    """Something with files and a clock. All is called in the watching thread."""

    def interest(self) -> Optional[Mapping[int, int]]:
        """Return the files to wait on and for what; None when all is over and nothing is to be watched."""

    def ready(self, fd: int, events: int) -> None:
        """One of these files is ready."""

    def due(self) -> float:
        """When `tick` must be called, on the own clock."""

    def tick(self, now: float) -> None:
        """It is time."""

    def release(self) -> None:
        """Close the files: nobody waits on them any more. The last call."""


class Watch:
    """Starts its thread with the first thing it watches; `stop` waits until all of them are over."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._things: list[Watched] = []
        self._wakeup: Optional[WakeUp] = None
        self._thread: Optional[threading.Thread] = None
        self._stopping = False

    @property
    def alive(self) -> bool:
        """Tell whether the thread runs, or was not needed yet."""
        return self._thread is None or self._thread.is_alive()

    @property
    def busy(self) -> bool:
        """Tell whether nothing more should be added."""
        return self._stopping or len(self._things) >= MOST

    def add(self, thing: Watched) -> None:
        """Watch `thing` until its interest is None."""
        with self._lock:
            self._things.append(thing)
            if self._thread is None:
                self._wakeup = WakeUp()
                self._thread = threading.Thread(
                    target=self._run, args=(self._wakeup,), name="agent-streams", daemon=True
                )
                self._thread.start()
        self.wake()

    def wake(self) -> None:
        """Ask all things anew for their interest and their clock; from any thread."""
        if self._wakeup is not None:
            self._wakeup.wake()

    def stop(self, timeout: float) -> bool:
        """End the thread when nothing is watched any more; tell whether that was so within `timeout` seconds."""
        with self._lock:
            self._stopping = True
            thread = self._thread
        if thread is None:
            return True
        self.wake()
        thread.join(timeout)
        return not thread.is_alive()

    def _run(self, wakeup: WakeUp) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(wakeup, selectors.EVENT_READ)
            known: dict[int, tuple[int, Watched]] = {}
            while True:
                with self._lock:
                    things = list(self._things)
                    if self._stopping and not things:
                        break
                self._turn(selector, wakeup, things, known)
        wakeup.close()

    def _turn(
        self,
        selector: selectors.BaseSelector,
        wakeup: WakeUp,
        things: list[Watched],
        known: "dict[int, tuple[int, Watched]]",
    ) -> None:
        """Register what is wanted, wait, and tell who is ready."""
        wanted: dict[int, tuple[int, Watched]] = {}
        over: list[Watched] = []
        for thing in things:
            interest = thing.interest()
            if interest is None:
                over.append(thing)
            else:
                wanted.update((fd, (events, thing)) for fd, events in interest.items() if events)
        _register(selector, known, wanted)
        self._forget(over)
        due = min((thing.due() for thing in things if thing not in over), default=float("inf"))
        for key, events in selector.select(max(0.0, min(due - steady(), LONGEST_WAIT)) if not over else 0.0):
            if key.fileobj is wakeup:
                wakeup.clear()
            else:
                key.data.ready(key.fd, events)
        now = steady()
        for thing in things:
            if thing not in over and thing.due() <= now:
                thing.tick(now)

    def _forget(self, over: list[Watched]) -> None:
        for thing in over:
            with self._lock:
                self._things.remove(thing)
            thing.release()


def _register(
    selector: selectors.BaseSelector,
    known: "dict[int, tuple[int, Watched]]",
    wanted: "dict[int, tuple[int, Watched]]",
) -> None:
    """Make the selector wait for what is wanted, and for nothing else."""
    # A number with another thing behind it is another file: the old one was closed, and the kernel has forgotten it.
    for fd in [fd for fd, (_, thing) in known.items() if fd not in wanted or wanted[fd][1] is not thing]:
        selector.unregister(fd)
        del known[fd]
    for fd, (events, thing) in wanted.items():
        if fd not in known:
            selector.register(fd, events, thing)
        elif known[fd][0] != events:
            selector.modify(fd, events, thing)
    known.clear()
    known.update(wanted)
