"""What the fault tests write down: `seen("…", value, unit, most=…)` judges a figure and keeps it for docs/benchmarks.md."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

SEEN = "YUMNA_SEEN"  # a file that `make soak` reads afterwards


@pytest.fixture
def seen(request) -> Callable[..., None]:
    """Return a function that notes what was seen, and fails the test where it is beyond what was asked."""

    def note(what: str, value: float, unit: str, most: float | None = None) -> None:
        kept = most is None or value <= most
        line = {"test": request.node.nodeid, "what": what, "value": value, "unit": unit, "most": most}
        print(f"{what}: {value:g} {unit}" + ("" if most is None else f" (at most {most:g})"))
        if path := os.environ.get(SEEN):
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        assert kept, f"{what}: {value:g} {unit}, at most {most:g} was asked"

    return note
