"""The doctor's steps on the panel's own side: settings, database, Redis, workers, clocks."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from channels.layers import get_channel_layer
from django.core import checks
from django.db import Error as DatabaseError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models.functions import Now
from django.utils import timezone

from servers.text import visible
from tunnel import asgi_routes, layers
from tunnel.asgi_routes import Verdict
from tunnel.checks import DEFAULT_LINE, JOBS_LINE, LOAD_LINE, ROUTING_LINE
from tunnel.cli import doctor_upgrade
from tunnel.cli.exits import Exit
from tunnel.cli.finding import Finding
from tunnel.layers import Kind
from tunnel.models import AlertTrouble, Lease, Worker
from tunnel.worker import BACKGROUND

NEEDED = ("database", "migrations")  # the steps without which no node can be looked at
ROUTING_IDS = ("tunnel.E001", "tunnel.E007")  # told by a step of their own
SWEEP = "sweep"  # the lease that a background worker takes at each nudge
SWEEP_DEADLINE = 3.0  # seconds; a job is taken within milliseconds
LOOK = 0.05  # seconds between two looks at the lease
CLOCK_TOLERANCE = 2.0  # seconds; leases last 10
START_WEB = "start the panel: manage.py tunnel serve (or uvicorn, or runserver)"
START_BACKGROUND = "start it: manage.py runworker"
DATABASE_FIX = "start the database, or correct DATABASE_URL (DATABASES of an own panel)"
ALERTS_FIX = "correct EMAIL_HOST or TUNNEL_ALERT_WEBHOOK, or what answers there (docs/alerts.md)"
REDIS_FIX = "start Redis, or correct REDIS_URL (CHANNEL_LAYERS of an own panel)"


def steps(ca_file: str | None) -> Iterator[Finding]:
    """Run every step of the panel's own side."""
    layers_found = list(layers_carry())  # first: loading the site's application may start a Redis
    yield from settings()
    yield routing()
    try:
        yield database()
        pending = migrations()
        yield pending
        yield from layers_found
        if pending.ok:
            yield web_workers()
            yield background_worker()
            yield from alerts()
    except DatabaseError as exc:
        yield Finding("database", False, f"does not answer: {exc}", DATABASE_FIX)
        yield from layers_found
        return
    yield from doctor_upgrade.steps(ca_file)
    yield clock()


def settings() -> Iterator[Finding]:
    """Run the system checks of all apps."""
    try:
        every = checks.run_checks()
    except Exception as exc:  # noqa: BLE001 - they import the site's own modules, which may raise anything
        yield Finding("settings", False, f"the system checks cannot run: {type(exc).__name__}: {exc}")
        return
    found = [message for message in every if message.id not in ROUTING_IDS and not message.is_silenced()]
    errors = [message for message in found if message.level >= checks.ERROR]
    for message in found:
        if message in errors or str(message.id).startswith(("tunnel.", "servers.")):
            detail = f"{message.msg} ({message.id})"
            yield Finding("settings", False if message in errors else None, detail, message.hint or "")
    if not errors:
        yield Finding("settings", True, "the system checks find no error")


def routing() -> Finding:
    """Look for the agents' route in the ASGI application."""
    look = asgi_routes.look()
    if look.verdict is Verdict.FOUND:
        return Finding("routing", True, "/tunnel leads to the agents' consumer")
    if look.verdict is Verdict.HIDDEN:
        return Finding(
            "routing", None, "the ASGI application is not built of Channels' routers, so this cannot be seen"
        )
    if look.verdict is Verdict.BROKEN:
        return Finding("routing", False, look.reason, LOAD_LINE)
    reason = look.reason or "/tunnel stands inside an origin validator, and agents send no Origin"
    return Finding("routing", False, reason, ROUTING_LINE)


def database() -> Finding:
    """Ask the database something."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()
    return Finding("database", True, f"{connection.vendor} answers")


def migrations() -> Finding:
    """See whether the tables are those of this code."""
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        return Finding(
            "migrations", False, f"{len(missing)} not applied, {missing[0][0]} first", "manage.py migrate"
        )
    return Finding("migrations", True, "all applied")


def layers_carry() -> Iterator[Finding]:
    """Write to, and read from, each channel layer."""
    lines = {layers.DEFAULT: DEFAULT_LINE, layers.JOBS: JOBS_LINE}
    for alias, line in lines.items():
        step, kind = f"channel layer {alias}", layers.kind(alias)
        if kind in (Kind.MISSING, Kind.BROKEN):
            yield Finding(step, False, f"it is {kind.value}", line, Exit.NO_LAYER)
        elif kind is Kind.IN_MEMORY:
            detail = "it lives in memory: this process cannot reach tunnels, they live in the server process"
            yield Finding(step, False, detail, "set REDIS_URL", Exit.NO_LAYER)
        else:
            yield _carries(step, alias, kind)


def web_workers() -> Finding:
    """Count the processes that hold tunnels now."""
    alive = list(Worker.objects.filter(lease_until__gt=Now()))
    if not alive:
        detail = "none holds a lease; one that never had an agent holds none either"
        return Finding("web workers", False, detail, START_WEB)
    return Finding("web workers", True, f"{len(alive)} alive: {', '.join(map(str, alive))}")


def background_worker() -> Finding:
    """See that background work is done: the sweep's lease is held, or is taken after a nudge."""
    if not _sweep_held():
        if layers.kind(layers.JOBS) not in (Kind.CORE, Kind.OTHER) or not _nudged():
            return Finding(
                "background worker", False, "the channel layer jobs takes no nudge", REDIS_FIX, Exit.NO_LAYER
            )
        deadline = time.monotonic() + SWEEP_DEADLINE
        while not _sweep_held():
            if time.monotonic() > deadline:
                return Finding("background worker", False, "it does not answer a nudge", START_BACKGROUND)
            time.sleep(LOOK)
    return Finding("background worker", True, "alive")


def alerts() -> Iterator[Finding]:
    """Tell of each way that did not take the last alert; the other one may have, so nobody misses it."""
    for trouble in AlertTrouble.objects.all():
        detail = f"the last one by {trouble.way} was not taken: {visible(trouble.problem)}"
        yield Finding("alerts", False, detail, ALERTS_FIX)


def clock() -> Finding:
    """Compare the database's clock with this host's: leases are told by the first, pages by the second."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT CURRENT_TIMESTAMP")
        (told,) = cursor.fetchone()
    there = told if isinstance(told, datetime) else datetime.fromisoformat(str(told))
    apart = abs((timezone.now() - (there if there.tzinfo else there.replace(tzinfo=UTC))).total_seconds())
    if apart > CLOCK_TOLERANCE:
        detail = f"database and this host are {apart:.0f} s apart"
        return Finding("clock", False, detail, "set both hosts by NTP: timedatectl set-ntp true")
    return Finding("clock", True, "database and this host agree")


def _carries(step: str, alias: str, kind: Kind) -> Finding:
    began = time.monotonic()
    try:
        asyncio.run(layers.probe(alias))
    except Exception as exc:  # noqa: BLE001 - each kind of layer has errors of its own
        reason = "no answer in time" if isinstance(exc, TimeoutError) else str(exc) or type(exc).__name__
        return Finding(step, False, reason, REDIS_FIX, Exit.NO_LAYER)
    detail = f"{kind.value}: written and read in {(time.monotonic() - began) * 1000:.0f} ms"
    return Finding(step, True, detail)


def _sweep_held() -> bool:
    return Lease.objects.filter(name=SWEEP, until__gt=Now()).exists()


def _nudged() -> bool:
    async def nudge() -> None:
        async with asyncio.timeout(layers.PROBE_DEADLINE):
            await get_channel_layer(layers.JOBS).send(BACKGROUND, {"type": "tick"})

    try:
        asyncio.run(nudge())
    except Exception:  # noqa: BLE001 - told by the step of the layer itself
        return False
    return True
