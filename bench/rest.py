"""A command over REST on a connection that stays open, against the dispatch that it wraps."""

from __future__ import annotations

import statistics
import time

from bench.dispatch import times
from bench.figures import Figure
from bench.panel import Panel
from tests.bench_rest import MAKE_TOKEN, Caller

RUNS = 5
WARM_UP = 50  # commands that are not counted: imports, caches, the first connection to the database
COMMANDS = 100  # of a run
MILLI = 1000.0
PROMISED = 4.0  # milliseconds over the dispatch
COMMAND = {"service": "system", "action": "getUsage"}


def measure(panel: Panel) -> list[Figure]:
    """Return the middle time of a command over REST, what the dispatch takes of it, and what is over."""
    name = "over-rest"
    agent = panel.agent(name, "a")
    try:
        bare = times(panel, name, "a", "beside REST")
        medians = _runs(panel, f"servers/{name}/commands/")
    finally:
        agent.stop()
    over = tuple(median - bare.median for median in medians)
    return [
        bare,
        Figure("REST command", "ms", medians, base=bare),
        Figure("REST command over the dispatch", "ms", over, PROMISED),
    ]


def _runs(panel: Panel, path: str) -> tuple[float, ...]:
    token = panel.cluster.python(MAKE_TOKEN).splitlines()[-1]
    caller = Caller(panel.cluster.ports["a"], token)
    for _ in range(WARM_UP):
        _seconds(caller, path)
    return tuple(
        statistics.median(_seconds(caller, path) for _ in range(COMMANDS)) * MILLI for _ in range(RUNS)
    )


def _seconds(caller: Caller, path: str) -> float:
    started = time.perf_counter()
    status, answer = caller("POST", path, COMMAND)
    seconds = time.perf_counter() - started
    if status != 200:
        raise RuntimeError(f"{path} answers {status}: {answer}")
    return seconds
