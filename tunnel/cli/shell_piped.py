"""One `tunnel shell` without a terminal: what is read goes to the shell, each of its outputs to ours, as ssh does it."""

import asyncio
import contextlib
import errno
import sys
from collections.abc import Iterator
from typing import Final

from agent_client.protocol.outputs import STDERR, Outputs
from tunnel.cli import shell_signals
from tunnel.cli.exits import Exit, Failure
from tunnel.cli.keyboard import Keys
from tunnel.cli.screen import Screen
from tunnel.cli.shell_endings import exit_code
from tunnel.cli.shell_session import LAST_WORDS, language
from tunnel.cli.shell_way import Said, ShellWay, WayLost

MOST_TYPED: Final = (
    256 * 1024
)  # bytes under way; more of the input is not read, a panel keeps four times that


class PipedSession:
    """A `tunnel.cli.shell_way.Screenful`. `run` is its life, once, on the main thread's event loop."""

    def __init__(self, way: ShellWay, name: str) -> None:
        self._way, self._name = way, name
        self._outputs = Outputs()
        self._position = 0  # of the records that came
        self._unwritten = 0  # bytes of outputs that ours have not taken
        self._ended: Said = {}
        self._over: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._screen = Screen(self._wrote, self._broke)
        self._reading = contextlib.ExitStack()
        self._keys: Keys | None = None

    async def run(self, line: str | None) -> int:
        """Run a line, or a shell that reads our input; return the exit code.

        Raises:
            Failure: it was not to be had, or was lost.
            BrokenPipeError: nobody reads our output any more.
        """
        sys.stdout.flush()
        self._screen.start()
        life = asyncio.create_task(self._live(line), name="shell at pipes")
        try:
            with self._signals():
                await asyncio.wait([life, self._over], return_when=asyncio.FIRST_COMPLETED)
                return self._over.result() if self._over.done() else life.result()
        finally:
            self._reading.close()
            if not life.done():
                life.cancel()
                await asyncio.wait([life])
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS):
                    await self._screen.flushed()

    async def _live(self, line: str | None) -> int:
        wish: Said = {"t": "pipe", "lang": language()} | ({} if line is None else {"line": line})
        try:
            await self._way.run(wish, self)
        except WayLost as exc:
            await self._screen.flushed()
            if self._keys is None:
                raise Failure(
                    f"{self._name}: {exc}; a shell may have run nevertheless", Exit.NO_LAYER
                ) from exc
            raise Failure(f"{self._name}: {exc}, and the shell ended with it", Exit.OWN_FAILURE) from exc
        await self._screen.flushed()
        return exit_code(self._ended, self._name, began=self._keys is not None)

    # -- what the panel says -------------------------------------------------------------------------

    def told(self, said: Said) -> None:
        """Take a message of the panel."""
        if said["t"] == "opened" and self._keys is None:
            self._keys = Keys(None if sys.stdin is None else sys.stdin.fileno(), self._heard, MOST_TYPED)
            self._reading.enter_context(self._keys.reading())
        elif said["t"] == "taken" and self._keys is not None:
            self._keys.taken(int(said.get("count", 0)))
        elif said["t"] == "state" and said.get("state") == "ended":
            self._ended = said

    def came(self, data: bytes) -> None:
        """Take records of outputs."""
        self._position += len(data)
        for output, piece in self._outputs.feed(data):
            self._unwritten += len(piece)
            self._screen.put((sys.stderr if output == STDERR else sys.stdout).fileno(), piece)

    # -- our input and outputs -----------------------------------------------------------------------

    def _heard(self, data: bytes) -> None:
        if data:
            self._way.typed(data)
        else:
            self._way.say({"t": "eof"})

    def _wrote(self, count: int) -> None:
        self._unwritten -= count
        self._way.say({"t": "ack", "position": max(0, self._position - self._unwritten)})

    def _broke(self, error: OSError) -> None:
        if not self._over.done():
            self._over.set_exception(
                BrokenPipeError()
                if error.errno == errno.EPIPE
                else Failure(f"the output cannot be written: {error.strerror}", Exit.OWN_FAILURE)
            )

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """End meanwhile when a signal says so; the shell ends with us."""
        loop = asyncio.get_running_loop()
        codes = shell_signals.that_end()
        for number, code in codes.items():
            loop.add_signal_handler(number, self._leave, code)
        try:
            yield
        finally:
            for number in codes:
                loop.remove_signal_handler(number)

    def _leave(self, code: int) -> None:
        if not self._over.done():
            self._over.set_result(code)
