"""What a connected agent costs its worker in memory."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psutil

from bench.figures import Figure
from bench.fleet import Fleet
from bench.panel import Panel

WARM = 50  # agents connected before, so that what is loaded once is not counted
HELD = 1_000
SETTLE = 5.0  # seconds; what agents said of themselves is written to the database meanwhile
LOOK = 0.25  # seconds between looks at the memory, of which the largest counts
KIBIBYTE = 1024
GOAL, LIMIT = 40.0, 48.0  # KiB


def measure(panel: Panel, server: str) -> Iterator[Figure]:
    """Let many agents connect to a worker that has just a few, and compare."""
    worker = psutil.Process(panel.cluster.processes["a"].pid)
    few = panel.identities([f"warm-{number:04d}" for number in range(WARM)], "a")
    many = panel.identities([f"held-{number:04d}" for number in range(HELD)], "a")
    with Fleet(few).wait():
        before = _resident(worker)
        with Fleet(many).wait():
            grown = (_resident(worker) - before) / KIBIBYTE / HELD
    promised = server == "uvicorn"
    name = f"memory of a connected agent, {server}, {HELD:,} held"
    yield Figure(name, "KiB", (grown,), LIMIT if promised else None, goal=GOAL if promised else None)


def _resident(worker: psutil.Process) -> int:
    until = time.monotonic() + SETTLE
    most = 0
    while time.monotonic() < until:
        most = max(most, int(worker.memory_info().rss))
        time.sleep(LOOK)
    return most
