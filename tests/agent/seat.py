"""A seat at the master's end of a stream, without a line in between: it takes from an endpoint as the link does."""

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from agent_client.protocol.codes import Code
from agent_client.shells import PipeWishes, Shells, Size, Times, Wishes
from agent_client.streams import Broken, Done, Opened, Taken
from agent_client.watch import Watch

PATIENCE = 20.0  # seconds a test waits for a fact before it fails
_numbers = itertools.count(1)


class Seat:
    """Takes what comes, types, leaves. All in the test's thread, which stands for the link's."""

    def __init__(self, opened: Opened) -> None:
        self.number = next(_numbers)
        self.data = opened.data
        self.window = opened.window
        self.endpoint = opened.endpoint
        self.output = b""
        self.end: Done | Broken | None = None
        self.used = 0
        self.position = opened.data.get("offset", 0)  # of the next byte
        self._woken = threading.Event()
        self.endpoint.attach(self)

    def wake(self) -> None:
        self._woken.set()

    def consumed(self, count: int) -> None:
        self.used += count
        self._woken.set()

    def take(self, most: int = 16 * 1024) -> Taken:
        """Take once."""
        taken = self.endpoint.take(most)
        if isinstance(taken, bytes):
            self.output += taken
            self.position += len(taken)
        elif taken is not None:
            self.end = taken
        return taken

    def until(self, fact: Callable[[], object], patience: float = PATIENCE) -> None:
        """Take until something is true."""
        deadline = time.monotonic() + patience
        while not fact():
            assert time.monotonic() < deadline, f"not in time, the end of the output: {self.output[-500:]!r}"
            self._woken.clear()
            if self.end is not None or self.take() is None:
                self._woken.wait(0.05)

    def see(self, text: bytes) -> bytes:
        """Take until `text` came, and return all that came since the last time."""
        self.until(lambda: text in self.output)
        before, _, self.output = self.output.partition(text)
        return before

    def rest(self) -> bytes:
        """Take until the stream ended, and return what came."""
        self.until(lambda: self.end is not None)
        return self.output

    def type(self, text: str) -> None:
        self.endpoint.received(text.encode())

    def run(self, line: str) -> bytes:
        """Have a shell run a line, and return what that wrote; echoes hold neither mark as it is written."""
        self.type(f"printf '<%s' A; {line}; printf '%s>' B\r")
        self.see(b"<A")
        return self.see(b"B>").replace(b"\r\n", b"\n")

    def quiet(self) -> None:
        """Have bash write nothing of its own: no prompt, no echo."""
        self.run("stty -echo; PS1=; set +o emacs")

    def leave(self, *, under_way: int = 0) -> None:
        """Lose the stream, and the last bytes with it that were taken and never arrived."""
        self.endpoint.lost(Code.DISCONNECTED, "the test left")
        self.output = self.output[: len(self.output) - under_way]
        self.position -= under_way


class Desk:
    """Shells of a node, and seats before them."""

    def __init__(self, shells: Shells, watch: Watch) -> None:
        self.shells = shells
        self.watch = watch

    def open(self, cols: int = 80, rows: int = 24, *, user: "str | None" = None, **wishes: str) -> Seat:
        return Seat(self.shells.open(Wishes(cols, rows, **wishes), user, lambda: None))

    def pipe(self, line: str = "true", *, user: "str | None" = None) -> Seat:
        return Seat(self.shells.pipe(PipeWishes(line), user, lambda: None))

    def attach(self, to: Seat, offset: int, cols: int = 80, rows: int = 24, *, writes: bool = True) -> Seat:
        return Seat(self.shells.attach(to.data["handle"], offset, Size(cols, rows), writes=writes))

    def stop(self) -> bool:
        self.shells.stop()
        return self.watch.stop(PATIENCE)


@contextmanager
def desk(policy: "str | None" = None, **times: float) -> Iterator[Desk]:
    """Shells that are all ended at the end."""
    watch = Watch()
    one = Desk(Shells(watch, Times(**{"keep": 60.0, **times}), policy), watch)
    try:
        yield one
    finally:
        assert one.stop()


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it ended before it was opened, or read
        return False


def members(session: int) -> "list[int]":
    """The living processes of a session."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as stat:
                    fields = stat.read().rsplit(")", 1)[1].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry))
    return found


def runs(session: int, name: str) -> bool:
    """Tell whether a program runs in a session, and is no copy of the shell that starts it any more."""
    for pid in members(session):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/comm") as comm:
            if comm.read().strip() == name:
                return True
    return False
