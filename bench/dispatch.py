"""The dispatch itself, which everything else is compared with: how long a command takes, how many a second."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any

from bench.bare import names
from bench.figures import Figure
from bench.fleet import Fleet
from bench.panel import Panel

RUNS = 5
ONE_BY_ONE = 300  # commands of a run, one after another
AT_ONCE = 64
TOGETHER = 5_000  # commands of a run, AT_ONCE at a time over all agents of the fleet
WARM = 200  # commands that are not counted: routes, imports
MILLI = 1000.0
WHERE = {"a": "same worker", "b": "other worker"}
GOALS = {"a": (0.4, 0.6), "b": (1.0, 1.2)}  # milliseconds: the goal, and at least
RATES = {"a": (9_000, 8_000), "b": (8_000, 6_000)}  # commands a second, promised under Uvicorn
TIMES_GROUP_SEND = 5.0  # so many times what a group_send does a second

Ask = Callable[[str, str], dict[str, Any]]  # a worker's name and a query


def measure(panel: Panel, server: str, usual: dict[str, Figure]) -> Iterator[Figure]:
    """Time commands in the worker that holds the tunnels, and from the other one; `usual` are rates to compare with.

    One agent is connected to that other worker, too, as behind every balancer.
    """
    everybody = panel.identities(names(), "a") + panel.identities([f"neighbour-{server}"], "b")

    def ask(worker: str, query: str) -> dict[str, Any]:
        return panel.json(worker, f"/bench/dispatch/?{query}")

    with Fleet(everybody).wait():
        yield from _times(ask, server)
        for worker in WHERE:
            yield from _rates(ask, server, worker, usual.get(worker))


def times(panel: Panel, agent_id: str, worker: str, where: str) -> Figure:
    """Return the middle time of a command to one agent in each run."""
    return Figure(
        f"dispatch, {where}",
        "ms",
        medians(lambda _, query: panel.json(worker, f"/bench/dispatch/?{query}"), worker, [agent_id]),
    )


def medians(
    ask: Ask, worker: str, agents: list[str], *, kind: str = "bare", runs: int | None = None, count: int = 0
) -> tuple[float, ...]:
    """Return the middle time of a command in each run, in milliseconds."""
    query = f"agents={','.join(agents)}&kind={kind}&at_once=1&count="
    ask(worker, f"{query}{len(agents) + 10}")
    found = (ask(worker, f"{query}{count or ONE_BY_ONE}")["each"] for _ in range(runs or RUNS))
    return tuple(statistics.median(each) * MILLI for each in found)


def rates(
    ask: Ask, worker: str, agents: list[str], count: int, *, kind: str = "bare", runs: int | None = None
) -> tuple[float, ...]:
    """Return how many commands a second get their answer, in each run of `count`."""
    query = f"agents={','.join(agents)}&kind={kind}&at_once={AT_ONCE}&count="
    ask(worker, f"{query}{min(WARM, count)}")
    return tuple(count / float(ask(worker, f"{query}{count}")["all"]) for _ in range(runs or RUNS))


def _times(ask: Ask, server: str) -> Iterator[Figure]:
    base = None
    for worker, where in WHERE.items():
        goal, limit = GOALS[worker]
        values = medians(ask, worker, names())
        figure = Figure(f"dispatch, {server}, {where}", "ms", values, limit, base=base, goal=goal)
        base = base or figure
        yield figure


def _rates(ask: Ask, server: str, worker: str, usual: Figure | None) -> Iterator[Figure]:
    goal, limit = RATES[worker] if server == "uvicorn" else (None, None)
    values = rates(ask, worker, names(), TOGETHER)
    name = f"dispatch at once, {server}, {WHERE[worker]}"
    yield Figure(name, "commands/s", values, limit, base=usual, goal=goal, more=True)
    if usual is not None and server == "uvicorn":
        ratios = tuple(value / usual.median for value in values)
        yield Figure(f"{name}, over {usual.name}", "×", ratios, TIMES_GROUP_SEND, more=True)
