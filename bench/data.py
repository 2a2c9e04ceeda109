"""Makes the panel as large as a figure needs it: servers with figures, tags and sessions, most of them active."""

import uuid
from datetime import timedelta

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from servers.models import Server, Tag
from tunnel import sessions
from tunnel.models import CloseReason, Session, Worker

BATCH = 500  # rows an INSERT; SQLite takes only so many parameters
ENDED = 8  # sessions of a server that are over
AWAY = 7  # every so-manieth server has no tunnel now
USAGE = {"cpu": 12.5, "ram": 2048, "ramTotal": 8192, "disk": 40.5, "diskUsed": 40_500, "diskTotal": 100_000}


@transaction.atomic
def grow(servers: int) -> None:
    """Add servers until there are so many."""
    there = Server.objects.count()
    made = Server.objects.bulk_create([_server(number) for number in range(there, servers)], BATCH)
    tag, _ = Tag.objects.get_or_create(name="measured")
    tag.servers.add(*made[::3])
    worker = _worker()
    Session.objects.bulk_create([row for server in made for row in _sessions(server, worker)], BATCH)


def _server(number: int) -> Server:
    return Server(
        name=f"node-{number:05d}",
        agent_id=f"agent-{number:05d}",
        status="active",
        agent_version="0.1.0",
        host_facts={"platform": "Debian GNU/Linux 12 (bookworm)", "arch": "x86_64"},
        last_usage=USAGE,
        last_usage_at=timezone.now(),
        rtt_seconds=0.02,
    )


def _worker() -> Worker:
    """A worker whose lease outlives the measurement."""
    key = uuid.uuid4()
    sessions.open_worker(key, f"inbox-{key}")
    Worker.objects.filter(pk=key).update(lease_until=Now() + timedelta(hours=1))
    return Worker.objects.get(pk=key)


def _sessions(server: Server, worker: Worker) -> list[Session]:
    now = timezone.now()
    ended = [
        Session(
            server=server,
            worker=worker,
            secret_version=1,
            opened_at=now - timedelta(days=days, hours=20),
            closed_at=now - timedelta(days=days),
            close_reason=CloseReason.NETWORK_LOST,
        )
        for days in range(1, ENDED + 1)
    ]
    if server.pk % AWAY == 0:
        return ended
    return [*ended, Session(server=server, worker=worker, secret_version=1, opened_at=now)]
