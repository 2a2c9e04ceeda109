"""A command over REST on a connection that stays open, against the dispatch that it wraps."""

from __future__ import annotations

import statistics

from bench.dispatch import times
from bench.figures import Figure
from bench.panel import Panel

RUNS = 5
COMMANDS = 100  # of a run
MILLI = 1000.0
PROMISED = 4.0  # milliseconds over the dispatch


def measure(panel: Panel) -> list[Figure]:
    """Return the middle time of a command over REST, what the dispatch takes of it, and what is over."""
    name = "over-rest"
    path = f"/api/tunnel/v1/servers/{name}/commands/"
    agent = panel.agent(name, "a")
    try:
        bare = times(panel, name, "a", "before REST")
        medians = tuple(_run(panel, path) for _ in range(RUNS))
    finally:
        agent.stop()
    over = tuple(median - bare.median for median in medians)
    return [
        bare,
        Figure("REST command", "ms", medians, base=bare),
        Figure("REST command over the dispatch", "ms", over, PROMISED),
    ]


def _run(panel: Panel, path: str) -> float:
    visitor = panel.visitor("a")
    answers = [visitor.post(path, {"service": "system", "action": "getUsage"}) for _ in range(COMMANDS)]
    visitor.close()
    wrong = [answer for answer in answers if answer.status != 200]
    if wrong:
        raise RuntimeError(f"{path} answers {wrong[0].status}: {wrong[0].body[:300]!r}")
    return statistics.median(answer.seconds for answer in answers) * MILLI
