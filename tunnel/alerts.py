"""Tells people of nodes that stay away, of their return, and of nodes that are two: by mail, by a webhook, once each.

The background worker that sweeps looks; the messages go out in a thread of their own, so a slow mail server or webhook
delays no sweep. An `Outage` row is a node that was told of. Whoever sends holds the lease `alerts` meanwhile, so of
several background workers one sends; a process that dies between sending and writing has the news sent again by the
next one, under the same id. Who has told of a node that is two holds the lease `twins-<its key>` for a day.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import Error as DatabaseError
from django.db import IntegrityError, close_old_connections, transaction
from django.db.models import Count, Exists, Max, Min, OuterRef, Q
from django.db.models.functions import Now
from django.utils import timezone

from servers.models import Server
from servers.text import visible
from tunnel import alert_mail, alert_webhook, presence, sessions
from tunnel.alert_news import Absence, Kind, News
from tunnel.alert_webhook import WebhookFailed
from tunnel.conf import settings
from tunnel.models import AlertTrouble, CloseReason, Lease, Outage, Session, Worker
from tunnel.presence import State

log = logging.getLogger("tunnel.alerts")

GRACE = timedelta(minutes=2)  # after the master restarted, nodes get this long to dial in again
GAP = 60.0  # seconds between two rounds: nodes that fall together are told of together, in two messages
LONGEST_GAP: Final = 900.0  # seconds between rounds nobody takes
PAUSES: tuple[float, ...] = (2.0, 8.0, 30.0)  # seconds before the second, third and fourth try of a message
LEASE: Final = 300.0  # seconds one process may send alone; renewed before each try
BATCH: Final = 500  # rows one statement writes
NAME: Final = "alerts"  # of the lease
MAX_PROBLEM: Final = 300  # characters of why a message was not taken
TWINS_AGAIN: Final = 86_400.0  # seconds until a node that still is two is told of again


Mark = Callable[[Iterable[Absence]], None]  # writes down who was told of


@dataclass(frozen=True)
class Channel:
    """A way to tell people."""

    name: str
    send: Callable[[News], None]


def channels() -> list[Channel]:
    """Return the ways that are set up; none when alerts are off."""
    if not settings.ALERT_AFTER:
        return []
    mail = [Channel("mail", alert_mail.send)] if settings.ALERT_EMAILS else []
    webhook = [Channel("webhook", alert_webhook.send)] if settings.ALERT_WEBHOOK else []
    return [*mail, *webhook]


class Watch:
    """What one background worker remembers between its looks."""

    def __init__(self) -> None:
        self.holder = str(uuid.uuid4())
        self._seen: dict[str, float] = {}  # absences this process saw, since when
        self._thread: threading.Thread | None = None
        self._next_round = 0.0
        self._gap = GAP

    def look(self) -> None:
        """Start a round of messages if somebody has to be told of something; wait for nothing but the database.

        Raises:
            django.db.Error: it is away.
        """
        AlertTrouble.objects.exclude(way__in=[channel.name for channel in channels()]).delete()
        if not channels():
            Outage.objects.all().delete()  # nobody is to hear of returns when alerts are on again
            return
        _forget_what_people_did()
        away, back = self._news()
        twins = _twins()
        log.debug("looked for alerts: %d away, %d back, %d twins", len(away), len(back), len(twins))
        sending = self._thread is not None and self._thread.is_alive()
        if sending or not (away or back or twins) or time.monotonic() < self._next_round:
            return
        if not sessions.take_lease(NAME, self.holder, LEASE):
            return
        away, back = self._news()  # the last holder may have told it meanwhile
        news = [
            (Kind.OFFLINE, away, _mark_away),
            (Kind.BACK, back, _mark_back),
            (Kind.TWINS, _twins(), self._mark_twins),
        ]
        self._thread = threading.Thread(target=self._round, args=[news], name="tunnel-alerts", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait for the round under way; tell whether it is over."""
        if self._thread is not None:
            self._thread.join(seconds)
        return self._thread is None or not self._thread.is_alive()

    def _news(self) -> tuple[list[Absence], list[Absence]]:
        if not _master_is_settled():
            return [], []
        now, after = time.monotonic(), timedelta(minutes=settings.ALERT_AFTER)
        absences = _absences()
        self._seen = {one.outage: self._seen.get(one.outage, now) for one in absences}
        # A node whose server was reactivated, or whose panel was away, was away for long and yet is just dialling in.
        watched = min(after, GRACE).total_seconds()
        due = [
            one
            for one in absences
            if one.until - one.since >= after and now - self._seen[one.outage] >= watched
        ]
        return due, _returns()

    def _round(self, news: list[tuple[Kind, list[Absence], Mark]]) -> None:
        close_old_connections()
        taken = False
        try:
            results = [self._tell(kind, nodes, mark) for kind, nodes, mark in news]
            taken = all(results)
        except DatabaseError as exc:
            log.warning("the database is away: %s", exc)
        except Exception:
            log.exception("the alerts failed")
        finally:
            self._gap = GAP if taken else min(self._gap * 2, LONGEST_GAP)
            self._next_round = time.monotonic() + self._gap
            close_old_connections()

    def _mark_twins(self, nodes: Iterable[Absence]) -> None:
        for node in nodes:
            sessions.take_lease(_lease_of_twins(node.server), self.holder, TWINS_AGAIN)

    def _tell(self, kind: Kind, nodes: list[Absence], mark: Mark) -> bool:
        """Send one message and write down that it was; False when nobody took it."""
        if not nodes:
            return True
        news = News(kind, tuple(nodes), timezone.now())
        results = [self._send(channel, news) for channel in channels()]
        if not any(results):
            log.error("nobody could be told: %s of %d nodes, tried again later", kind.value, len(nodes))
            return False
        mark(nodes)
        sessions.take_lease(NAME, self.holder, GAP)  # so long the next round waits, whoever starts it
        log.info("told: %s of %d nodes", kind.value, len(nodes))
        return True

    def _send(self, channel: Channel, news: News) -> bool:
        for pause in (*PAUSES, None):
            if not sessions.take_lease(NAME, self.holder, LEASE):
                log.warning("another process sends the alerts now")
                return False
            problem, again = _try(channel, news)
            if not problem:
                AlertTrouble.objects.filter(way=channel.name).delete()
                return True
            log.warning("an alert by %s was not taken: %s", channel.name, problem)
            if pause is None or not again:
                break
            time.sleep(pause)  # in a thread of its own; there is no fact to wait on
        AlertTrouble.objects.update_or_create(way=channel.name, defaults={"problem": problem[:MAX_PROBLEM]})
        return False


def _try(channel: Channel, news: News) -> tuple[str, bool]:
    """Return why the message was not taken, empty when it was, and whether another try may help."""
    try:
        channel.send(news)
    except WebhookFailed as exc:
        return str(exc), exc.again
    except Exception as exc:  # noqa: BLE001 - each mail backend has errors of its own
        return visible(f"{type(exc).__name__}: {exc}")[:MAX_PROBLEM], True
    return "", False


def _master_is_settled() -> bool:
    """Tell whether the agents had the time to dial in: a web worker is there for long, or none is for as long.

    Without any web worker the nodes are out of reach as well, which is told in one message.
    """
    there = Worker.objects.filter(lease_until__gt=Now() - GRACE)
    return there.filter(lease_until__gt=Now(), started_at__lte=Now() - GRACE).exists() or not there.exists()


def _forget_what_people_did() -> None:
    """End in silence the outages of servers that were suspended or are reached otherwise now."""
    kept = Q(server__connection_type=Server.ConnectionType.TUNNEL) & ~Q(
        server__status=Server.Status.SUSPENDED
    )
    Outage.objects.exclude(kept).delete()


def _absences() -> list[Absence]:
    """Return the nodes that are away and not told of; those that were never there are not missed."""
    mine = Session.objects.filter(server=OuterRef("pk"))
    missed = Server.objects.filter(
        Exists(mine),
        ~Exists(presence.live_sessions().filter(server=OuterRef("pk"))),
        connection_type=Server.ConnectionType.TUNNEL,
        outage=None,
    ).exclude(status=Server.Status.SUSPENDED)
    servers = {server.pk: server for server in missed.only("name", "agent_id", "connection_type", "status")}
    now = timezone.now()
    return [
        Absence(pk, servers[pk].name, servers[pk].agent_id, there.since, now, there.close_reason)
        for pk, there in presence.of(servers.values()).items()
        if there.state in (State.OFFLINE, State.RECONNECTING) and there.since is not None
    ]


def _returns() -> list[Absence]:
    live = presence.live_sessions().filter(server=OuterRef("server"))
    outages = Outage.objects.filter(Exists(live)).select_related("server")
    opened = dict(
        presence.live_sessions()
        .filter(server__in=[one.server_id for one in outages])
        .values_list("server", "opened_at")
    )
    return [_return(one, opened.get(one.server_id, timezone.now())) for one in outages]


def _return(outage: Outage, opened: datetime) -> Absence:
    server = outage.server
    return Absence(server.pk, server.name, server.agent_id, outage.since, opened)


def _twins() -> list[Absence]:
    """Return the nodes whose sessions replace each other, as two machines with one id do, and that were not told of."""
    lately = Session.objects.filter(
        close_reason=CloseReason.REPLACED,
        closed_at__gt=Now() - sessions.TWINS_WITHIN,
        server__connection_type=Server.ConnectionType.TUNNEL,
    ).exclude(server__status=Server.Status.SUSPENDED)
    found = lately.values("server", "server__name", "server__agent_id").annotate(
        times=Count("pk"), since=Min("closed_at"), until=Max("closed_at")
    )
    rows = list(found.filter(times__gte=sessions.TWINS_AFTER).order_by("server__name"))
    names = [_lease_of_twins(row["server"]) for row in rows]
    told = set(Lease.objects.filter(name__in=names, until__gt=Now()).values_list("name", flat=True))
    return [
        Absence(
            row["server"],
            row["server__name"],
            row["server__agent_id"],
            row["since"],
            row["until"],
            CloseReason.REPLACED,
        )
        for row in rows
        if _lease_of_twins(row["server"]) not in told
    ]


def _lease_of_twins(server: int) -> str:
    return f"twins-{server}"


def _mark_away(nodes: Iterable[Absence]) -> None:
    rows = [Outage(server_id=node.server, since=node.since) for node in nodes]
    try:
        with transaction.atomic():
            Outage.objects.bulk_create(rows, batch_size=BATCH, ignore_conflicts=True)
    except IntegrityError:  # a server was deleted while it was told of
        there = set(
            Server.objects.filter(pk__in=[row.server_id for row in rows]).values_list("pk", flat=True)
        )
        left = [row for row in rows if row.server_id in there]
        Outage.objects.bulk_create(left, batch_size=BATCH, ignore_conflicts=True)


def _mark_back(nodes: Iterable[Absence]) -> None:
    Outage.objects.filter(server__in=[node.server for node in nodes]).delete()


watch = Watch()
