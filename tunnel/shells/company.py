"""Who looks at a shell together with a page, whether this page may stay, and how large the terminal is for all of them."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, ParamSpec, TypeVar

from django.db import Error as DatabaseError

from servers import nodes
from servers.access import Actor
from servers.errors import CommandError
from servers.text import visible
from servers.threads import in_thread
from servers.transports import ByteStream
from tunnel import dispatch, figures
from tunnel.models import Shell
from tunnel.shells import news, rows, standing
from tunnel.shells.answers import Joined
from tunnel.shells.bells import rung
from tunnel.shells.rows import Size, Viewing
from tunnel.shells.standing import ShownOut, Standing
from tunnel.shells.state import State
from tunnel.shells.visit import Visit

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("tunnel.shells")

LOOK: Final = 5.0  # seconds between two looks at who may still be here, and who is
SETTLE: Final = 0.2  # seconds over which news of others are gathered
RESIZE_TIMEOUT: Final = 5.0  # seconds


@dataclass(frozen=True)
class Seen:
    """What a look found."""

    viewers: list[Viewing]
    trip: float | None
    types: bool  # whether this page may type


class Company:
    """The others at a shell, seen from one visit; its `looks`, `tells` and `sizes` run side by side."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self.told_size: Size | None = None
        self._told: tuple[list[Viewing], bool] = ([], False)  # who is here, and whether this page may type
        self._bell = asyncio.Event()
        self._resized = asyncio.Event()
        self._at_row: set[asyncio.Future[Any]] = set()  # threads that may write this page's row
        self._seen = Seen([], None, types=False)
        self._seen_more = asyncio.Event()

    async def enter(self, stood: Standing, shell: Shell) -> None:
        """Write that this page has the shell open, and tell the others."""
        await self._in_thread(self._enter, stood.actor, shell)
        news.listen_to_shell(str(shell.pk), self._bell)
        self._bell.set()
        await self._announce()

    async def leave(self) -> None:
        """Take that back, when the visit is over."""
        news.forget(self._bell)
        if self._at_row:
            await asyncio.wait(self._at_row)
        if self._visit.viewer is not None:
            with suppress(DatabaseError):  # it runs out by itself
                await asyncio.shield(in_thread(rows.leave, self._visit.viewer))
            await self._announce()

    def answers(self) -> bool:
        """Tell whether it is this page that answers a program; of several that show it, the first one does."""
        first = next((one.id for one in self._told[0] if one.writes), None)
        return first is None or first == str(self._visit.viewer)

    def resized(self) -> None:
        """Note that the page's window has another size."""
        self._resized.set()

    async def looks(self) -> ShownOut:
        """Look again and again, until this person may be here no more."""
        while True:
            await rung(self._bell, LOOK)
            await asyncio.sleep(SETTLE)
            self._bell.clear()
            stream = self._visit.stream
            try:
                seen = await self._in_thread(self._look)
            except DatabaseError as exc:
                log.warning("the database is away, a terminal cannot be judged: %s", exc)
                continue
            if isinstance(seen, ShownOut):
                return seen
            if seen.types != self._visit.types and stream is not None and stream is self._visit.stream:
                await self._change_right(stream)  # a shell that was joined meanwhile knows better
            self._seen = seen
            self._seen_more.set()

    async def tells(self) -> None:
        """Tell the page what the last look found; a browser that takes nothing holds up this and no look."""
        while True:
            await self._seen_more.wait()
            self._seen_more.clear()
            await self._tell(self._seen)

    async def sizes(self) -> None:
        """Have the node's terminal follow the page's window; of sizes that come quickly the last one counts."""
        visit = self._visit
        while True:
            await self._resized.wait()
            self._resized.clear()
            size, stream = visit.size, visit.stream
            if stream is None or visit.viewer is None:
                continue  # the next joining says it
            params = {"stream": stream.number, "cols": size.cols, "rows": size.rows}
            try:
                await in_thread(rows.stay, visit.viewer, size, writes=visit.types)
                told = await nodes.arun(
                    visit.server, "shell", "resize", params, actor=None, timeout=RESIZE_TIMEOUT
                )
                await self._tell_size(Joined.of(told, size).size)
            except (CommandError, DatabaseError) as exc:
                log.debug("a terminal could not be resized: %r", exc)
            await self._announce()

    async def _change_right(self, stream: ByteStream) -> None:
        """Have the shell joined anew: the node waits for who may type, and hears nobody else."""
        visit = self._visit
        if stream.over:
            return  # the next joining says it
        visit.types, visit.changes = False, True
        visit.typed.forget(time.monotonic())
        await stream.reset()
        await self._announce()

    async def _in_thread(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do what may write this page's row; who leaves waits for it, or the row would stand there after the page."""
        working = asyncio.ensure_future(in_thread(work, *args, **kwargs))
        self._at_row.add(working)
        working.add_done_callback(self._at_row.discard)
        working.add_done_callback(lambda done: done.cancelled() or done.exception())  # perhaps nobody asks
        return await asyncio.shield(working)

    def _enter(self, actor: Actor, shell: Shell) -> None:
        visit = self._visit
        visit.viewer = rows.enter(shell.pk, actor, visit.size, writes=visit.types)

    def _look(self) -> Seen | ShownOut:
        """Ask whether this person may stay, who else is here, and how far the node is; in a thread."""
        visit = self._visit
        stood = standing.read(visit.login, visit.server.pk)
        if isinstance(stood, ShownOut):
            return stood
        trip = figures.clean_rtt(stood.server.rtt_seconds)
        if visit.shell is None or visit.viewer is None:
            return Seen([], trip, types=visit.types)
        types = visit.wants_to_type and stood.may_type(visit.shell)
        if not rows.stay(visit.viewer, visit.size, writes=types):
            self._enter(stood.actor, visit.shell)
        return Seen(rows.viewing([visit.shell.pk]).get(visit.shell.pk, []), trip, types=types)

    async def _tell(self, seen: Seen) -> None:
        visit = self._visit
        if (seen.viewers, visit.types) != self._told:
            self._told = (seen.viewers, visit.types)
            people = [
                {"name": visible(one.name), "writes": one.writes, "you": one.id == str(visit.viewer)}
                for one in seen.viewers
            ]
            await visit.page.tell("viewers", viewers=people, write=visit.types)
        if visit.state is State.LIVE and (size := rows.smallest(seen.viewers)) is not None:
            await self._tell_size(size)
        await visit.page.tell("rtt", seconds=seen.trip)

    async def _tell_size(self, size: Size) -> None:
        if size != self.told_size:
            self.told_size = size
            await self._visit.page.tell("size", cols=size.cols, rows=size.rows)

    async def _announce(self) -> None:
        """Tell the other terminals of this shell that somebody came, left, or has another size."""
        if self._visit.shell is None:
            return
        key = str(self._visit.shell.pk)
        news.shell_changed(key)
        await dispatch.announce("shell", shell=key)
