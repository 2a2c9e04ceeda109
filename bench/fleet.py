"""Starts a fleet of light agents as a process, and knows what each of them did and when."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.cluster import ROOT

PATIENCE = 120.0  # seconds; a thousand handshakes take about ten


@dataclass(frozen=True)
class Identity:
    """Where an agent dials, in turn, and as whom."""

    urls: list[str]
    agent_id: str
    secret: str


@dataclass(frozen=True)
class Step:
    """`what` is dial, open or over; `at` is of the monotonic clock, which all processes share."""

    what: str
    place: int
    at: float


class Fleet:
    """A process of light agents; with `again` they reconnect as the real agent does."""

    def __init__(self, agents: list[Identity], *, again: bool = False, ca: Path | None = None) -> None:
        self.size = len(agents)
        self.steps: list[Step] = []
        self._changed = threading.Condition()
        self._open: set[int] = set()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.light"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        facts = [[one.urls, one.agent_id, one.secret] for one in agents]
        assert self._process.stdin is not None
        self._process.stdin.write(
            json.dumps({"agents": facts, "again": again, "ca": str(ca) if ca else None}) + "\n"
        )
        self._process.stdin.flush()
        self._reader = threading.Thread(target=self._read, name="fleet", daemon=True)
        self._reader.start()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def open(self) -> int:
        """How many are connected now."""
        with self._changed:
            return len(self._open)

    def wait(self, number: int | None = None, seconds: float = PATIENCE) -> Fleet:
        """Wait until so many are connected, all if none is said.

        Raises:
            TimeoutError: they were not in time.
        """
        wanted = self.size if number is None else number
        self._wait_for(lambda: len(self._open) >= wanted, seconds, f"{wanted} agents open")
        return self

    def wait_until_at_most(self, number: int, seconds: float = PATIENCE) -> Fleet:
        """Wait until no more than so many are connected."""
        self._wait_for(lambda: len(self._open) <= number, seconds, f"at most {number} agents open")
        return self

    def times(self, what: str, since: float = 0.0) -> list[float]:
        """Return when this step was taken, by any agent, from `since` on."""
        with self._changed:
            return [step.at for step in self.steps if step.what == what and step.at >= since]

    def away_since(self, since: float) -> bool:
        """Tell whether an agent that lost its tunnel after `since` is without one, or all still have it."""
        with self._changed:
            lost = {step.place for step in self.steps if step.what == "over" and step.at >= since}
            return not lost or len(self._open) < self.size

    def stop(self) -> None:
        """Hang up all at once."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        self._reader.join(5)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _wait_for(self, fact: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        with self._changed:
            while not fact():
                left = deadline - time.monotonic()
                if left <= 0 or self._process.poll() is not None:
                    raise TimeoutError(f"not within {seconds} s: {what}, only {len(self._open)}")
                self._changed.wait(left)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            what, place, at = line.split()
            with self._changed:
                self.steps.append(Step(what, int(place), float(at)))
                if what == "open":
                    self._open.add(int(place))
                elif what == "over":
                    self._open.discard(int(place))
                self._changed.notify_all()


def peak(times: list[float], span: float = 1.0) -> int:
    """Return the largest number of times within any `span` seconds."""
    ordered = sorted(times)
    return max(
        (bisect_right(ordered, at + span) - bisect_left(ordered, at) for at in ordered),
        default=0,
    )
