"""The recordings that one worker writes: begun with a shell, taken over from workers that died, given back at its stop."""

import asyncio
import logging
import uuid
from collections.abc import Callable
from typing import Final

from servers.threads import in_thread
from tunnel.recordings import rows
from tunnel.recordings.recorder import Recorder
from tunnel.recordings.rows import Task, Turn
from tunnel.shells.rows import Size

LOOK: Final = 3.0  # seconds between two looks, each of which renews; two may fail before a lease runs out
NEWS: Final = "recording"  # one was given back

log = logging.getLogger("tunnel.recordings")


class Recorders:
    """All methods run on the worker's event loop. `tell` tells the other workers that there is something to take over."""

    def __init__(self, worker: uuid.UUID, tell: Callable[[], None]) -> None:
        self._holder = str(worker)
        self._tell = tell
        self._running: dict[Turn, tuple[Recorder, asyncio.Task[None]]] = {}
        self._looking = asyncio.Lock()
        self._stopping = False

    async def begin(self, shell: uuid.UUID, size: Size) -> bool:
        """Begin to record a shell that was opened here; tell whether anybody records it."""
        task = await in_thread(rows.begin, shell, size, self._holder)
        if task is not None:
            self._start(task)
        return task is not None or await in_thread(rows.is_recorded, shell)

    async def look(self) -> None:
        """Renew what is ours, leave what is not, and take over what nobody writes."""
        async with self._looking:
            if self._stopping:
                return
            if self._running:
                turns = list(self._running)
                kept = await in_thread(rows.renew, self._holder, turns)
                for turn in set(turns) - kept:
                    self._drop(turn)
            for task in await in_thread(self._found):
                self._start(task)

    async def stop(self) -> None:
        """Store what waits and let others write."""
        self._stopping = True
        running, self._running = dict(self._running), {}
        for _, life in running.values():
            life.cancel()
        if not running:
            return
        await asyncio.wait([life for _, life in running.values()])
        await asyncio.gather(*(recorder.leave() for recorder, _ in running.values()))
        self._tell()

    def _found(self) -> list[Task]:
        return [*rows.claim(self._holder), *rows.begin_missing(self._holder)]

    def _start(self, task: Task) -> None:
        if self._stopping:
            return  # its lease runs out
        recorder = Recorder(task)
        life = asyncio.create_task(self._guarded(recorder), name="tunnel recording")
        self._running[task.turn] = recorder, life
        life.add_done_callback(lambda _: self._running.pop(task.turn, None))

    def _drop(self, turn: Turn) -> None:
        running = self._running.pop(turn, None)
        if running is not None:
            running[1].cancel()

    async def _guarded(self, recorder: Recorder) -> None:
        try:
            await recorder.run()
        except Exception:
            log.exception(
                "a recording failed, another worker takes it over recording=%s", recorder.task.turn.recording
            )
