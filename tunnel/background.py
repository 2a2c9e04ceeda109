"""The background worker's jobs: `manage.py runworker`. A job is a nudge, the database is the truth."""

import asyncio
import logging
import math
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from channels.consumer import AsyncConsumer
from django.db import Error as DatabaseError
from django.db.models.functions import Now

from servers import records
from servers.models import CommandRecord, Server
from servers.threads import in_thread
from tunnel import alerts, figures, samples, sessions
from tunnel.conf import settings
from tunnel.dispatch import MAX_TIMEOUT
from tunnel.models import IdempotencyKey, Lease, Recording, Refusal, Sample, Session, Shell, Worker
from tunnel.recordings import rows as recordings

log = logging.getLogger("tunnel.background")

SWEEP_EVERY = 9.0  # seconds, besides the nudges of web workers
SWEEP_LEASE = 8.0  # seconds one background worker sweeps alone; web workers nudge each 9
OVERDUE = timedelta(
    seconds=5
)  # a worker that could not renew tries again each 3, and may not have missed more
HELD_UP = 1.0  # seconds; a database that lets us wait so long for one statement let the workers wait too
PRUNE_EVERY = 3600.0  # seconds
FORGOTTEN_EVERY = 60.0  # seconds
FORGOTTEN_AFTER = timedelta(seconds=2 * MAX_TIMEOUT)  # no caller waits so long: it is dead
PRUNE_BATCH = 1_000  # rows a statement deletes, so that no table is locked for long
MAX_ROWS = 5_000  # figures in one job
KEEP_KEYS = timedelta(days=1)  # the reply to an idempotency key; who asks again later gives a new command
STALE_WORKERS = timedelta(days=1)  # a worker row without sessions is kept so long after its lease
NAME = str(uuid.uuid4())  # of this process, as the holder of leases

_reachable_since: float | None = None
_ended_forgotten = -math.inf
_pruned = -math.inf


class BackgroundConsumer(AsyncConsumer):  # type: ignore[misc] # Channels has no types
    """Takes the jobs of channel `tunnel-background`. A job that fails is logged: the next nudge repeats it."""

    channel_layer_alias = None

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Run a job; none may end the process, which would lose the jobs fetched with it."""
        jobs = {"tick": self._tick, "figures.write": self._write_figures}
        job = jobs.get(message.get("type", ""))
        if job is None:
            log.warning("unknown job %r", str(message.get("type"))[:50])
            return
        try:
            await job(message)
        except DatabaseError as exc:
            _unreachable()
            log.warning("the database is away: %s", exc)
        except Exception:
            log.exception("a job failed")

    async def _tick(self, message: dict[str, Any]) -> None:  # noqa: ARG002 - a job
        await in_thread(sweep)

    async def _write_figures(self, message: dict[str, Any]) -> None:
        await in_thread(write_figures, message.get("rows", [])[:MAX_ROWS])


async def keep_sweeping() -> None:
    """Sweep from time to time without being told to: where no web worker is left, the dead are missed too."""
    consumer = BackgroundConsumer()
    while True:
        await consumer.dispatch({"type": "tick"})
        await asyncio.sleep(SWEEP_EVERY)


def write_figures(rows: list[list[Any]]) -> int:
    """Write the newest figures of many servers, and samples for their charts; return how many were newer than before."""
    newest: dict[int, tuple[dict[str, Any], float | None, datetime]] = {}
    for server, usage, rtt, at in rows:
        at = min(at, time.time())  # a clock that is ahead must not keep later figures out
        newest[int(server)] = (figures.clean(usage), figures.clean_rtt(rtt), datetime.fromtimestamp(at, UTC))
    stale = [
        server
        for server in Server.objects.filter(pk__in=newest).only("pk", "last_usage_at")
        if server.last_usage_at is None or server.last_usage_at < newest[server.pk][2]
    ]
    for server in stale:
        server.last_usage, server.rtt_seconds, server.last_usage_at = newest[server.pk]
        server.last_seen = server.last_usage_at
    samples.add((server.pk, newest[server.pk]) for server in stale)
    return Server.objects.bulk_update(
        stale, ["last_usage", "rtt_seconds", "last_usage_at", "last_seen"], batch_size=200
    )


def sweep() -> None:
    """End what the dead left open and prune what is too old, unless another process does so now."""
    global _reachable_since, _ended_forgotten, _pruned
    asked = time.monotonic()
    if not sessions.take_lease("sweep", NAME, SWEEP_LEASE):
        return
    now = time.monotonic()
    if _reachable_since is None or now - asked > HELD_UP:
        _reachable_since = now
    # After an outage every lease has run out; the workers get the time of one lease to renew theirs. A short outage
    # between two sweeps is not noticed here, hence OVERDUE.
    if now - _reachable_since >= sessions.LEASE.total_seconds():
        for agent_id in sessions.end_lost(OVERDUE):
            log.info("the worker of a session is dead agent=%s", agent_id)
    if now - _ended_forgotten >= FORGOTTEN_EVERY:
        _ended_forgotten = now
        records.end_forgotten(FORGOTTEN_AFTER)
    if now - _pruned >= PRUNE_EVERY:
        _pruned = now
        prune()
    if now - _reachable_since >= sessions.LEASE.total_seconds():
        alerts.watch.look()  # last, for a setting that cannot be used raises here


def prune() -> dict[str, int]:
    """Delete what is older than the settings keep; return how many rows of each kind."""
    ended = Now() - timedelta(days=settings.KEEP_SESSIONS)
    finished = Now() - timedelta(days=settings.KEEP_COMMANDS)
    old_sessions = Session.objects.filter(closed_at__lt=ended)
    old_commands = CommandRecord.objects.filter(created_at__lt=finished)
    old_samples = Sample.objects.filter(at__lt=Now() - timedelta(hours=settings.KEEP_SAMPLES))
    old_keys = IdempotencyKey.objects.filter(created_at__lt=Now() - KEEP_KEYS)
    dead = Worker.objects.filter(lease_until__lt=Now() - STALE_WORKERS, sessions=None)
    return {
        "recordings": recordings.remove_old(),
        "removed recordings": _delete(Recording.objects.filter(removed_at__isnull=False, ended_at__lt=ended)),
        "sessions": _delete(old_sessions),
        "commands": _delete(old_commands),
        "samples": _delete(old_samples),
        "shells": _delete(Shell.objects.filter(ended_at__lt=ended)),
        "refusals": _delete(Refusal.objects.filter(last_at__lt=ended)),
        "idempotency keys": _delete(old_keys),
        "workers": _delete(dead),
        "leases": _delete(Lease.objects.filter(until__lt=Now() - STALE_WORKERS)),
    }


def _unreachable() -> None:
    global _reachable_since
    _reachable_since = None


def _delete(rows: Any) -> int:
    count = 0
    while True:
        batch = list(rows.values_list("pk", flat=True)[:PRUNE_BATCH])
        if not batch:
            return count
        rows.model.objects.filter(pk__in=batch).delete()
        count += len(batch)
