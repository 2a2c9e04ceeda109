"""One `tunnel shell`: keys to the shell, its output to the screen, and back to it when the way there was lost."""

import asyncio
import contextlib
import errno
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from servers.text import visible
from tunnel.cli import shell_signals
from tunnel.cli.exits import Exit, Failure
from tunnel.cli.keyboard import HELP, Escape, Escapes, Keys, RawMode
from tunnel.cli.output import Output
from tunnel.cli.screen import Screen
from tunnel.cli.shell_endings import SIGNAL_BASE, exit_code, failure
from tunnel.cli.shell_way import Said, ShellWay, WayLost

RETRY_LEAST: Final = 0.2  # seconds between two tries to come back
RETRY_MOST: Final = 1.0
PATIENCE: Final = 1800.0  # seconds; a node keeps a shell that nobody looks at for half an hour
LAST_WORDS: Final = 0.5  # seconds for what is to be written when somebody leaves; a terminal may take nothing
MAY_TYPE: Final = "you may type into this shell now"
MAY_WATCH: Final = "you may only watch this shell, what you type is not sent; ~. leaves"
SIDES: Final = ((2, 1000), (2, 500))  # columns and rows a panel takes

_TERM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


class Session:
    """A `tunnel.cli.shell_way.Screenful`. `run` is its life, once, on the main thread's event loop."""

    def __init__(self, way: ShellWay, out: Output, name: str) -> None:
        self._way, self._out, self._name = way, out, name
        self._shell: str | None = None
        self._position = 0  # of the shell's output: what has come
        self._unwritten = 0  # bytes of it that the screen has not taken
        self._lost = False
        self._types = True  # whether this person may
        self._ended: Said | None = None
        self._over: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._escapes = Escapes()
        self._raw: RawMode | None = None
        self._typing = contextlib.ExitStack()
        self._screen: Screen | None = None

    async def run(self, shell: str | None) -> int:
        """Open a shell, or attach to `shell`; return the exit code.

        Raises:
            Failure: there is no shell to be had, or it was lost for good.
        """
        life = asyncio.create_task(self._live(shell), name="shell session")
        life.add_done_callback(self._settle)
        try:
            with _signals(self):
                return await self._over
        finally:
            if self._screen is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LAST_WORDS):
                        await self._screen.flushed()
            self._back_to_lines()
            self._typing.close()
            if not life.done():
                life.cancel()
                await asyncio.wait([life])

    # -- its life ------------------------------------------------------------------------------------

    async def _live(self, shell: str | None) -> int:
        cols, rows = _size()
        wish = {"t": "open", "cols": cols, "rows": rows, "lang": language(), "term": _term()}
        if shell is not None:
            wish = self._attach(shell)
        give_up, pause = time.monotonic() + PATIENCE, RETRY_LEAST
        while True:
            try:
                await self._way.run(wish, self)
                return await self._end()
            except WayLost as exc:
                if self._shell is None:
                    raise Failure(
                        f"{exc}; the shell may have been opened nevertheless", Exit.NO_LAYER
                    ) from exc
                if time.monotonic() > give_up:
                    raise Failure(f"{self._name}: {exc}", Exit.OWN_FAILURE) from exc
                if not self._lost:
                    give_up, pause = time.monotonic() + PATIENCE, RETRY_LEAST
                self._lose("panel")
            if self._screen is not None:
                await self._screen.flushed()  # what comes next must not come on top of it
            await asyncio.sleep(pause)
            pause = min(RETRY_MOST, 2 * pause)
            wish = self._attach(self._shell)

    def _attach(self, shell: str) -> Said:
        cols, rows = _size()
        return {
            "t": "attach",
            "shell": shell,
            "offset": self._position,
            "cols": cols,
            "rows": rows,
            "write": True,
        }

    async def _end(self) -> int:
        """Return the exit code, when all is written."""
        if self._screen is not None:
            await self._screen.flushed()
        return exit_code(self._ended or {}, self._name, began=self._shell is not None)

    def _settle(self, life: "asyncio.Task[int]") -> None:
        if life.cancelled() or self._over.done():
            return
        failure = life.exception()
        if failure is not None:
            self._over.set_exception(failure)
        else:
            self._over.set_result(life.result())

    def leave(self, code: int) -> None:
        """End here; the shell runs on, and the person is told how to come back."""
        if self._over.done():
            return
        if self._shell is not None:
            self._note(f"left; --attach {self._shell} comes back")
        self._over.set_result(code)

    # -- what the panel says -------------------------------------------------------------------------

    def told(self, said: Said) -> None:
        """Take a message of the panel."""
        if said["t"] == "opened":
            self._opened(said)
        elif said["t"] == "state":
            self._state(said)
        elif said["t"] == "viewers":
            self._may_type(said)
        elif said["t"] == "notice":
            self._note("what was typed is not read: the program takes no more")

    def came(self, data: bytes) -> None:
        """Take output of the shell."""
        self._position += len(data)
        if self._screen is not None:
            self._unwritten += len(data)
            self._screen.put(sys.stdout.fileno(), data)

    def _opened(self, said: Said) -> None:
        first = self._shell is None
        self._shell = str(said["shell"])
        if int(said.get("gap") or 0) > 0 and not first:
            self._note(f"{said['gap']} bytes of the output were not kept")
        self._position = int(said["offset"])
        if first:
            self._begin()
        elif self._lost:
            self._note("connected again")
        self._lost = False
        self._may_type(said)

    def _may_type(self, said: Said) -> None:
        """Say it when the right to type is another one than before."""
        types = said.get("write") is True
        if types is not self._types:
            self._types = types
            self._note(MAY_TYPE if types else MAY_WATCH)

    def _state(self, said: Said) -> None:
        state = said.get("state")
        if state == "ended":
            self._ended = said
        elif state == "lost":
            self._lose("tunnel")
        elif state == "opening" and self._shell is None and not self._over.done():
            self._over.set_exception(failure(said, self._name, began=False, usual="it cannot be reached"))

    def _lose(self, what: str) -> None:
        if self._lost:
            return
        self._lost = True
        self._note(f"{what} lost, your shell keeps running; ~. leaves")

    # -- screen --------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """There is a shell: have keys and screen."""
        sys.stdout.flush()
        self._screen = Screen(self._wrote, self._broke)
        self._screen.start()
        fd = sys.stdin.fileno()
        self._raw = RawMode(fd)
        self._raw.enter()
        self._typing.enter_context(Keys(fd, self._heard).reading())

    def _wrote(self, count: int) -> None:
        self._unwritten -= count
        if not self._lost:
            self._way.say({"t": "ack", "position": max(0, self._position - self._unwritten)})

    def _broke(self, error: OSError) -> None:
        if not self._over.done():
            self._over.set_exception(
                BrokenPipeError()
                if error.errno in (errno.EPIPE, errno.EIO)
                else Failure(f"the output cannot be written: {error.strerror}", Exit.OWN_FAILURE)
            )

    def _note(self, sentence: str) -> None:
        """Say something to the person, in its turn among what the shell wrote."""
        if self._screen is None:
            self._out.note(sentence)
            return
        self._screen.put(sys.stderr.fileno(), f"\r\n{visible(sentence)}\r\n".encode(), counts=False)

    def _back_to_lines(self) -> None:
        if self._raw is not None:
            self._raw.back()

    # -- keyboard ------------------------------------------------------------------------------------

    def _heard(self, data: bytes) -> None:
        if not data:  # the terminal hung up
            self.leave(SIGNAL_BASE + signal.SIGHUP)
        for found in self._escapes.feed(data):
            if isinstance(found, bytes):
                self._type(found)
            elif found is Escape.LEAVE:
                self.leave(Exit.OWN_FAILURE)
            elif found is Escape.SUSPEND:
                self.suspend()
            else:
                for line in HELP:
                    self._note(line)

    def _type(self, data: bytes) -> None:
        if not self._lost:  # nobody wants a key to count minutes later
            self._way.typed(data)

    # -- signals -------------------------------------------------------------------------------------

    def resized(self) -> None:
        """Tell the shell the size of the window."""
        cols, rows = _size()
        self._way.say({"t": "resize", "cols": cols, "rows": rows})

    def suspend(self) -> None:
        """Stop this program, with the terminal in order; go on from here when it is continued."""
        self._back_to_lines()
        self._stop(signal.SIGTSTP)
        self.continued()

    def continued(self) -> None:
        """Take the terminal again, with the size it has now."""
        if self._raw is None or self._over.done():
            return
        if self._raw.enter():
            self.resized()
        else:  # after whatever else has been heard meanwhile, an end most of all
            asyncio.get_running_loop().call_soon(self._wait_for_the_front)

    def _wait_for_the_front(self) -> None:
        """Stop as whoever wants another job's terminal; `fg` continues us."""
        if self._raw is not None and not self._over.done() and not self._raw.enter():
            self._stop(signal.SIGTTOU)

    def _stop(self, number: signal.Signals) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(number)
        signal.raise_signal(number)  # to this thread, so that it has stopped when this returns
        if number is signal.SIGTSTP:
            loop.add_signal_handler(number, self.suspend)


@contextlib.contextmanager
def _signals(session: Session) -> Iterator[None]:
    """Have signals heard meanwhile."""
    loop = asyncio.get_running_loop()
    heard: dict[int, Callable[[], Any]] = {
        signal.SIGWINCH: session.resized,
        signal.SIGTSTP: session.suspend,
        signal.SIGCONT: session.continued,
        **{number: partial(session.leave, code) for number, code in shell_signals.that_end().items()},
    }
    for number, handler in heard.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in heard:
            loop.remove_signal_handler(number)


def _size() -> tuple[int, int]:
    """Return columns and rows of the terminal that is there; without one what old ones had."""
    for fd in (1, 0, 2):
        with contextlib.suppress(OSError):
            size = os.get_terminal_size(fd)
            cols, rows = (
                min(max(side, least), most) for side, (least, most) in zip(size, SIDES, strict=True)
            )
            return (cols, rows) if size.columns else (80, 24)
    return 80, 24


def language() -> str:
    """Return the language of whoever sits here, as a browser would say it."""
    name = next((os.environ[each] for each in ("LC_ALL", "LC_CTYPE", "LANG") if os.environ.get(each)), "")
    return name.partition(".")[0].partition("@")[0].replace("_", "-")


def _term() -> str:
    term = os.environ.get("TERM", "")
    return term if _TERM.fullmatch(term) else ""
