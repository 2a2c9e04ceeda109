"""The background worker's rounds over shells that nobody looks at: no row stays open for a shell that is gone."""

import asyncio
import logging
from datetime import timedelta
from typing import Final

from django.db import Error as DatabaseError
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now

from servers.models import CommandRecord, Server
from servers.threads import in_thread
from tunnel import presence, sessions
from tunnel.models import Session, Shell, ShellEnd, ShellViewer
from tunnel.shells.comparing import compare
from tunnel.shells.rows import YOUNG

EVERY: Final = 60.0  # seconds between two rounds
LEASE: Final = 2 * EVERY  # seconds one process goes round alone
MOST_ASKED: Final = 50  # nodes asked in one round; the next one goes on with those behind them
AT_ONCE: Final = 10  # nodes asked side by side
MOST_ENDED: Final = 1_000  # rows one round ends
LONGEST: Final = timedelta(days=7)  # an agent keeps no shell for longer, whatever its SHELL_KEEP
UNCLEAR_FOR: Final = timedelta(hours=1)  # so long a node is asked for a shell whose opening was not answered

log = logging.getLogger("tunnel.shells")


class Rounds:
    """The rounds of one process; `holder` names it."""

    def __init__(self, holder: str) -> None:
        self._holder = holder
        self._behind = 0  # the server after which the next round goes on

    async def keep_going(self) -> None:
        """Go round again and again."""
        while True:
            try:
                await self.go()
            except DatabaseError as exc:
                log.warning("the database is away, no node is asked for its shells: %s", exc)
            except Exception:
                log.exception("a round over the shells failed")
            await asyncio.sleep(EVERY)

    async def go(self) -> int:
        """Ask the next nodes for their shells, unless another process does; return how many."""
        if not await in_thread(sessions.take_lease, "shells", self._holder, LEASE):
            return 0
        ended = await in_thread(end_lost)
        if ended:
            log.info("%d shells are ended: their nodes were away for longer than any shell lives", ended)
        servers = await in_thread(_next, self._behind)
        self._behind = servers[-1].pk if len(servers) == MOST_ASKED else 0
        places = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*(_ask(server, places) for server in servers))
        return len(servers)


def end_lost() -> int:
    """End the rows of shells whose node has been away for longer than any shell lives; return how many."""
    seen = Session.objects.filter(
        Q(closed_at=None) | Q(closed_at__gt=Now() - LONGEST), server=OuterRef("server")
    )
    lost = Shell.objects.filter(~Exists(seen), ended_at=None, opened_at__lt=Now() - LONGEST)
    keys = list(lost.values_list("pk", flat=True)[:MOST_ENDED])
    return Shell.objects.filter(pk__in=keys, ended_at=None).update(ended_at=Now(), end=ShellEnd.GONE)


async def _ask(server: Server, places: asyncio.Semaphore) -> None:
    async with places:
        await compare(server)


def _next(behind: int) -> list[Server]:
    """Return connected servers that may have a shell of which the panel does not know how it is."""
    looked_at = ShellViewer.objects.filter(shell=OuterRef("pk"), until__gt=Now())
    alone = Shell.objects.filter(
        ~Exists(looked_at), server=OuterRef("pk"), ended_at=None, opened_at__lt=Now() - YOUNG
    )
    unclear = CommandRecord.objects.filter(
        server=OuterRef("pk"),
        service="shell",
        action="open",
        state=CommandRecord.State.UNKNOWN,
        created_at__gt=Now() - UNCLEAR_FOR,
    )
    there = presence.live_sessions().filter(server=OuterRef("pk"))
    found = Server.objects.filter(Exists(alone) | Exists(unclear), Exists(there), pk__gt=behind)
    return list(found.exclude(status=Server.Status.SUSPENDED).order_by("pk")[:MOST_ASKED])
