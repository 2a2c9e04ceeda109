"""How soon all agents of a worker are back when it is restarted, and how hard they knock."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

from bench.figures import Figure
from bench.fleet import PATIENCE, Fleet, peak
from bench.panel import Panel
from tests.e2e.cluster import until

AGENTS = 500
ORDER = ("a", "b")  # the worker that holds them all, then the one to which most of them went
GOAL, LIMIT = 6.0, 10.0  # seconds
MOST_ATTEMPTS = 150  # a second, at one worker


def measure(panel: Panel) -> Iterator[Figure]:
    """Restart one worker after the other."""
    identities = panel.identities([f"back-{number:03d}" for number in range(AGENTS)], ORDER[0])
    with Fleet(identities, again=True).wait() as fleet:
        runs = [_restart(panel, fleet, worker) for worker in ORDER]
    seconds, attempts = zip(*runs, strict=True)
    yield Figure(f"{AGENTS} agents back after a restart", "s", seconds, LIMIT, goal=GOAL)
    yield Figure("attempts to connect meanwhile, peak", "attempts/s", attempts, MOST_ATTEMPTS, always=True)


def _restart(panel: Panel, fleet: Fleet, worker: str) -> tuple[float, float]:
    """Return the seconds from SIGTERM until the last one is back, and the most attempts in a second."""
    began = time.monotonic()
    panel.cluster.kill(worker, signal.SIGTERM)
    panel.cluster.start_worker(worker)
    until(lambda: not fleet.away_since(began), PATIENCE, "all agents are back")
    return max(fleet.times("open", began)) - began, float(peak(fleet.times("dial", began)))
