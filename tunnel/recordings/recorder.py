"""Writes one recording: watches the shell as nobody else does, and stores what it wrote, part by part.

    agent -> stream (a window of 256 KiB) -> lines -> a part each 5 s or 256 KiB -> storage, then its row

Nothing is taken from the stream while a part is stored, so that a storage that is slow or away holds up the
recording alone: the agent keeps the last 1 MiB, and what is not kept any more is marked.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, Final

from django.db import Error as DatabaseError

from agent_client.protocol.codes import Code
from servers import nodes, transports
from servers.errors import CommandError, StreamLost
from servers.threads import Lane
from tunnel.conf import settings
from tunnel.models import RecordingEnd, ShellEnd
from tunnel.recordings import rows, shelf
from tunnel.recordings.cast import Pen
from tunnel.recordings.rows import MIB, Task
from tunnel.shells import news
from tunnel.shells import rows as shell_rows
from tunnel.shells.answers import MOST_POSITION, exit_code
from tunnel.shells.rows import Size

PART_BYTES: Final = 256 * 1024  # of lines
PART_SECONDS: Final = (
    5.0  # what is written in this time dies with the worker, and is read again by the next one
)
WINDOW: Final = 256 * 1024  # bytes that may be on their way
TIMEOUT: Final = 10.0  # seconds a node may take to let us watch
WIDEST: Final = 1000  # columns and rows: whatever an agent makes of them, no terminal gets smaller
RETRY_LEAST: Final = 0.2  # seconds between two tries to watch, or to store
RETRY_MOST: Final = 10.0
SETTLE: Final = 0.3  # seconds over which changes of the size are gathered
FAREWELL: Final = 3.0  # seconds a stopping worker gives a recorder for its last part
_STORAGE_THREADS: Final = 2  # a storage elsewhere may be slow, and nobody else shall wait behind it

log = logging.getLogger("tunnel.recordings")
_lane = Lane("tunnel-recordings", _STORAGE_THREADS)


class _LostTurn(Exception):
    """Somebody else writes this recording by now."""


class _Over(Exception):
    """The recording goes no further."""

    def __init__(self, how: RecordingEnd, exit_code: int | None = None) -> None:
        super().__init__(how)
        self.how = how
        self.exit_code = exit_code


class Recorder:
    """One recording, on one event loop, from where it stands until its end or ours."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._pen = Pen(task.position, task.seconds, task.size)
        self._began = time.monotonic() - task.elapsed
        self._parts = task.parts
        self._bytes = task.bytes
        self._due: float | None = None  # when what waits must be stored
        self._step: asyncio.Task[None] | None = None
        self._node_bell = asyncio.Event()
        self._shell_bell = asyncio.Event()
        self._fields = {"agent": task.agent_id}

    async def run(self) -> None:
        """Record until the shell is over, or somebody else has the turn."""
        news.listen_to_server(self.task.server, self._node_bell)
        news.listen_to_shell(str(self.task.shell), self._shell_bell)
        try:
            await self._record()
        except _LostTurn:
            log.warning(
                "a recording was taken over by another worker recording=%s", self._name, extra=self._fields
            )
        finally:
            news.forget(self._node_bell)
            news.forget(self._shell_bell)

    async def leave(self) -> None:
        """Store what waits and let another worker go on; after `run` was cancelled."""
        with suppress(Exception):
            async with asyncio.timeout(FAREWELL):
                await self._settled()
                await self._store()
                await _lane.run(rows.give_back, self.task.turn)

    @property
    def _name(self) -> str:
        return str(self.task.turn.recording)

    def _now(self) -> float:
        return time.monotonic() - self._began

    # -- watching ------------------------------------------------------------------------------------

    async def _record(self) -> None:
        try:
            if self.task.shell is None:
                raise _Over(RecordingEnd.GONE)
            if not shelf.wanted():
                raise _Over(RecordingEnd.SWITCHED_OFF)
            while True:
                await self._watch(await self._attached())
        except _Over as over:
            await self._finish(over)

    async def _watch(self, stream: transports.ByteStream) -> None:
        """Write what comes until the stream breaks."""
        sizes = asyncio.create_task(self._follow_the_size(), name="tunnel recording size")
        try:
            async with stream:
                while data := await self._read(stream):
                    self._pen.output(self._now(), data)
                    await self._keep(stream, len(data))
                raise _Over(RecordingEnd.EXITED, exit_code(stream.end_detail))
        except StreamLost as exc:
            log.debug("a recorded shell is out of sight: %s", exc, extra=self._fields)
        finally:
            sizes.cancel()
            await asyncio.wait([sizes])

    async def _read(self, stream: transports.ByteStream) -> bytes:
        """Return what comes next, storing meanwhile what has waited long enough."""
        while True:
            try:
                async with asyncio.timeout(self._patience()):
                    return await stream.read()
            except TimeoutError:
                await self._surely(self._store)

    def _patience(self) -> float | None:
        """How long what waits may wait on; it begins to wait with its first line."""
        if not self._pen.bytes:
            self._due = None
            return PART_SECONDS  # a change of the size may come meanwhile
        if self._due is None:
            self._due = time.monotonic() + PART_SECONDS
        return max(0.0, self._due - time.monotonic())

    async def _keep(self, stream: transports.ByteStream, count: int) -> None:
        if self._bytes + self._pen.bytes >= settings.RECORDING_MOST * MIB:
            self._pen.mark(
                self._now(), f"the recording ends here, at {settings.RECORDING_MOST} MiB; the shell went on"
            )
            raise _Over(RecordingEnd.TOO_LARGE)
        if self._pen.bytes >= PART_BYTES or (self._due is not None and self._due <= time.monotonic()):
            await self._surely(self._store)
        stream.consumed(count)

    async def _attached(self) -> transports.ByteStream:
        """Watch the shell from where the file stands, as soon as the node lets us."""
        pause = RETRY_LEAST
        while True:
            self._node_bell.clear()
            stream = await self._attach()
            if stream is not None:
                return stream
            if self._pen.bytes and self._patience() == 0:
                await self._surely(self._store)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._node_bell.wait()
            pause = min(RETRY_MOST, 2 * pause)

    async def _attach(self) -> transports.ByteStream | None:
        here = self._pen.position
        params = {
            "handle": self.task.handle,
            "offset": here,
            "cols": WIDEST,
            "rows": WIDEST,
            "write": False,
            "record": True,
        }
        try:
            server = await _lane.run(rows.server_of, self.task)
            if server is None:
                raise _LostTurn
            stream = await nodes.open_stream(
                server, "shell", "attach", params, actor=None, timeout=TIMEOUT, window=WINDOW
            )
        except CommandError as exc:
            if exc.code == Code.NOT_FOUND.value:
                raise _Over(RecordingEnd.GONE) from exc
            if exc.code == Code.INVALID_PARAMS.value:
                log.warning("a shell cannot be recorded, upgrade its agent: %s", exc, extra=self._fields)
                raise _Over(RecordingEnd.NOT_POSSIBLE) from exc
            log.debug("a shell cannot be watched yet: %s", exc, extra=self._fields)
            return None
        except DatabaseError as exc:
            log.debug("the database is away: %s", exc, extra=self._fields)
            return None
        said = stream.data if isinstance(stream.data, dict) else {}
        self._pen.go_on(self._now(), max(here, _count(said.get("offset"), here)))
        self._resized(said)
        return stream

    async def _follow_the_size(self) -> None:
        """Ask the node for its terminal's size when somebody came, left or has another window."""
        while True:
            await self._shell_bell.wait()
            await asyncio.sleep(SETTLE)
            self._shell_bell.clear()
            with suppress(CommandError, DatabaseError):
                server = await _lane.run(rows.server_of, self.task)
                if server is None:
                    return
                told = await nodes.arun(server, "shell", "list", actor=None, timeout=TIMEOUT)
                for one in _listed(told):
                    if one.get("handle") == self.task.handle:
                        self._resized(one)

    def _resized(self, said: dict[str, Any]) -> None:
        cols, height = _count(said.get("cols"), 0), _count(said.get("rows"), 0)
        if 0 < cols <= WIDEST and 0 < height <= WIDEST:
            self._pen.resize(self._now(), Size(cols, height))

    # -- storing -------------------------------------------------------------------------------------

    async def _finish(self, over: _Over) -> None:
        self._pen.finish(self._now())
        if shelf.is_there():
            await self._surely(self._store)
        await self._surely(partial(_lane.run, self._end, over))
        log.info("a recording ended: %s recording=%s", over.how.value, self._name, extra=self._fields)

    def _end(self, over: _Over) -> None:
        if over.how is RecordingEnd.GONE:
            rows.end_with_shell(self.task.turn, self.task.shell)
            return
        rows.end(self.task.turn, over.how, over.exit_code)
        if over.how is RecordingEnd.EXITED and self.task.shell is not None:
            shell_rows.ended(self.task.shell, ShellEnd.EXITED, over.exit_code)

    async def _surely(self, step: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Take a step towards storage or database, however often it takes; the stream waits meanwhile."""
        pause = RETRY_LEAST
        while True:
            self._step = asyncio.create_task(step(), name="tunnel recording step")
            try:
                await asyncio.shield(self._step)
            except _LostTurn:
                raise
            except Exception as exc:  # noqa: BLE001 - each storage has errors of its own
                sentence = "a recording cannot be stored yet: %r recording=%s"
                log.warning(sentence, exc, self._name, extra=self._fields)
                await asyncio.sleep(pause)
                pause = min(RETRY_MOST, 2 * pause)
            else:
                return

    async def _store(self) -> None:
        """Store what waits.

        Raises:
            _LostTurn: somebody else writes by now.
        """
        written = self._pen.written()
        if not written.lines:
            return
        data = written.data if self._parts else self.task.opening + written.data
        if not await _lane.run(rows.add, self.task.turn, self._parts, data, written):
            raise _LostTurn
        self._pen.forget(written)
        self._parts += 1
        self._bytes += len(data)
        self._due = None

    async def _settled(self) -> None:
        """Let a part that is being stored get its row."""
        if self._step is not None:
            await asyncio.wait([self._step])


def _listed(told: Any) -> list[dict[str, Any]]:
    """Return the shells of a node's answer, which may hold anything."""
    shells = told.get("shells") if isinstance(told, dict) else None
    return [one for one in shells if isinstance(one, dict)] if isinstance(shells, list) else []


def _count(value: Any, otherwise: int) -> int:
    counts = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_POSITION
    return value if counts else otherwise
