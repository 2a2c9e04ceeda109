"""`make soak`: provoke every fault as often as it takes to believe it, and write what was seen into docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

from tests.faults.conftest import SEEN
from tests.faults.counts import SOAK

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
FENCE = re.compile(r"(<!-- soak -->\n).*(<!-- end of soak -->\n)", re.DOTALL)
HEAD = "| test | seen | figure | asked | | commit | date | took |\n|---|---|---:|---:|---|---|---|---:|"
ELSEWHERE = re.compile(
    r"^from tests\.faults\.counts import", re.MULTILINE
)  # who counts has more to do in a soak
MINUTES_FROM = 120.0  # seconds; what takes longer is told in minutes


@dataclass
class Ran:
    """One test: how it ended, how many seconds it took, and the figures it wrote down."""

    name: str
    outcome: str = "passed"
    seconds: float = 0.0
    seen: list[dict] = field(default_factory=list)
    cases: int = 1

    def rows(self, commit: str, date: str) -> list[str]:
        """Return its lines of the table."""
        took = f"{self.seconds / 60:.0f} min" if self.seconds > MINUTES_FROM else f"{self.seconds:.0f} s"
        cases = f"{self.cases} cases" if self.cases > 1 else ""
        found = []
        for one in self.seen or [{"what": cases, "value": None, "unit": "", "most": None}]:
            value, most = (_said(one[name], one["unit"]) for name in ("value", "most"))
            kept = one["most"] is None or one["value"] <= one["most"]
            verdict = (
                "ok" if kept and self.outcome == "passed" else f"**{'missed' if not kept else self.outcome}**"
            )
            cells = [self.name, one["what"], value, f"≤ {most}" if most else "", verdict, commit, date, took]
            found.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        return found


def main() -> int:
    """Run, print and write; return the exit code of the tests."""
    options, rest = _parser().parse_known_args()
    began, commit = time.monotonic(), _commit()
    with tempfile.TemporaryDirectory(prefix="yumna-soak-") as folder:
        seen, report = Path(folder, "seen.jsonl"), Path(folder, "report.xml")
        command = [sys.executable, "-m", "tests", *(rest if _names_a_part(rest) else [*everything(), *rest])]
        command += ["-p", "no:xdist", "-s", "-v", f"--junitxml={report}"]
        code = subprocess.run(
            command, cwd=ROOT, env={**os.environ, SOAK: "1", SEEN: str(seen)}, stdin=subprocess.DEVNULL
        ).returncode
        tests = read(report, seen)
    date = f"{datetime.now(UTC):%Y-%m-%d %H:%M}"
    lines = [line for test in gathered(list(tests.values())) for line in test.rows(commit, date)]
    print("\n".join(["", HEAD, *lines, ""]))
    outcomes = [test.outcome for test in tests.values()]
    told = ", ".join(f"{outcomes.count(word)} {word}" for word in ("passed", "failed", "skipped"))
    print(f"{told} in {(time.monotonic() - began) / 60:.0f} min, commit {commit}")
    if options.write:
        write(lines)
    return code


def everything() -> list[str]:
    """Return the fault tests, and the files elsewhere that have a number for soaks."""
    others = (path for path in (ROOT / "tests").rglob("test_*.py") if "faults" not in path.parts)
    counting = (path for path in others if ELSEWHERE.search(path.read_text(encoding="utf-8")))
    return ["tests/faults", *sorted(str(path.relative_to(ROOT)) for path in counting)]


def read(report: Path, seen: Path) -> dict[str, Ran]:
    """Return the tests that ran, by their ids, from pytest's report and the figures they noted."""
    tests: dict[str, Ran] = {}
    for case in ElementTree.parse(report).iter("testcase") if report.exists() else ():
        file = case.get("classname", "").replace(".", "/") + ".py"
        name = f"{file.removeprefix('tests/').removeprefix('faults/')}: {_sentence(case.get('name', ''))}"
        key = f"{file}::{case.get('name')}"
        bad = case.find("failure") is not None or case.find("error") is not None
        outcome = "failed" if bad else "skipped" if case.find("skipped") is not None else "passed"
        tests[key] = Ran(name, outcome, float(case.get("time", 0)))
    for line in seen.read_text(encoding="utf-8").splitlines() if seen.exists() else ():
        one = json.loads(line)
        tests.setdefault(one["test"], Ran(one["test"], "failed")).seen.append(one)
    return tests


def gathered(tests: list[Ran]) -> list[Ran]:
    """Return the same with one entry for all passed cases of a test that noted no figures."""
    found: dict[str, Ran] = {}
    for test in tests:
        whole = test.name.partition(" [")[0]
        if test.seen or test.outcome != "passed" or whole == test.name:
            found[test.name] = test
        else:
            one = found.setdefault(whole, Ran(whole, cases=0))
            one.cases, one.seconds = one.cases + 1, one.seconds + test.seconds
    return list(found.values())


def write(lines: list[str]) -> None:
    """Put the rows between the marks of the page; the rows of tests that did not run now stay."""
    text = PAGE.read_text(encoding="utf-8")
    found = FENCE.search(text)
    if found is None:
        raise RuntimeError(f"{PAGE} has no place for the soak")
    ran = {_test_of(line) for line in lines}
    kept = [
        line
        for line in found[0].splitlines()
        if line.startswith("| ") and not line.startswith("| test |") and _test_of(line) not in ran
    ]
    table = "\n".join([HEAD, *sorted([*kept, *lines], key=_test_of)])
    PAGE.write_text(FENCE.sub(lambda marks: f"{marks[1]}{table}\n{marks[2]}", text), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="soak",
        description="Provoke every fault very often. What else is given goes to pytest: files, or -k WORDS.",
    )
    parser.add_argument("--write", action="store_true", help=f"write what was seen into docs/{PAGE.name}")
    return parser


def _names_a_part(arguments: list[str]) -> bool:
    return any(argument.partition("::")[0].endswith(".py") for argument in arguments) or any(
        Path(ROOT, argument).is_dir() for argument in arguments
    )


def _sentence(name: str) -> str:
    function, bracket, case = name.partition("[")
    return function.removeprefix("test_").replace("_", " ") + (f" [{case}" if bracket else "")


def _said(number: float | None, unit: str) -> str:
    return (
        ""
        if number is None
        else f"{number:,.4g} {unit}".strip()
        if number < 10_000
        else f"{number:,.0f} {unit}"
    )


def _test_of(line: str) -> str:
    return re.split(r"(?<!\\)\|", line)[1].strip()


def _commit() -> str:
    """Return the short name of the commit, with a plus when there is more than it holds and the table itself."""
    name = _git("rev-parse", "--short", "HEAD") or "unknown"
    return f"{name}+" if _git("status", "--porcelain", "--", ".", f":!{PAGE.relative_to(ROOT)}") else name


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
