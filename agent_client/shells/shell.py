"""One shell: its terminal, what it wrote last, and who looks at it."""

import contextlib
import logging
import os
import secrets
import selectors
import threading
import time
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Callable, Optional

from agent_client.calls import Refused
from agent_client.protocol.codes import Code
from agent_client.protocol.text import JsonObject
from agent_client.shells.program import POLL, Program
from agent_client.shells.ring import LIMIT, Ring
from agent_client.shells.start import Started, User, set_size
from agent_client.shells.viewer import Size, Viewer
from agent_client.steady import steady
from agent_client.streams import Broken, Done, Taken

KIB = 1024
AHEAD = (
    64 * KIB
)  # bytes read beyond what the slowest who may type has taken: the program waits, not our memory
WINDOW = 256 * KIB  # bytes that may be under way to a viewer: taken, and perhaps never arrived
# Bytes that wait for somebody to come back: with those under way, and the last ones in the kernel, they fill the ring.
UNREAD = LIMIT - WINDOW - AHEAD
TYPED = 64 * KIB  # bytes a viewer may type that the program has not read
READ_SIZE = 64 * KIB  # bytes a read; of a terminal Linux gives 4 KiB at most
MOST_READS = 16  # before others have their turn
MOST_REST = 256 * KIB  # bytes after the program's end: what it left in the background may write for ever
MOST_VIEWERS = 8
MOST_WATCHERS = 6  # of them: who may only watch does not keep out who comes back to type
MOST_RECORDERS = 4  # one records; a few more while those before it are not known to be gone
LINGER = (
    0.2  # seconds without output after the program's end: what it left may hold the terminal open for ever
)

log = logging.getLogger("agent.shells")


class State(Enum):
    """Where a shell is in its life."""

    OPEN = "open"  # the program runs
    DRAINING = "draining"  # it ended, its last output is still in the terminal
    ENDED = "ended"  # all output is here, kept a while for whoever did not get it
    GONE = "gone"


class Step(Enum):
    """What moves a shell on."""

    EXIT = "exit"
    DRAIN = "drain"
    FORGET = "forget"


STEPS: dict[tuple[State, Step], State] = {
    (State.OPEN, Step.EXIT): State.DRAINING,
    (State.DRAINING, Step.DRAIN): State.ENDED,
    (State.ENDED, Step.FORGET): State.GONE,
}


@dataclass
class Times:
    """How long things last, in seconds."""

    keep: float  # a shell nobody looks at
    hold: float = 60.0  # its program is held back rather than output lost, for somebody who comes back
    ended: float = 60.0  # the last output of a shell that ended
    grace: float = 5.0  # from hang-up to kill


class Shell:
    """A program in a terminal, which outlives its viewers.

    Called by three sides: the link's thread (its viewers), threads of the pool (view, resize, close), and the
    watching thread, which alone reads the terminal and sees to the program's end.
    """

    def __init__(
        self, started: Started, user: User, size: Size, times: Times, wake: Callable[[], None]
    ) -> None:
        self.handle = secrets.token_urlsafe(16)
        self._program = Program(started.process)
        self._terminal: Optional[int] = started.terminal
        self._path = started.path
        self._user = user
        self._size = size
        self._started = time.time()
        self._times = times
        self._wake = wake
        self._lock = threading.Lock()
        self._state = State.OPEN
        self._ring = Ring()
        self._viewers: list[Viewer] = []
        self._recorders: list[Viewer] = []
        self._typed: deque[tuple[Viewer, bytes]] = deque()
        self._paused = False  # the terminal is not read, because somebody has to take first
        self._unread_from = 0  # what the last one who might type had taken when it left …
        self._hold_until = steady() + times.hold  # … for whose return output is held until then
        self._left_at = steady()  # when the last viewer left
        self._keep_until = steady() + times.keep
        self._why = "its program ended"
        self._closing = False  # somebody wants it to end: output is held for nobody any more
        self._read_at = 0.0  # when to read again after an error, or to stop reading after the program's end
        self._rest = 0  # bytes read since the program ended
        self._forget_at = float("inf")
        log.info("shell open pid=%s user=%s program=%s", self.pid, user.name, started.path)

    @property
    def alive(self) -> bool:
        """Tell whether the program runs, or its output is not all here."""
        return self._state in (State.OPEN, State.DRAINING)

    @property
    def gone(self) -> bool:
        """Tell whether nothing of it is kept any more."""
        return self._state is State.GONE

    @property
    def size(self) -> Size:
        """What programs see: the size of the smallest viewer."""
        return self._size

    @property
    def path(self) -> str:
        """Which program it is."""
        return self._path

    @property
    def pid(self) -> int:
        """The program's number."""
        return self._program.pid

    @property
    def written(self) -> int:
        """How many bytes it has written so far."""
        return self._ring.end

    def describe(self) -> JsonObject:
        """Return what `shell.list` says of it."""
        with self._lock:
            return {
                "handle": self.handle,
                "pid": self._program.pid,
                "shell": self._path,
                "user": self._user.name,
                "started": round(self._started, 3),
                "cols": self._size.cols,
                "rows": self._size.rows,
                "viewers": len(self._viewers),
                "writers": len(self._writers()),
                "offset": self._ring.end,
                "detachedFor": None if self._viewers else round(steady() - self._left_at, 3),
                "exitCode": self._program.exit_code,
            }

    def view(self, offset: int, size: Size, *, writes: bool, records: bool = False) -> Viewer:
        """Add somebody who looks, or one who `records`, from `offset` on or from the first byte that is still there.

        Raises:
            Refused: there is no such byte yet, too many look already, or the shell is gone.
        """
        with self._lock:
            if self._state is State.GONE:
                raise Refused(Code.NOT_FOUND, "this shell has ended")
            if offset > self._ring.end:
                reason = f"parameter 'offset' is beyond the end, which is {self._ring.end}"
                raise Refused(Code.INVALID_PARAMS, reason)
            if records and len(self._recorders) >= MOST_RECORDERS:
                raise Refused(Code.BUSY, f"{MOST_RECORDERS} record this shell already")
            if not records and len(self._viewers) >= MOST_VIEWERS:
                raise Refused(Code.BUSY, f"{MOST_VIEWERS} look at this shell already")
            if not (records or writes) and len(self._viewers) - len(self._writers()) >= MOST_WATCHERS:
                raise Refused(Code.BUSY, f"{MOST_WATCHERS} watch this shell already")
            viewer = Viewer(self, max(offset, self._ring.start), size, writes=writes, records=records)
            (self._recorders if records else self._viewers).append(viewer)
            self._fit()
        self._wake()
        return viewer

    def resize(self, stream: int, size: Size) -> bool:
        """Note the size of the viewer at this stream; tell whether it is one of ours."""
        with self._lock:
            for viewer in self._viewers:
                if viewer.line is not None and viewer.line.number == stream:
                    viewer.size = size
                    self._fit()
                    return True
        return False

    def close(self, grace: Optional[float] = None) -> None:
        """Hang up, and kill `grace` seconds later what is left; what ended already is forgotten."""
        with self._lock:
            self._closing = True
            if self._state is State.OPEN:
                self._why = "it was closed" if grace is None else "the agent stops"
                self._program.tell(steady() + (self._times.grace if grace is None else grace))
            elif self._state is State.ENDED:
                self._forget_at = float("-inf")
            viewers = [] if grace is None else self._readers()
            for viewer in viewers:  # the agent stops: one who takes nothing must not hold back the end
                self._part(viewer, Broken(Code.CANCELLED, "the agent stops"))
        self._wake()
        for viewer in viewers:
            viewer.wake()

    def take(self, viewer: Viewer, most: int) -> Taken:
        """Give a viewer what comes next for it."""
        with self._lock:
            if viewer.verdict is None and viewer.position == self._ring.end and not self.alive:
                self._part(viewer, Done({"exitCode": self._program.exit_code}))
            if viewer.verdict is not None:
                return viewer.verdict
            chunk = self._ring.read(viewer.position, most)
            viewer.position += len(chunk)
            read_on = self._paused and self._may_read(steady())
        if read_on:
            self._wake()
        return chunk or None

    def type(self, viewer: Viewer, data: bytes) -> None:
        """Let a viewer type: at once when the terminal has room, which spares a keystroke one change of threads."""
        with self._lock:
            if not viewer.writes:
                self._part(viewer, Broken(Code.FORBIDDEN, "this viewer may watch and not type"))
            elif viewer.verdict is None:
                self._typed.append((viewer, data))
            used = self._write() if len(self._typed) == 1 else []
            later = bool(self._typed)
        _consume(used)
        if later:
            self._wake()
        if viewer.verdict is not None:
            viewer.wake()

    def leave(self, viewer: Viewer, verdict: Taken) -> None:
        """Let go of a viewer; the shell goes on."""
        with self._lock:
            self._part(viewer, verdict)
        self._wake()

    def interest(self) -> Optional[dict[int, int]]:
        """Return what to wait for."""
        with self._lock:
            if self._state is State.GONE:
                return None
            if self._terminal is None or self._state is State.ENDED:
                return {}
            self._paused = not self._may_read(steady())
            events = 0 if self._paused else selectors.EVENT_READ
            files = {self._terminal: events | (selectors.EVENT_WRITE if self._typed else 0)}
            if self._program.file is not None:
                files[self._program.file] = selectors.EVENT_READ
            return files

    def ready(self, fd: int, events: int) -> None:
        """Read, write, or see that the program ended."""
        if fd != self._terminal:
            self._look(steady())
            return
        if events & selectors.EVENT_WRITE:
            with self._lock:
                used = self._write()
            _consume(used)
        if events & selectors.EVENT_READ:
            self._read()

    def due(self) -> float:
        """When to look at the clock next."""
        with self._lock:
            if self._state is State.ENDED:
                return 0.0 if self._terminal is not None else self._forget_at
            if self._state is State.DRAINING:
                return self._read_at
            due = self._program.due()
            if not self._viewers and not self._closing:
                due = min(due, self._keep_until)
            if self._read_at:
                due = min(due, self._read_at)
            if self._paused and not self._writers():
                due = min(due, self._hold_until)
            return due

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self._state is State.OPEN:
            self._look(now)
        elif self._state is State.DRAINING:
            self._drained(now)
        elif self._state is State.ENDED:
            self._shut()
            self._forget(now)

    def release(self) -> None:
        """Give the files back."""
        self._shut()
        self._program.release()

    def _look(self, now: float) -> None:
        """See whether the program ended, or is to end because nobody came back."""
        with self._lock:
            if self._read_at <= now:
                self._read_at = 0.0
            if not self._viewers and not self._closing and now >= self._keep_until:
                self._closing, self._why = True, "nobody looked at it any more"
                self._program.tell(now + self._times.grace)
        self._program.look(now)  # it may look through all processes, while others need the lock
        with self._lock:
            if self._program.over:
                self._step(Step.EXIT)
                self._read_at = now + LINGER
                self._typed.clear()

    def _read(self) -> None:
        """Take what the terminal has, as far as somebody has room."""
        with self._lock:
            before, viewers = self._ring.end, set(self._readers())  # of whom some may be moved on …
        for _ in range(MOST_READS):
            if not self._read_once():
                break
        with self._lock:
            count = self._ring.end - before
            if not count:
                return
            if self._state is State.DRAINING:
                self._rest += count
                self._read_at = steady() + LINGER if self._rest < MOST_REST else 0.0
            viewers.update(self._readers())  # … and others have come
        for viewer in viewers:
            viewer.wake()

    def _read_once(self) -> bool:
        """Read a piece; tell whether there may be more now."""
        now = steady()
        with self._lock:
            if self._terminal is None or not self._may_read(now):
                return False
            try:
                chunk = os.read(self._terminal, READ_SIZE)
            except BlockingIOError:
                return False
            except OSError:  # EIO: no program has the terminal open, another one may open it again
                chunk = b""
            self._add(chunk)
            if not chunk:
                self._read_at = now + POLL if self._state is State.OPEN else 0.0
        return bool(chunk)

    def _add(self, chunk: bytes) -> None:
        """Keep output, and move on in the same moment who has not taken what falls out for it."""
        self._ring.add(chunk)
        for viewer in self._readers():
            if viewer.position < self._ring.start:
                reason = "this viewer is more than 1 MiB behind, it may attach again at a later offset"
                self._part(viewer, Broken(Code.GAP, reason))

    def _may_read(self, now: float) -> bool:
        """Tell whether output has room: with whoever may type, or else in what is held for them."""
        if self._state is State.OPEN and now < self._read_at:
            return False
        writers = self._writers()
        if writers:
            return self._ring.end - min(viewer.position for viewer in writers) < AHEAD
        held = now < self._hold_until and not (self._closing and not self._viewers)
        return not held or self._ring.end - self._unread_from < UNREAD

    def _write(self) -> "list[tuple[Viewer, int]]":
        """Type what the terminal takes; return whose bytes were used up, and how many."""
        used = []
        while self._typed:
            viewer, data = self._typed[0]
            count = self._written(data)
            used.append((viewer, count))
            if count < len(data):
                self._typed[0] = (viewer, data[count:])
                break
            self._typed.popleft()
        return used

    def _written(self, data: bytes) -> int:
        if self._terminal is None or self._state is not State.OPEN:
            return len(data)  # nobody reads it any more
        try:
            return os.write(self._terminal, data)
        except BlockingIOError:
            return 0
        except OSError:  # EIO: no program has the terminal open
            return len(data)

    def _drained(self, now: float) -> None:
        """After the program's end and its last output: close the terminal, tell the viewers."""
        with self._lock:
            if self._paused and self._read_at:
                self._read_at = now + POLL
                return
            self._step(Step.DRAIN)
            self._forget_at = now + self._times.ended
            viewers = self._readers()
        log.info(
            "shell ended pid=%s exit=%s after=%.0fs: %s",
            self.pid,
            self._program.exit_code,
            time.time() - self._started,
            self._why,
        )
        for viewer in viewers:
            viewer.wake()

    def _forget(self, now: float) -> None:
        """Let go of the last output, unless somebody still reads it."""
        with self._lock:
            if now < self._forget_at:
                return
            if self._viewers and not self._closing:
                self._forget_at = now + self._times.ended
                return
            self._step(Step.FORGET)
            self._ring = Ring(0)
            viewers = self._readers()
            for viewer in viewers:
                self._part(viewer, Broken(Code.NOT_FOUND, "this shell has ended"))
        for viewer in viewers:
            viewer.wake()

    def _shut(self) -> None:
        with self._lock:
            terminal, self._terminal = self._terminal, None
        if terminal is not None:
            os.close(terminal)

    def _part(self, viewer: Viewer, verdict: Taken) -> None:
        """Strike a viewer off; `verdict` is how its stream ends."""
        if viewer.verdict is not None:
            return
        now = steady()
        viewer.verdict = verdict
        if viewer.records:
            self._recorders.remove(viewer)
            return
        self._viewers.remove(viewer)
        if viewer.writes and not self._writers():
            self._unread_from, self._hold_until = viewer.position, now + self._times.hold
        if not self._viewers:
            self._left_at, self._keep_until = now, now + self._times.keep
        self._fit()

    def _readers(self) -> "list[Viewer]":
        return [*self._viewers, *self._recorders]

    def _writers(self) -> "list[Viewer]":
        return [viewer for viewer in self._viewers if viewer.writes]

    def _fit(self) -> None:
        """Make the terminal as small as its smallest viewer; without one it stays as it is."""
        if not self._viewers:
            return
        size = Size(
            min(viewer.size.cols for viewer in self._viewers),
            min(viewer.size.rows for viewer in self._viewers),
        )
        if size != self._size and self._terminal is not None:
            self._size = size
            with contextlib.suppress(OSError):  # its program ended in this moment
                set_size(self._terminal, size.cols, size.rows)

    def _step(self, step: Step) -> None:
        self._state = STEPS[self._state, step]


def _consume(used: "list[tuple[Viewer, int]]") -> None:
    for viewer, count in used:
        if viewer.line is not None and count:
            viewer.line.consumed(count)
