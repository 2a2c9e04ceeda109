"""The dispatch itself, which everything else is compared with: how long a command takes, how many a second."""

from __future__ import annotations

import statistics

from bench.figures import Figure
from bench.panel import Panel

RUNS = 5
ONE_BY_ONE = 300  # commands of a run, one after another
TOGETHER = 2_000  # commands of a run, 32 at a time
MILLI = 1000.0


def measure(panel: Panel, server: str) -> list[Figure]:
    """Return time and rate in the worker that holds the tunnel, and from the other one."""
    agent = panel.agent(f"dispatch-{server}", "a")
    try:
        same = times(panel, agent_id=f"dispatch-{server}", worker="a", where=f"{server}, same worker")
        other = times(panel, agent_id=f"dispatch-{server}", worker="b", where=f"{server}, other worker")
        return [
            same,
            Figure(other.name, other.unit, other.values, base=same),
            rate(panel, f"dispatch-{server}", "a", f"{server}, same worker"),
            rate(panel, f"dispatch-{server}", "b", f"{server}, other worker"),
        ]
    finally:
        agent.stop()


def times(panel: Panel, agent_id: str, worker: str, where: str) -> Figure:
    """Return the middle time of a command in each run."""
    path = f"/bench/dispatch/{agent_id}/?count={ONE_BY_ONE}"
    _warm(panel, agent_id, worker)
    visitor = panel.visitor(worker)
    medians = tuple(statistics.median(visitor.get(path).json()["each"]) * MILLI for _ in range(RUNS))
    visitor.close()
    return Figure(f"dispatch, {where}", "ms", medians)


def rate(panel: Panel, agent_id: str, worker: str, where: str) -> Figure:
    """Return how many commands a second get their answer."""
    visitor = panel.visitor(worker)
    path = f"/bench/dispatch/{agent_id}/?together&count={TOGETHER}"
    rates = tuple(TOGETHER / float(visitor.get(path).json()["all"]) for _ in range(RUNS))
    visitor.close()
    return Figure(f"dispatch at once, {where}", "commands/s", rates)


def _warm(panel: Panel, agent_id: str, worker: str) -> None:
    """Let caches fill: a panel that runs has found its routes."""
    visitor = panel.visitor(worker)
    answer = visitor.get(f"/bench/dispatch/{agent_id}/?count=20")
    visitor.close()
    if answer.status != 200:
        raise RuntimeError(f"the dispatch answers {answer.status}: {answer.body[:500]!r}")
