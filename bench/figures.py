"""A figure: what several runs gave, what was promised, and how it reads in a table."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

HEAD = (
    "| figure | runs | minimum | median | maximum | compared | goal | promised | |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|---|"
)
WHOLE = ("queries", "commands", "commands/s", "attempts/s")  # units without a fraction


@dataclass(frozen=True)
class Figure:
    """`values` holds one number a run; less is better, or `more` is.

    `limit` is the promise for the median, or for each run when `always`; `goal` is what it should reach, and breaks
    no promise; `base` is compared with.
    """

    name: str
    unit: str
    values: tuple[float, ...]
    limit: float | None = None
    always: bool = False
    base: Figure | None = None
    goal: float | None = None
    more: bool = False

    @property
    def median(self) -> float:
        """The middle of the runs."""
        return statistics.median(self.values)

    @property
    def kept(self) -> bool:
        """Whether the promise holds; a figure without one always does, a promise without runs never."""
        return self.limit is None or self._reaches(self.limit)

    @property
    def reached(self) -> bool:
        """Whether the goal is reached, where there is one."""
        return self.goal is None or self._reaches(self.goal)

    def row(self) -> str:
        """Return its line of the table."""
        promises = f"{self._bound(self.goal)} | {self._promise()}"
        if not self.values:
            return f"| {self.name} | 0 | | | | | {promises} | **not measured** |"
        numbers = " | ".join(
            self._said(number) for number in (min(self.values), self.median, max(self.values))
        )
        return f"| {self.name} | {len(self.values)} | {numbers} | {self._ratio()} | {promises} | {self._verdict()} |"

    def _reaches(self, bound: float) -> bool:
        if not self.values:
            return False
        if self.more:
            return (min(self.values) if self.always else self.median) >= bound
        return (max(self.values) if self.always else self.median) <= bound

    def _verdict(self) -> str:
        if not self.kept:
            return "**missed**"
        if not self.reached:
            return "short of the goal"
        return "" if self.limit is None and self.goal is None else "ok"

    def _bound(self, bound: float | None) -> str:
        return "" if bound is None else f"{'≥' if self.more else '≤'} {self._said(bound)}"

    def _promise(self) -> str:
        if self.limit is None:
            return ""
        return f"{'each' if self.always else 'median'} {self._bound(self.limit)}"

    def _ratio(self) -> str:
        if self.base is None or not self.base.values or not self.base.median:
            return ""
        return f"{self.median / self.base.median:.2f} × {self.base.name}"

    def _said(self, number: float) -> str:
        digits = 0 if number >= 100 or self.unit in WHOLE else 1 if number >= 10 else 2
        return f"{number:.{digits}f} {self.unit}"
