"""The figures of the last hours, for charts: one sample a server and heartbeat, pruned by the background worker."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import QuerySet
from django.utils import timezone

from servers.models import Server
from tunnel import figures
from tunnel.models import Sample

LAST_HOUR: Final = timedelta(hours=1)
BATCH: Final = 500  # rows of an INSERT; each has eight values, and SQLite takes 32,766 in a statement

Figures = tuple[dict[str, Any], float | None, datetime]  # cleaned usage, round trip in seconds, when


def add(fresh: Iterable[tuple[int, Figures]]) -> None:
    """Keep the figures of servers, by primary key; what was kept before for the same moment stays."""
    Sample.objects.bulk_create(
        [_sample(server, told) for server, told in fresh], batch_size=BATCH, ignore_conflicts=True
    )


def last_hour(server: Server) -> QuerySet[Sample]:
    """Return the samples of the last hour, oldest first."""
    return Sample.objects.filter(server=server, at__gt=timezone.now() - LAST_HOUR).order_by("at")


def _sample(server: int, told: Figures) -> Sample:
    usage, rtt, at = told
    return Sample(
        server_id=server,
        at=at,
        cpu=usage.get("cpu"),
        ram=figures.percent_of(usage, "ramPercent", "ram", "ramTotal"),
        disk=figures.percent_of(usage, "disk", "diskUsed", "diskTotal"),
        rtt_seconds=rtt,
        net_rx=usage.get("netRx"),
        net_tx=usage.get("netTx"),
    )
