"""Session rows and worker leases: who holds which agent. Every step is one statement or one transaction.

Times are the database's, so that the clocks of the workers' hosts do not matter.
"""

import logging
import math
import os
import socket
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

from django.db import IntegrityError, OperationalError, models, transaction
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now

from servers import identity
from servers.models import Server
from tunnel import signals
from tunnel.logs import about
from tunnel.models import CloseReason, Lease, Session, Worker

log = logging.getLogger("tunnel.session")

LEASE = timedelta(seconds=10)  # a dead worker's agents are shown offline after this
RENEWAL = 3.0  # seconds; two renewals may fail before the lease is lost
CLAIM_TRIES = 6  # two agents with one id may collide; SQLite lets one writer in at a time
TWINS_WITHIN = timedelta(minutes=10)  # two agents with one id take turns thrice in the first five
TWINS_AFTER = 3  # times; who dials again after a cut line replaces himself once or twice
CLAIM_PAUSE = 0.05  # seconds between the tries, growing
RACE = 5.0  # seconds; what fails later than this lost no race, the database is away, and the thread has other work

R = TypeVar("R")


@dataclass(frozen=True)
class Welcome:
    """The facts of a server row that make an agent welcome; a session ends when one of them changes."""

    server: int
    agent_id: str
    secret_version: int


@dataclass(frozen=True)
class Loser:
    """The session that a newer one replaced, and the inbox of its worker.

    `times` is how often this server's sessions were replaced lately, this time included.
    """

    session: str
    inbox: str
    times: int = 1


class NoLongerWelcome(Exception):
    """The server was suspended, rotated or changed while the handshake was under way."""


class ClaimedTooLate(Exception):
    """The database was so slow that the agent has given up: it may have another session by now, which shall stay."""


def open_worker(worker: UUID, inbox: str) -> None:
    """Write this process's row and take its first lease; the same again after the row was pruned."""
    _retried(lambda: _open_worker(worker, inbox))


def _open_worker(worker: UUID, inbox: str) -> None:
    Worker.objects.update_or_create(
        pk=worker,
        defaults={"inbox": inbox, "lease_until": Now() + LEASE},
        create_defaults={
            "inbox": inbox,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "lease_until": Now() + LEASE,
        },
    )


def renew(worker: UUID) -> bool:
    """Renew the lease; False when it had run out meanwhile, so that sessions may have been ended by others."""
    if Worker.objects.filter(pk=worker, lease_until__gt=Now()).update(lease_until=Now() + LEASE):
        return True
    Worker.objects.filter(pk=worker).update(lease_until=Now() + LEASE)
    return False


def close_worker(worker: UUID) -> None:
    """Give the lease back at a graceful stop."""
    Worker.objects.filter(pk=worker).update(lease_until=Now())


def claim(
    welcome: Welcome,
    session: UUID,
    worker: UUID,
    *,
    basic: bool,
    address: str | None,
    before: float = math.inf,
) -> Loser | None:
    """Open a session, ending the one that was open: the newest wins, and commit order is the order.

    After `before` on the monotonic clock nothing is claimed any more.

    Raises:
        NoLongerWelcome: the server row changed since it was judged.
        ClaimedTooLate: it waited for the database beyond `before`.
        django.db.Error: the database is away.
    """
    loser = _retried(
        lambda: _claim(welcome, session, worker, basic=basic, address=address, before=before), before
    )
    if loser is not None and loser.times >= TWINS_AFTER:
        sentence = (
            "replaced %d times within %d minutes: if two machines have this id, give each one of its own"
        )
        minutes = TWINS_WITHIN.total_seconds() / 60
        about("tunnel.session", agent=welcome.agent_id, session=session).warning(
            sentence, loser.times, minutes
        )
    if loser is not None:
        signals.disconnected(welcome.server, welcome.agent_id, UUID(loser.session), CloseReason.REPLACED)
    signals.connected(welcome.server, welcome.agent_id, session, address=address, basic=basic)
    return loser


@transaction.atomic
def _claim(
    welcome: Welcome, session: UUID, worker: UUID, *, basic: bool, address: str | None, before: float
) -> Loser | None:
    # The row lock orders two claims of one server where the database has row locks; the constraint does elsewhere.
    there = _welcome_rows(welcome).select_for_update().values_list("pk", flat=True).first()
    if time.monotonic() > before:  # asked with the lock in hand: from here on nobody makes us wait
        raise ClaimedTooLate(welcome.agent_id)
    if there is None:
        raise NoLongerWelcome(welcome.agent_id)
    loser = Session.objects.filter(server=welcome.server, closed_at=None).select_related("worker").first()
    if loser is not None:
        _end([loser.pk], CloseReason.REPLACED)
    Session.objects.create(
        pk=session,
        server_id=welcome.server,
        worker_id=worker,
        basic=basic,
        address=address,
        secret_version=welcome.secret_version,
    )
    identity.mark_seen(welcome.server)
    return (
        None if loser is None else Loser(str(loser.pk), loser.worker.inbox, _times_replaced(welcome.server))
    )


def _times_replaced(server: int) -> int:
    lately = Session.objects.filter(server=server, closed_at__gt=Now() - TWINS_WITHIN)
    return lately.filter(close_reason=CloseReason.REPLACED).count()


def close(session: UUID, reason: CloseReason, detail: str = "") -> bool:
    """End a session; False when somebody else has ended it before."""
    ended = _retried(lambda: _end([session], reason, detail))
    Server.objects.filter(sessions=session).update(last_seen=Now())
    if ended:
        for server, agent_id in Server.objects.filter(sessions=session).values_list("pk", "agent_id"):
            signals.disconnected(server, agent_id, session, reason, detail)
    return bool(ended)


def unwelcome(worker: UUID, held: dict[str, Welcome]) -> dict[str, CloseReason]:
    """Say which of a worker's sessions must be cut, by session id, in one query."""
    fields = (
        "pk",
        "server__agent_id",
        "server__connection_type",
        "server__status",
        "server__secret_version",
    )
    mine = Session.objects.filter(pk__in=held, worker=worker)
    # One that was ended as `worker_lost` is not given up here: `reclaim` decides with the next lease.
    rows = mine.filter(Q(closed_at=None) | Q(close_reason=CloseReason.WORKER_LOST)).values_list(*fields)
    welcome = {
        str(pk)
        for pk, agent_id, kind, status, version in rows
        if kind == Server.ConnectionType.TUNNEL
        and status != Server.Status.SUSPENDED
        and version == held[str(pk)].secret_version
        and agent_id == held[str(pk)].agent_id
    }
    still_open = {str(row[0]) for row in rows}
    return {
        session: CloseReason.REVOKED if session in still_open else CloseReason.REPLACED
        for session in held
        if session not in welcome
    }


def open_rows(worker: UUID) -> dict[str, Welcome]:
    """Return what the database says a worker holds."""
    fields = ("pk", "server_id", "server__agent_id", "secret_version")
    rows = Session.objects.filter(worker=worker, closed_at=None).values_list(*fields)
    return {str(pk): Welcome(*facts) for pk, *facts in rows}


def reclaim(worker: UUID, held: Collection[str]) -> set[str]:
    """Take back sessions that were ended as `worker_lost` while this worker lived; return those it holds now.

    Only the newest session of a server is taken back: with a newer one, wherever it is and whatever became of it, the
    agent has left this one behind.
    """
    lost = Session.objects.filter(pk__in=held, worker=worker, close_reason=CloseReason.WORKER_LOST)
    newer = Session.objects.filter(server=OuterRef("server"), opened_at__gt=OuterRef("opened_at"))
    for session in lost.exclude(Exists(newer)).select_related("server"):
        try:
            with transaction.atomic():
                taken = Session.objects.filter(pk=session.pk, close_reason=CloseReason.WORKER_LOST).update(
                    closed_at=None, close_reason="", close_detail=""
                )
        except IntegrityError:
            log.info("session was taken over meanwhile", extra={"session": str(session.pk)})
            continue
        if taken:
            one = session.server
            signals.connected(one.pk, one.agent_id, session.pk, address=session.address, basic=session.basic)
    open_now = Session.objects.filter(pk__in=held, worker=worker, closed_at=None)
    return {str(pk) for pk in open_now.values_list("pk", flat=True)}


def end_lost(overdue: timedelta = timedelta(0)) -> list[str]:
    """End the sessions of workers whose lease ran out `overdue` ago; return the agent ids, whose state changed."""
    lapsed = Q(closed_at=None, worker__lease_until__lt=Now() - overdue)
    lost = Session.objects.filter(lapsed)
    ended = []
    for pk, server, agent_id, lease_until in lost.values_list(
        "pk", "server", "server__agent_id", "worker__lease_until"
    ):
        if Session.objects.filter(lapsed, pk=pk).update(
            closed_at=lease_until, close_reason=CloseReason.WORKER_LOST
        ):
            signals.disconnected(server, agent_id, pk, CloseReason.WORKER_LOST)
            ended.append(agent_id)
    return ended


def take_lease(name: str, holder: str, seconds: float) -> bool:
    """Take a right that one process holds at a time; False while somebody else has it."""
    until = Now() + timedelta(seconds=seconds)
    free = Lease.objects.filter(name=name, until__lt=Now()) | Lease.objects.filter(name=name, holder=holder)
    if free.update(holder=holder, until=until):
        return True
    try:
        with transaction.atomic():
            Lease.objects.create(name=name, holder=holder, until=until)
    except IntegrityError:
        return False
    return True


def _welcome_rows(welcome: Welcome) -> models.QuerySet[Server]:
    return Server.objects.filter(
        pk=welcome.server,
        agent_id=welcome.agent_id,
        connection_type=Server.ConnectionType.TUNNEL,
        status__in=[Server.Status.UNKNOWN, Server.Status.ACTIVE],
        secret_version=welcome.secret_version,
    )


def _end(sessions: Collection[UUID], reason: CloseReason, detail: str = "") -> int:
    return Session.objects.filter(pk__in=sessions, closed_at=None).update(
        closed_at=Now(), close_reason=reason, close_detail=detail[:200]
    )


def _retried(step: Callable[[], R], before: float = math.inf) -> R:
    """Repeat a step that lost a race against another writer, but not after `before`."""
    until = min(before, time.monotonic() + RACE)
    for attempt in range(1, CLAIM_TRIES):
        try:
            return step()
        except (IntegrityError, OperationalError) as exc:
            log.debug("try %d: %s", attempt, exc)
            if time.monotonic() > until:
                raise
            time.sleep(CLAIM_PAUSE * attempt)  # in a database thread; there is no fact to wait on
    return step()
