"""How a page gets to its shell: opens one or joins one, waits for the node, and joins again when the tunnel was lost."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from django.db import Error as DatabaseError

from agent_client.protocol.codes import Code
from servers import nodes, transports
from servers.access import person
from servers.errors import CommandError, CommandFailed
from servers.text import visible
from servers.threads import in_thread
from tunnel import presence, worker
from tunnel.models import ShellEnd
from tunnel.recordings import rows as recorded
from tunnel.shells import rows
from tunnel.shells.answers import Joined, nonsense
from tunnel.shells.bells import rung
from tunnel.shells.company import Company
from tunnel.shells.comparing import compare
from tunnel.shells.messages import Attach, Open
from tunnel.shells.refused import Refused
from tunnel.shells.standing import Standing
from tunnel.shells.visit import Visit

log = logging.getLogger("tunnel.shells")

WINDOW: Final = (
    256 * 1024
)  # bytes a page may have that it has not shown; more makes Ctrl-C slow (UI, not memory)
TERM: Final = "xterm-256color"
OPEN_TIMEOUT: Final = 15.0  # seconds the node may take to open a shell or to let one join
RETRY_LEAST: Final = 0.1  # seconds between two tries to join again
RETRY_MOST: Final = 1.0
# Seconds in which a node may be too busy to let one join: those who looked through a worker that died hold their places
# until its silence is noticed.
BUSY_WITHIN: Final = 15.0
REJOIN_GAP: Final = 0.5  # seconds between two joinings, however fast the streams break
MAX_OF_ONE_PERSON: Final = 32  # terminals a person has open in browsers
MAX_SHELLS_OF_ONE_PERSON: Final = 8  # shells of a person on one node, of the 16 it allows

# The node is away, or the way to it: joining again is worth a try.
_AWAY: Final = frozenset(
    code.value
    for code in (
        Code.NOT_CONNECTED,
        Code.NOT_SENT,
        Code.BUS_UNAVAILABLE,
        Code.DISCONNECTED,
        Code.NO_REPLY,
        Code.RELAY_LOST,
        Code.TIMEOUT,
        Code.EXPIRED,
        Code.CANCELLED,
    )
)


class Joining:
    """Gets the streams of one visit, one after the other. `bell` is rung when the state of the node changes."""

    def __init__(self, visit: Visit, company: Company) -> None:
        self._visit = visit
        self._company = company
        self.bell = asyncio.Event()
        self._joined_at = 0.0
        self._busy_since: float | None = None

    async def begin(self, wish: Open | Attach) -> transports.ByteStream:
        """Open a shell or join one, as soon as the node is there.

        Raises:
            Refused: there is none to be had.
            Out: this person may have none.
        """
        visit, pause = self._visit, RETRY_LEAST
        while True:
            self.bell.clear()
            stood = await visit.standing()
            try:
                if isinstance(wish, Open):
                    return await self._open(stood, wish)
                return await self._attach(stood, wish)
            except CommandError as exc:
                fresh = isinstance(wish, Open) and (exc.ran != "no" or exc.code == Code.BUSY.value)
                if fresh or not self._worth_another_try(exc):
                    raise Refused.by(exc) from exc
                await visit.page.tell("state", state=visit.state.value, why=exc.code)
            await rung(self.bell, pause)  # each try has a line in the history
            pause = min(RETRY_MOST, 2 * pause)
            await self._until_the_node_is_there()

    async def again(self) -> transports.ByteStream:
        """Join the shell anew, as soon as the node is there; the same visit of the same person is not recorded twice.

        Raises:
            Refused: it is there no more.
            Out: this person may be here no more.
        """
        visit, pause = self._visit, RETRY_LEAST
        await visit.until_shown()
        await asyncio.sleep(max(0.0, self._joined_at + REJOIN_GAP - time.monotonic()))
        while True:
            await self._until_the_node_is_there()
            try:
                return await self._join(await visit.standing(), actor=None)
            except CommandError as exc:
                if not self._worth_another_try(exc):
                    raise Refused.by(exc) from exc
                await visit.lost(exc.code)
                log.debug("a shell could not be joined again yet: %r", exc)
            self.bell.clear()
            await rung(self.bell, pause)
            pause = min(RETRY_MOST, 2 * pause)

    async def _open(self, stood: Standing, wish: Open) -> transports.ByteStream:
        await _keep_within_limits(stood)
        visit = self._visit
        params = {
            "cols": visit.size.cols,
            "rows": visit.size.rows,
            "term": wish.term or TERM,
            "lang": wish.lang,
        }
        stream = await nodes.open_stream(
            stood.server, "shell", "open", params, actor=stood.actor, timeout=OPEN_TIMEOUT, window=WINDOW
        )
        async with _given_up_in_trouble(stream):
            joined = Joined.of(stream.data, visit.size)
            if not rows.is_handle(joined.handle):
                raise nonsense()
            shell = await in_thread(rows.opened, stood.server, joined.handle, joined.program, stood.actor)
            here = worker.running()
            if here is not None:  # else a worker finds it: one process of a command line does not outlive it
                await here.recorders.begin(shell.pk, joined.size)
            visit.shell, visit.types = shell, True
            await self._company.enter(stood, shell)
            log.info("a shell was opened user=%s", visit.login.user, extra=visit.agent)
            await self._say_opened(joined, stream)
        return stream

    async def _attach(self, stood: Standing, wish: Attach) -> transports.ByteStream:
        shell = await in_thread(rows.find, stood.server, wish.shell)
        if shell is None:
            raise Refused(Code.NOT_FOUND.value)
        if shell.ended_at is not None:
            raise Refused(shell.end, exit_code=shell.exit_code)
        visit = self._visit
        visit.shell, visit.wants_to_type = shell, wish.write
        visit.begin_at(wish.offset)
        stream = await self._join(stood, actor=stood.actor)
        async with _given_up_in_trouble(stream):
            await self._company.enter(stood, shell)
        return stream

    async def _join(self, stood: Standing, actor: Any) -> transports.ByteStream:
        """Join the shell at the position up to which the page has its output."""
        visit = self._visit
        assert visit.shell is not None  # noqa: S101 - every way here has one
        types = visit.wants_to_type and await in_thread(stood.may_type, visit.shell)
        params = {
            "handle": visit.shell.handle,
            "offset": visit.position,
            "cols": visit.size.cols,
            "rows": visit.size.rows,
            "write": types,
        }
        try:
            stream = await nodes.open_stream(
                stood.server, "shell", "attach", params, actor=actor, timeout=OPEN_TIMEOUT, window=WINDOW
            )
        except CommandFailed as exc:
            if exc.code == Code.NOT_FOUND.value:
                await in_thread(rows.ended, visit.shell.pk, ShellEnd.GONE)
                raise Refused(ShellEnd.GONE.value) from exc
            raise
        async with _given_up_in_trouble(stream):
            visit.types = types
            await self._say_opened(Joined.of(stream.data, visit.size), stream)
        return stream

    async def _say_opened(self, joined: Joined, stream: transports.ByteStream) -> None:
        """Tell the page where the output goes on; more of it comes than is asked for when some is not kept any more."""
        visit = self._visit
        gap = joined.offset - visit.position
        assert visit.shell is not None  # noqa: S101 - every way here has one
        visit.begin_at(joined.offset)
        self._joined_at, self._busy_since = time.monotonic(), None
        self._company.told_size = joined.size
        visit.live(stream)
        await visit.page.tell(
            "opened",
            shell=str(visit.shell.pk),
            offset=joined.offset,
            end=joined.end,
            gap=max(0, gap),
            cols=joined.size.cols,
            rows=joined.size.rows,
            write=visit.types,
            mine=str(visit.shell.opened_by_id) == visit.login.user,
            opener=visible(visit.shell.opener),
            recorded=await in_thread(recorded.is_recorded, visit.shell.pk),
        )

    def _worth_another_try(self, exc: CommandError) -> bool:
        """Tell whether joining may go well soon: the node is away, or for a while all places at the shell are taken."""
        if exc.code != Code.BUSY.value:
            self._busy_since = None
            return exc.code in _AWAY
        now = time.monotonic()
        self._busy_since = self._busy_since or now
        return now - self._busy_since < BUSY_WITHIN

    async def _until_the_node_is_there(self) -> None:
        while True:
            self.bell.clear()
            with suppress(DatabaseError):
                if await in_thread(_is_there, self._visit.server.pk):
                    return
            await self._visit.lost(Code.NOT_CONNECTED.value)
            await rung(self.bell, RETRY_MOST)


@asynccontextmanager
async def _given_up_in_trouble(stream: transports.ByteStream) -> AsyncIterator[None]:
    """Reset a stream that comes into nobody's hands: its shell would wait for a viewer that never reads."""
    try:
        yield
    except BaseException:
        await stream.reset()
        raise


async def _keep_within_limits(stood: Standing) -> None:
    if person(stood.actor) is None:
        return  # the panel's own host: the node's limits hold there too
    if await in_thread(rows.viewers_of_person, stood.actor) >= MAX_OF_ONE_PERSON:
        raise Refused("too_many_terminals")
    if await in_thread(rows.open_of, stood.server, stood.actor) >= MAX_SHELLS_OF_ONE_PERSON:
        await compare(stood.server)
        if await in_thread(rows.open_of, stood.server, stood.actor) >= MAX_SHELLS_OF_ONE_PERSON:
            raise Refused("too_many_shells")


def _is_there(server: int) -> bool:
    return presence.live_sessions().filter(server=server).exists()
