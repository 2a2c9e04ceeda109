"""The pages that show all servers: seconds to the last byte from a real worker, and how many queries they take."""

from __future__ import annotations

import json

from bench.figures import Figure
from bench.panel import Panel

RUNS = 7
FEWEST = 3  # runs of a page that is far too slow
ENOUGH = 10.0  # seconds of runs after which no more are made
MILLI = 1000.0
PAGES = {"Node Orchestration": "/admin/tunnel/nodes/", "server list": "/admin/servers/server/"}
FILL = "from bench.data import grow; grow({servers})"
COUNT = "from bench.queries import count; count({paths!r})"


def fill(panel: Panel, servers: int) -> None:
    """Let the panel have so many servers altogether."""
    panel.cluster.python(FILL.format(servers=servers), seconds=180)


def measure(
    panel: Panel, servers: int, most: float, bases: dict[str, Figure] | None = None
) -> dict[str, Figure]:
    """Return the seconds of each page; the first request, which compiles templates, is not counted."""
    found = {}
    for name, path in PAGES.items():
        base = (bases or {}).get(name)
        values = _seconds(panel, path)
        found[name] = Figure(
            f"{name}, {servers:,} servers",
            "ms",
            tuple(value * MILLI for value in values),
            limit=most * MILLI,
            base=base,
        )
    return found


def _seconds(panel: Panel, path: str) -> list[float]:
    visitor = panel.visitor("a")
    found: list[float] = []
    visitor.get(path)
    while len(found) < FEWEST or (len(found) < RUNS and sum(found) < ENOUGH):
        answer = visitor.get(path)
        if answer.status != 200:
            raise RuntimeError(f"{path} answers {answer.status}")
        found.append(answer.seconds)
    visitor.close()
    return found


def queries(panel: Panel) -> dict[str, int]:
    """Return how many queries each page takes now."""
    printed = panel.cluster.python(COUNT.format(paths=PAGES), seconds=120)
    return dict(json.loads(printed.splitlines()[-1]))


def constant(few: dict[str, int], many: dict[str, int]) -> list[Figure]:
    """Return the queries of each page as figures that promise not to grow."""
    return [
        Figure(
            f"{name}, queries with few and many servers",
            "queries",
            (few[name], many[name]),
            few[name],
            always=True,
        )
        for name in PAGES
    ]
