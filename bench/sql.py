"""How much SQL stands on the path of a command that has no actor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bench.bare import names
from bench.figures import Figure
from bench.fleet import Fleet
from bench.panel import Panel

RUNS = 7
COMMANDS = (
    100  # of a run, done within some tenths of a second; workers have SQL of their own every few seconds
)
KINDS = {"bare": "asend_command", "node": "nodes.arun"}
WHERE = {"a": "same worker", "b": "other worker"}


def measure(panel: Panel) -> Iterator[Figure]:
    """Count all SQL of both workers during commands whose routes are known."""
    with Fleet(panel.identities(names()[:2], "a")).wait():
        for kind, called in KINDS.items():
            for worker, where in WHERE.items():
                values = tuple(_statements(panel, worker, kind) for _ in range(RUNS + 1))[1:]
                yield Figure(f"SQL of {COMMANDS} × {called}, {where}", "queries", values, 0, goal=0)


def _statements(panel: Panel, worker: str, kind: str) -> float:
    before = _counted(panel)
    visitor = panel.visitor(worker)
    answer: dict[str, Any] = visitor.json(
        f"/bench/dispatch/?agents={','.join(names()[:2])}&kind={kind}&count={COMMANDS}&at_once=8"
    )
    visitor.close()
    others = sum(_counted(panel)[name] - before[name] for name in WHERE if name != worker)
    return float(answer["statements"] + others)


def _counted(panel: Panel) -> dict[str, int]:
    found = {}
    for worker in WHERE:
        visitor = panel.visitor(worker)
        found[worker] = int(visitor.json("/bench/statements/")["statements"])
        visitor.close()
    return found
