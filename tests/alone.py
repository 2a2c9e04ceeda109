"""What failed while other tests ran beside it is run once more alone: on a busy machine a fault test may miss its seconds.

Both results are printed. A test that fails alone too has failed, and so have all when they are many.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MOST = 8  # failures that may be the load's doing; more are somebody's


class Failures:
    """A pytest plugin that notes the tests that failed, in the order of their reports."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a failure or an error."""
        name = f"{report.location[0]}::{report.nodeid.partition('::')[2]}"  # from the root of the checkout
        if report.failed and name not in self.names:
            self.names.append(name)


def once_more(names: list[str], *options: str) -> int:
    """Run these tests alone, say which they are, and return pytest's exit code."""
    print(f"\nONCE MORE, ALONE: {len(names)} tests failed beside others")
    for name in names:
        print(f"  {name}")
    config = ["-c", str(ROOT / "pyproject.toml")]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *config, *options, *names], cwd=ROOT, stdin=subprocess.DEVNULL
    ).returncode
