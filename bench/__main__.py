"""`make bench`: measure everything, print it, and write it into docs/benchmarks.md with `--write`."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench import dispatch, live, machine, pages, rest
from bench.figures import HEAD, Figure
from bench.panel import running

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
FENCE = re.compile(r"(<!-- figures -->\n).*(<!-- end of figures -->\n)", re.DOTALL)
FEW, MANY = 1_000, 10_000
PROMISED_FEW, PROMISED_MANY = 0.3, 1.0  # seconds a page of so many servers may take


def main() -> int:
    """Measure; return 1 when a promise is not kept."""
    parser = argparse.ArgumentParser(
        prog="bench", description="Measure what the panel promises, on this machine."
    )
    parser.add_argument("--write", action="store_true", help=f"write the figures into docs/{PAGE.name}")
    options = parser.parse_args()
    started = time.monotonic()
    lines = [*machine.lines(), "", HEAD]
    print("\n".join(lines), flush=True)
    figures = []
    for figure in measure():
        print(figure.row(), flush=True)
        figures.append(figure)
        lines.append(figure.row())
    print(f"\nmeasured in {time.monotonic() - started:.0f} s")
    if options.write:
        write("\n".join(lines))
    broken = [figure.name for figure in figures if not figure.kept]
    for name in broken:
        print(f"RED: {name}")
    return 1 if broken else 0


def measure() -> Iterator[Figure]:
    """Measure one after another; nothing else runs meanwhile."""
    with running("uvicorn") as panel:
        yield from dispatch.measure(panel, "uvicorn")
        yield from rest.measure(panel)
        pages.fill(panel, FEW)
        few = pages.measure(panel, FEW, PROMISED_FEW)
        yield from few.values()
        few_queries = pages.queries(panel)
        yield live.measure(panel, FEW)
        pages.fill(panel, MANY)
        yield from pages.measure(panel, MANY, PROMISED_MANY, few).values()
        yield from pages.constant(few_queries, pages.queries(panel))
        yield live.measure(panel, MANY)
    with running("serve") as panel:
        yield from dispatch.measure(panel, "serve")


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
