"""A panel of many servers, as a busy one looks after some weeks: for the benchmarks, and for tests of large lists."""

from __future__ import annotations

import random
import uuid
from datetime import timedelta
from typing import Any

from django.db.models.functions import Now
from django.utils import timezone

from servers.models import Server, Tag
from tunnel import sessions
from tunnel.models import CloseReason, Refusal, RefusalReason, Sample, Session, Worker

TAGS = 24
SESSIONS_A_SERVER = 8  # ended ones, besides the open one
SAMPLES_A_SERVER = 20
BATCH = 500  # rows an INSERT; SQLite takes only so many parameters

# In a hundred servers so many are offline, reconnecting, never connected, suspended, reached directly.
AWAY = {"offline": 6, "reconnecting": 2, "never": 3, "suspended": 2, "direct": 2}


def fill(servers: int, *, seed: int = 1, samples: int = SAMPLES_A_SERVER, prefix: str = "node") -> Worker:
    """Add so many servers with tags, sessions, figures, samples and refusals; return the worker that holds the tunnels.

    The same `seed` gives the same panel. The worker's lease lasts an hour. Call it in a transaction to be fast.
    """
    dice = random.Random(seed)
    worker = _worker()
    made = Server.objects.bulk_create(
        [_server(f"{prefix}-{number:05d}", _kind(number), dice) for number in range(servers)], BATCH
    )
    _tag(made, dice)
    rows = [row for server in made for row in _sessions(server, worker, _kind_of(server), dice)]
    Session.objects.bulk_create(rows, BATCH)
    Sample.objects.bulk_create([row for server in made for row in _samples(server, samples, dice)], BATCH)
    refused = [server for server in made[::3] if _kind_of(server) in ("offline", "suspended")]
    Refusal.objects.bulk_create([_refusal(server, dice) for server in refused], BATCH)
    return worker


def _worker() -> Worker:
    key = uuid.uuid4()
    sessions.open_worker(key, f"inbox-{key}")
    Worker.objects.filter(pk=key).update(lease_until=Now() + timedelta(hours=1))
    return Worker.objects.get(pk=key)


def _kind(number: int) -> str:
    place = number * 37 % 100  # so that a small panel has some of each, too
    for kind, many in AWAY.items():
        if place < many:
            return kind
        place -= many
    return "active"


def _kind_of(server: Server) -> str:
    return _kind(int(server.name.rpartition("-")[2]))


def _server(name: str, kind: str, dice: random.Random) -> Server:
    return Server(
        name=name,
        agent_id=f"agent-{name}",
        status="suspended" if kind == "suspended" else "unknown" if kind == "never" else "active",
        connection_type="ssh" if kind == "direct" else "tunnel",
        agent_version="" if kind in ("never", "direct") else dice.choice(["0.1.0", "0.1.0", "0.0.9"]),
        host_facts={}
        if kind == "never"
        else {"platform": "Debian GNU/Linux 12 (bookworm)", "arch": "x86_64"},
        capabilities=["system", "agent"],
        last_usage=None if kind == "never" else _usage(dice),
        last_usage_at=None if kind == "never" else timezone.now(),
        rtt_seconds=None if kind == "never" else dice.uniform(0.005, 0.3),
    )


def _usage(dice: random.Random) -> dict[str, Any]:
    return {
        "cpu": round(dice.uniform(0, 100), 1),
        "ram": dice.randint(100, 8000),
        "ramTotal": 8192,
        "disk": round(dice.uniform(0, 100), 1),
        "diskUsed": dice.randint(1000, 90_000),
        "diskTotal": 100_000,
        "uptime": dice.randint(60, 10_000_000),
        "load": [0.1, 0.2, 0.3],
    }


def _tag(servers: list[Server], dice: random.Random) -> None:
    names = [f"tag-{number:02d}" for number in range(TAGS)]
    Tag.objects.bulk_create([Tag(name=name) for name in names], ignore_conflicts=True)
    tags = list(Tag.objects.filter(name__in=names))
    through = Server.tags.through
    through._default_manager.bulk_create(
        [
            through(server_id=server.pk, tag_id=tag.pk)
            for server in servers
            for tag in dice.sample(tags, dice.randint(0, 3))
        ],
        BATCH,
    )


def _sessions(server: Server, worker: Worker, kind: str, dice: random.Random) -> list[Session]:
    if kind in ("never", "direct"):
        return []
    now = timezone.now()
    last = now - timedelta(seconds=20 if kind == "reconnecting" else dice.randint(300, 900_000))
    ended = [_ended(server, worker, last - timedelta(days=days), dice) for days in range(SESSIONS_A_SERVER)]
    if kind != "active":
        return ended
    opened = last + timedelta(seconds=5)
    return [
        *ended,
        Session(server=server, worker=worker, secret_version=1, opened_at=opened, address="203.0.113.7"),
    ]


def _ended(server: Server, worker: Worker, at: Any, dice: random.Random) -> Session:
    return Session(
        server=server,
        worker=worker,
        secret_version=1,
        address="203.0.113.7",
        opened_at=at - timedelta(hours=20),
        closed_at=at,
        close_reason=dice.choice([CloseReason.NETWORK_LOST, CloseReason.SILENT, CloseReason.AGENT_STOPPED]),
    )


def _samples(server: Server, many: int, dice: random.Random) -> list[Sample]:
    if server.last_usage_at is None:
        return []
    return [
        Sample(
            server=server,
            at=server.last_usage_at - timedelta(seconds=30 * number),
            cpu=round(dice.uniform(0, 100), 1),
            ram=round(dice.uniform(0, 100), 1),
            disk=50.0,
            rtt_seconds=0.03,
        )
        for number in range(many)
    ]


def _refusal(server: Server, dice: random.Random) -> Refusal:
    return Refusal(
        server=server,
        reason=RefusalReason.WRONG_SECRET,
        address="203.0.113.9",
        times=dice.randint(1, 500),
        first_at=timezone.now() - timedelta(hours=5),
        last_at=timezone.now(),
    )
