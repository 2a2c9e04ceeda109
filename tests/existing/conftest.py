"""Projects made by tests, whose processes end with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.existing.panel import Panel


@pytest.fixture
def panels(tmp_path: Path) -> Iterator[Callable[[], Panel]]:
    """Return a function that makes a stock project."""
    made: list[Panel] = []

    def make() -> Panel:
        folder = tmp_path / f"panel{len(made)}"
        folder.mkdir()
        made.append(Panel(folder))
        return made[-1]

    yield make
    for panel in made:
        panel.stop()


@pytest.fixture
def panel(panels: Callable[[], Panel]) -> Panel:
    """A stock project."""
    return panels()
