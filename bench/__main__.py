"""`make bench`: measure everything, print it, and write it into docs/benchmarks.md with `--write`."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench import (
    dispatch,
    floor,
    held,
    idle,
    live,
    machine,
    outage,
    pages,
    programs,
    rest,
    restart,
    sql,
    terminal,
    usual,
)
from bench.figures import HEAD, Figure
from bench.panel import Panel, running

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
FENCE = re.compile(r"(<!-- figures -->\n).*(<!-- end of figures -->\n)", re.DOTALL)
FEW, MANY = 1_000, 10_000
PROMISED_FEW, PROMISED_MANY = 0.3, 1.0  # seconds a page of so many servers may take
PARTS = (
    "floor",
    "usual",
    "dispatch",
    "sql",
    "exec",
    "idle",
    "outage",
    "rest",
    "pages",
    "restart",
    "memory",
    "serve",
    "terminal",
)


def main() -> int:
    """Measure; return 1 when a promise is not kept."""
    options = _parser().parse_args()
    started = time.monotonic()
    lines = [*machine.lines(), "", HEAD]
    print("\n".join(lines), flush=True)
    figures = []
    for figure in measure(frozenset(options.only or PARTS)):
        print(figure.row(), flush=True)
        figures.append(figure)
        lines.append(figure.row())
    print(f"\nmeasured in {time.monotonic() - started:.0f} s")
    if options.write:
        write("\n".join(lines))
    for figure in figures:
        if figure.kept and not figure.reached:
            print(f"short of its goal: {figure.name}")
    broken = [figure.name for figure in figures if not figure.kept]
    for name in broken:
        print(f"RED: {name}")
    return 1 if broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench", description="Measure what the panel promises, on this machine."
    )
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, metavar="PART", help=f"some of: {', '.join(PARTS)}"
    )
    parser.add_argument("--write", action="store_true", help=f"write the figures into docs/{PAGE.name}")
    return parser


def measure(parts: frozenset[str]) -> Iterator[Figure]:
    """Measure one after another; nothing else runs meanwhile."""
    beside: dict[str, Figure] = {}
    for name, figures in (("floor", floor.measure), ("usual", usual.measure)):
        for figure in figures() if name in parts else ():
            beside[figure.name] = figure
            yield figure
    if parts & {"dispatch", "sql", "exec", "idle", "outage", "rest", "pages"}:
        with running("uvicorn") as panel:
            yield from _on_uvicorn(panel, parts, beside)
    if "restart" in parts:
        with running("uvicorn") as panel:
            yield from restart.measure(panel)
    if "memory" in parts:
        with running("uvicorn") as panel:
            yield from held.measure(panel, "uvicorn")
    if "serve" in parts:
        with running("serve") as panel:
            yield from dispatch.measure(panel, "serve", usual.rates(beside, "daphne"))
            yield from held.measure(panel, "serve")
    if "terminal" in parts:
        with running("uvicorn") as panel:
            yield from terminal.measure(panel)


def _on_uvicorn(panel: Panel, parts: frozenset[str], beside: dict[str, Figure]) -> Iterator[Figure]:
    if "dispatch" in parts:
        yield from dispatch.measure(panel, "uvicorn", usual.rates(beside, "uvicorn"))
    if "sql" in parts:
        yield from sql.measure(panel)
    if "exec" in parts:
        yield from programs.measure(panel, beside)
    if "idle" in parts:
        yield from idle.measure(panel)
    if "outage" in parts:
        yield from outage.measure(panel)
    if "rest" in parts:
        yield from rest.measure(panel)
    if "pages" in parts:
        yield from _pages(panel)


def _pages(panel: Panel) -> Iterator[Figure]:
    pages.fill(panel, FEW)
    few = pages.measure(panel, FEW, PROMISED_FEW)
    yield from few.values()
    few_queries = pages.queries(panel)
    yield live.measure(panel, FEW)
    pages.fill(panel, MANY)
    yield from pages.measure(panel, MANY, PROMISED_MANY, few).values()
    yield from pages.constant(few_queries, pages.queries(panel))
    yield live.measure(panel, MANY)


def write(figures: str) -> None:
    """Put the figures between the marks of the page."""
    page, count = FENCE.subn(
        lambda found: f"{found[1]}{figures}\n{found[2]}", PAGE.read_text(encoding="utf-8")
    )
    if count != 1:
        raise RuntimeError(f"{PAGE} has no place for the figures")
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
