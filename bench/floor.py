"""The floor: what the same libraries cost with nothing of ours between."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from bench import bare, dispatch
from bench.dispatch import MILLI, TOGETHER
from bench.figures import Figure
from tests.e2e.cluster import ROOT

COUNT = 300  # runs of `true`
THREADS = 8  # as many as the agent has

SPAWN, SPAWNS = "floor: spawn of true", f"floor: spawns at once, {THREADS} threads"
APPLICATION = "bench.echo:application"


def measure() -> Iterator[Figure]:
    """Time an echo over ws and over wss, and the start of a program."""
    yield from echo(tls=False)
    yield from echo(tls=True)
    yield from spawn()


def echo(*, tls: bool) -> Iterator[Figure]:
    """Ask light agents from a bare Uvicorn: JSON, the socket, and back."""
    scheme = "wss" if tls else "ws"
    with bare.running(bare.uvicorn(APPLICATION), "a", tls=tls) as running, running.fleet("a"):

        def ask(worker: str, query: str) -> dict[str, Any]:
            return running.ask(worker, f"/?{query}")

        yield Figure(f"floor: echo over {scheme}", "ms", dispatch.medians(ask, "a", bare.names()))
        rates = dispatch.rates(ask, "a", bare.names(), TOGETHER)
        yield Figure(f"floor: echoes at once over {scheme}", "commands/s", rates, more=True)


def spawn() -> Iterator[Figure]:
    """Start `true` from Python, one by one and from as many threads as the agent has."""
    single = [_spawned(1) for _ in range(dispatch.RUNS)]
    values = tuple(statistics.median(run["each"]) * MILLI for run in single)
    yield Figure(SPAWN, "ms", values)
    many = (_spawned(THREADS)["all"] for _ in range(dispatch.RUNS))
    rates = tuple(COUNT / seconds for seconds in many)
    yield Figure(SPAWNS, "commands/s", rates, more=True)


def _spawned(threads: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.spawn", str(COUNT), str(threads)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    return dict(json.loads(done.stdout))
