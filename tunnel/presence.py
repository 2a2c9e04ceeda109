"""Is a node there: read from session rows and worker leases, never from what a row was last set to."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import models
from django.db.models import BooleanField, Case, CharField, Exists, F, OuterRef, Q, Subquery, Value, When
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from servers.models import Server
from tunnel.models import CloseReason, Session

RECONNECTING_FOR = timedelta(seconds=60)  # an agent's back-off has tried several times by then


class State(models.TextChoices):
    """The pill of a node."""

    ACTIVE = "active", _("Tunnel Active")
    RECONNECTING = "reconnecting", _("Reconnecting…")
    OFFLINE = "offline", _("Offline")
    NEVER = "never", _("Never connected")
    SUSPENDED = "suspended", _("Suspended")
    DIRECT = "direct", _("Direct")


@dataclass(frozen=True)
class Presence:
    """What is known of one server's tunnel; `since` is when this state began, None when it never did."""

    state: State
    since: datetime | None = None
    session: UUID | None = None
    worker: str = ""
    address: str = ""
    lease_until: datetime | None = None
    close_reason: str = ""
    close_detail: str = ""
    agent_reason: str = ""  # what the agent said, when this session opened, of the end of the one before

    @property
    def reason(self) -> str:
        """Why the last session ended, in words; empty when there is none."""
        return str(CloseReason(self.close_reason).label) if self.close_reason else ""


def of(servers: Iterable[Server]) -> dict[int, Presence]:
    """Return the presence of each server by primary key, in two queries whatever their number."""
    known = {server.pk: server for server in servers}
    newest_first = F("closed_at").desc(nulls_first=True)  # the open one, else the last closed one
    newest = Session.objects.filter(server=OuterRef("pk")).order_by(newest_first).values("pk")[:1]
    ids = Server.objects.filter(pk__in=known).annotate(newest=Subquery(newest)).values_list("pk", "newest")
    sessions = {session.pk: session for session in _with_lease().filter(pk__in=[pk for _, pk in ids if pk])}
    return {pk: _presence(known[pk], sessions.get(newest)) for pk, newest in ids}


def with_state(servers: models.QuerySet[Server]) -> models.QuerySet[Server]:
    """Add to each server its state as `tunnel_state`, as `of` would say it: in SQL, to filter and sort thousands."""
    sessions = Session.objects.filter(server=OuterRef("pk"))
    recently = timezone.now() - RECONNECTING_FOR
    lost_now = Q(closed_at__gt=recently) | Q(closed_at=None, worker__lease_until__gt=recently)
    state = Case(
        When(~Q(connection_type=Server.ConnectionType.TUNNEL), then=Value(State.DIRECT.value)),
        When(status=Server.Status.SUSPENDED, then=Value(State.SUSPENDED.value)),
        When(Exists(live_sessions().filter(server=OuterRef("pk"))), then=Value(State.ACTIVE.value)),
        When(~Exists(sessions), then=Value(State.NEVER.value)),
        When(Exists(sessions.filter(lost_now)), then=Value(State.RECONNECTING.value)),
        default=Value(State.OFFLINE.value),
        output_field=CharField(),
    )
    return servers.annotate(tunnel_state=state)


def in_state(servers: models.QuerySet[Server], state: str) -> models.QuerySet[Server]:
    """Return those of `servers` of which `of` would say `state`; none when nobody knows it."""
    known: Any = with_state(servers)  # its type does not know the annotation
    chosen: models.QuerySet[Server] = known.filter(tunnel_state=state)
    return chosen


def active_servers() -> models.QuerySet[Server]:
    """Return the servers whose tunnel stands."""
    tunnels = Server.objects.filter(connection_type=Server.ConnectionType.TUNNEL)
    standing = Exists(live_sessions().filter(server=OuterRef("pk")))
    return tunnels.exclude(status=Server.Status.SUSPENDED).filter(standing)


def live_sessions() -> models.QuerySet[Session]:
    """Return the open sessions whose worker still holds its lease."""
    return Session.objects.filter(closed_at__isnull=True, worker__lease_until__gt=Now())


def _with_lease() -> models.QuerySet[Session]:
    live = Q(closed_at__isnull=True, worker__lease_until__gt=Now())
    return Session.objects.select_related("worker").annotate(
        live=Case(When(live, then=Value(True)), default=Value(False), output_field=BooleanField())
    )


def _presence(server: Server, session: Session | None) -> Presence:
    if server.connection_type != Server.ConnectionType.TUNNEL:
        return Presence(State.DIRECT)
    if session is None:
        return Presence(State.SUSPENDED if server.status == Server.Status.SUSPENDED else State.NEVER)
    lost = session.closed_at is None and not session.live  # type: ignore[attr-defined]
    ended = session.closed_at or session.worker.lease_until
    reason = CloseReason.WORKER_LOST if lost else session.close_reason
    if server.status == Server.Status.SUSPENDED:
        state, since = State.SUSPENDED, None
    elif session.live:  # type: ignore[attr-defined]
        state, since = State.ACTIVE, session.opened_at
    elif timezone.now() - ended < RECONNECTING_FOR:
        state, since = State.RECONNECTING, ended
    else:
        state, since = State.OFFLINE, ended
    return Presence(
        state=state,
        since=since,
        session=session.pk,
        worker=str(session.worker),
        address=session.address or "",
        lease_until=session.worker.lease_until if state is State.ACTIVE else None,
        close_reason="" if state is State.ACTIVE else reason,
        close_detail="" if state is State.ACTIVE else session.close_detail,
        agent_reason=session.agent_reason,
    )
