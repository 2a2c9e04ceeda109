"""Refused handshakes that named a known server: counted, kept and told to the pages, for the person who waits there.

Whoever dials is a stranger. So a refusal is written in a task of its own, long before its answer is due; alike ones
within a few seconds are one write, only so many writes are under way, and a server keeps only so many rows.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from django.db import Error as DatabaseError
from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now

from servers.models import Server
from servers.threads import in_thread
from tunnel import worker
from tunnel.models import Refusal, RefusalReason

log = logging.getLogger("tunnel.handshake")

GATHER: Final = 5.0  # seconds in which alike refusals cost one write; an agent that is refused waits longer
MAX_REMEMBERED: Final = 10_000  # kinds of refusals; the oldest are forgotten first
MAX_UNDER_WAY: Final = 8  # writes at once; the log has what more there is
MAX_ROWS: Final = 50  # a server keeps: the newest of as many addresses and reasons
MAX_ADDRESS: Final = 45  # characters, an IPv6 address that ends in an IPv4 one

Kind = tuple[str, RefusalReason, str]


@dataclass
class _Seen:
    """When refusals of one kind were last written, and how many came since."""

    written_at: float
    times: int = 0


_seen: OrderedDict[Kind, _Seen] = OrderedDict()
_under_way: set[asyncio.Task[None]] = set()


def note(agent_id: str, reason: RefusalReason, address: str) -> None:
    """Count a refused handshake of this claimed agent id; called on the event loop, returns at once."""
    kind = (agent_id, reason, address[:MAX_ADDRESS])
    times = _times_to_write(kind, time.monotonic())
    if times == 0:
        return
    if len(_under_way) >= MAX_UNDER_WAY:
        _seen[kind].times = times
        return
    task = asyncio.create_task(_keep(kind, times), name=f"refusal of {agent_id}")
    _under_way.add(task)
    task.add_done_callback(_under_way.discard)


def write(agent_id: str, reason: RefusalReason, address: str, times: int = 1) -> int | None:
    """Add to the row of these refusals; return the server's primary key, None when no server has this id."""
    row = Server.objects.filter(agent_id=agent_id).values("pk", "agent_id").first()
    # A case-insensitive collation must not count `Web-01` as `web-01`.
    if row is None or row["agent_id"] != agent_id:
        return None
    server: int = row["pk"]
    if not _add(server, reason, address, times):
        try:
            with transaction.atomic():
                Refusal.objects.create(server_id=server, reason=reason, address=address, times=times)
        except IntegrityError:  # another worker was first
            _add(server, reason, address, times)
        _drop_oldest(server)
    return server


def _times_to_write(kind: Kind, now: float) -> int:
    """Return how many refusals of this kind are to be written now; 0 when they wait for later ones."""
    seen = _seen.get(kind)
    if seen is not None and now - seen.written_at < GATHER:
        seen.times += 1
        return 0
    times = 1 if seen is None else seen.times + 1
    _seen[kind] = _Seen(now)
    _seen.move_to_end(kind)
    if len(_seen) > MAX_REMEMBERED:
        _seen.popitem(last=False)
    return times


async def _keep(kind: Kind, times: int) -> None:
    agent_id, reason, address = kind
    try:
        server = await in_thread(write, agent_id, reason, address, times)
    except DatabaseError as exc:
        log.warning("a refused handshake was not kept: %s agent=%s", exc, agent_id)
        return
    here = worker.running()
    if server is not None and here is not None:
        here.tell_refused(server)


def _add(server: int, reason: RefusalReason, address: str, times: int) -> bool:
    same = Refusal.objects.filter(server=server, reason=reason, address=address)
    return bool(same.update(times=F("times") + times, last_at=Now()))


def _drop_oldest(server: int) -> None:
    old = Refusal.objects.filter(server=server).order_by("-last_at").values_list("pk", flat=True)[MAX_ROWS:]
    if dropped := list(old):
        Refusal.objects.filter(pk__in=dropped).delete()
