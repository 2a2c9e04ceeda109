"""What happened on the link to a server, from both ends: sessions that opened and ended, handshakes that were refused."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import models
from django.db.models import OuterRef, Q, Subquery
from django.utils.translation import gettext_lazy as _

from servers.models import Server
from tunnel.models import CloseReason, Refusal, RefusalReason, Session

EVENTS: Final = 20  # shown on a page


class Kind(models.TextChoices):
    """What happened."""

    OPENED = "opened", _("Connected")
    CLOSED = "closed", _("Disconnected")
    REFUSED = "refused", _("Refused")


@dataclass(frozen=True)
class LinkEvent:
    """One thing that happened on a link.

    `reason` is a word of CloseReason or RefusalReason, `words` the same for people. `by_agent` is what the agent said,
    in its words: of its own end of the session before, for an opening. `times` counts alike refusals, `at` is when the
    last of them was.
    """

    kind: Kind
    at: datetime
    reason: str = ""
    words: str = ""
    detail: str = ""
    address: str = ""
    by_agent: str = ""
    away: timedelta | None = None
    times: int = 1


def link_events(server: Server, limit: int = EVENTS) -> list[LinkEvent]:
    """Return the last events of a server's link, newest first, in two queries."""
    sessions = Session.objects.filter(server=server).order_by("-opened_at")[:limit]
    refusals = Refusal.objects.filter(server=server).order_by("-last_at")[:limit]
    events = [event for session in sessions for event in _of_session(session)]
    events += [_of_refusal(refusal) for refusal in refusals]
    return sorted(events, key=lambda event: event.at, reverse=True)[:limit]


def standing_refusals(servers: Collection[int]) -> dict[int, Refusal]:
    """Return by server the newest refusal since its last session opened, in one query; most servers have none."""
    of_server = Refusal.objects.filter(server=OuterRef("server")).order_by("-last_at", "-pk")
    opened = Session.objects.filter(server=OuterRef("server")).order_by("-opened_at").values("opened_at")
    newest = Refusal.objects.filter(server__in=servers, pk=Subquery(of_server.values("pk")[:1]))
    since = newest.annotate(opened=Subquery(opened[:1]))
    standing = since.filter(Q(opened=None) | Q(last_at__gt=models.F("opened")))
    return {refusal.server_id: refusal for refusal in standing}


def _of_session(session: Session) -> Iterator[LinkEvent]:
    if session.closed_at is not None:
        reason = CloseReason(session.close_reason) if session.close_reason else None
        yield LinkEvent(
            Kind.CLOSED,
            session.closed_at,
            session.close_reason,
            str(reason.label) if reason else "",
            session.close_detail,
            session.address or "",
        )
    away = session.agent_away_seconds
    yield LinkEvent(
        Kind.OPENED,
        session.opened_at,
        address=session.address or "",
        by_agent=session.agent_reason,
        away=None if away is None else timedelta(seconds=away),
    )


def _of_refusal(refusal: Refusal) -> LinkEvent:
    words = str(RefusalReason(refusal.reason).label)
    return LinkEvent(
        Kind.REFUSED,
        refusal.last_at,
        refusal.reason,
        words,
        address=refusal.address,
        times=refusal.times,
    )
