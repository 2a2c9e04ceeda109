"""`make coverage`: run the tests near the rules, and show of each part how much of it they take, branches included.

Four parts must be right in every corner: what the wire means, how a command finds its agent, who may do what, and who
an agent is. At least 95 % of the lines and of the branches of each are taken, or this fails.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coverage import Coverage

ROOT = Path(__file__).resolve().parent.parent
LEAST = 95.0  # per cent
Parts = dict[str, list[str]]
# The parts, and the files of each.
PARTS: Parts = {
    "protocol": ["agent_client/protocol/*.py"],
    "dispatch": [
        *("tunnel/dispatch.py", "tunnel/switchboard.py", "tunnel/asking.py", "tunnel/answering.py"),
        *("tunnel/routes.py", "tunnel/links.py", "tunnel/letters.py", "tunnel/bus.py"),
        *("tunnel/outcomes.py", "tunnel/requests.py", "tunnel/streams.py", "tunnel/other_loop.py"),
    ],
    "access": ["servers/access.py"],
    "identity": ["servers/identity.py", "tunnel/handshake.py"],
}
# The tests near them. What the whole suite takes by the way is no promise about these files.
NEAR = [
    "tests/protocol",
    *(f"tests/servers/test_{name}.py" for name in ("access", "narrowed", "identity", "identity_races")),
    *(
        f"tests/tunnel/test_{name}.py"
        for name in (
            "dispatch",
            "callers",
            "switchboard",
            "bus_away",
            "connection",
            "streams",
            "owned_streams",
        )
    ),
    *(f"tests/tunnel/test_{name}.py" for name in ("links", "letters", "handshake", "admission")),
]
# Without those that try random inputs: they take long to trace, and the figures would be others each time.
CHOICE = ["-m", "not hypothesis", "-n", "2", "--dist", "loadfile"]


@dataclass
class Taken:
    """How many lines and branches there are, and how many of them no test takes."""

    lines: int = 0
    lines_missed: int = 0
    branches: int = 0
    branches_missed: int = 0
    missed: str = ""

    @classmethod
    def of(cls, report: dict[str, Any]) -> Taken:
        """Read what the report says of a file."""
        numbers, ways = report["summary"], [f"{a}->{b}" for a, b in report["missing_branches"]]
        return cls(
            numbers["num_statements"],
            numbers["missing_lines"],
            numbers["num_branches"],
            numbers["missing_branches"],
            ", ".join([*map(str, report["missing_lines"]), *ways]),
        )

    def __add__(self, other: Taken) -> Taken:
        return Taken(
            self.lines + other.lines,
            self.lines_missed + other.lines_missed,
            self.branches + other.branches,
            self.branches_missed + other.branches_missed,
        )

    @property
    def of_lines(self) -> float:
        """Return the lines that are taken, in per cent."""
        return _per_cent(self.lines, self.lines_missed)

    @property
    def of_branches(self) -> float:
        """Return the branches that are taken, in per cent."""
        return _per_cent(self.branches, self.branches_missed)

    @property
    def enough(self) -> bool:
        """Tell whether both are as many as was asked."""
        return min(self.of_lines, self.of_branches) >= LEAST

    def row(self, name: str) -> str:
        """Return a row of the table."""
        return (
            f"{name:36}{self.lines:>6}{self.of_lines:>8.1f} %{self.branches:>9}{self.of_branches:>8.1f} %"
            f"{'  not taken: ' + self.missed if self.missed else ''}"
        )


def main() -> int:
    """Run, count and print; return 1 when a test failed or a part has too little."""
    with tempfile.TemporaryDirectory(prefix="yumna-coverage-") as folder:
        failed, files = measured(PARTS, [*(sys.argv[1:] or NEAR), *CHOICE], Path(folder))
    poor = told(files)
    return 1 if failed or poor else 0


def measured(parts: Parts, arguments: list[str], folder: Path) -> tuple[int, dict[str, dict[str, Taken]]]:
    """Run pytest with these arguments while every process notes in `folder` what it takes.

    Return its exit code, and what was taken of each file of each part; a file that nobody imports is not taken at all.
    """
    files = {part: _files(patterns) for part, patterns in parts.items()}
    watched = ",".join(str(path) for paths in files.values() for path in paths)
    command = ["-m", "coverage", "run", f"--include={watched}", "-m", "pytest", "-q", *arguments]
    data, report = str(folder / "taken"), folder / "report.json"
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "COVERAGE_FILE": data},
        stdin=subprocess.DEVNULL,
    )
    coverage = Coverage(data_file=data, config_file=str(ROOT / "pyproject.toml"))
    coverage.combine([str(folder)])
    coverage.json_report(watched.split(","), outfile=str(report))
    found = {
        (ROOT / name).resolve(): Taken.of(one)
        for name, one in json.loads(report.read_text(encoding="utf-8"))["files"].items()
    }
    return done.returncode, {
        part: {os.path.relpath(path, ROOT): found[path] for path in paths} for part, paths in files.items()
    }


def told(parts: dict[str, dict[str, Taken]]) -> list[str]:
    """Print the table; return the parts of which too little is taken."""
    print(f"\n{'':36}{'lines':>6}{'taken':>10}{'branches':>9}{'taken':>10}")
    wholes = {part: sum(files.values(), Taken()) for part, files in parts.items()}
    for part, files in parts.items():
        print(wholes[part].row(part.upper()))
        for name, taken in files.items():
            print(taken.row(f"  {name}"))
    poor = [part for part, whole in wholes.items() if not whole.enough]
    if poor:
        print(f"\nless than {LEAST:g} % of {', '.join(poor)} is taken by the tests near it")
    return poor


def _files(patterns: list[str]) -> list[Path]:
    found = [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]
    if not found:
        raise RuntimeError(f"no file is called {' or '.join(patterns)}")
    return found


def _per_cent(there: int, missed: int) -> float:
    return 100.0 * (there - missed) / there if there else 100.0


if __name__ == "__main__":
    sys.exit(main())
