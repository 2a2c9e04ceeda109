"""A pytest plugin that leaves out the tests whose tools are missing here, and counts them, in pytest-xdist's processes too.

`python -m tests` loads it and says the reasons by mark in an environment variable, which those processes inherit.
It is imported before pytest starts: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

REASONS = "YUMNA_TESTS_LEFT_OUT"
TOLD = "left_out"  # under this name a process of pytest-xdist tells its counts; each collects all tests

_counts: dict[str, int] = {}  # of this run, for `lines`


def announce(reasons: dict[str, str]) -> None:
    """Have the tests with these marks left out, by mark the reason."""
    os.environ[REASONS] = json.dumps(reasons)


def lines() -> list[str]:
    """Return a line for each kind of test that was left out."""
    reasons = _reasons()
    return [f"NOT RUN: {count} {mark} tests: {reasons[mark]}" for mark, count in _counts.items() if count]


@pytest.hookimpl(trylast=True)  # what -k and -m leave out is not missed
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take out what cannot run here."""
    kept, left = [], []
    for item in items:
        marks = [mark for mark in _reasons() if item.get_closest_marker(mark)]
        for mark in marks:
            _counts[mark] = _counts.get(mark, 0) + 1
        (left if marks else kept).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the first process, in one of pytest-xdist's."""
    told = getattr(session.config, "workeroutput", None)
    if told is not None:
        told[TOLD] = _counts


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take what a process of pytest-xdist told; all of them left out the same."""
    _counts.update(getattr(node, "workeroutput", {}).get(TOLD, {}))


def _reasons() -> dict[str, str]:
    reasons: dict[str, str] = json.loads(os.environ.get(REASONS, "{}"))
    return reasons
