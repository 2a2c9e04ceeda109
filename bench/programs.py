"""`exec` of `true` by the real agent: what a person waits for a program that does nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import dispatch, floor
from bench.figures import Figure
from bench.panel import Panel
from tests.e2e.cluster import until
from tests.e2e.real_agent import RealAgent

TOGETHER = 300  # commands of a run
GOAL, LIMIT = 2.2, 3.0  # milliseconds
GOAL_RATE, LIMIT_RATE = 500, 350  # commands a second


def measure(panel: Panel, floors: dict[str, Figure]) -> Iterator[Figure]:
    """Time it one by one and 64 at a time, in the worker that holds the tunnel; `floors` are compared with."""
    name = "programs"

    def ask(_: str, query: str) -> dict[str, Any]:
        return panel.json("a", f"/bench/dispatch/?{query}")

    with TemporaryDirectory(prefix="yumna-bench-") as folder:
        agent = RealAgent(Path(folder) / name, [panel.cluster.url("a")], name, panel.cluster.add(name))
        try:
            until(lambda: "tunnel open" in agent.log, 20, f"the agent connects: {agent.log}")
            values = dispatch.medians(ask, "a", [name], kind="exec")
            yield Figure("exec of true", "ms", values, LIMIT, base=floors.get(floor.SPAWN), goal=GOAL)
            values = dispatch.rates(ask, "a", [name], TOGETHER, kind="exec")
            base = floors.get(floor.SPAWNS)
            yield Figure(
                "exec of true at once", "commands/s", values, LIMIT_RATE, base=base, goal=GOAL_RATE, more=True
            )
        finally:
            agent.stop()
