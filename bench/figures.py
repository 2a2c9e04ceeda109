"""A figure: what several runs gave, what was promised, and how it reads in a table."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

HEAD = (
    "| figure | runs | minimum | median | maximum | compared | promised | |\n"
    "|---|---:|---:|---:|---:|---:|---:|---|"
)


@dataclass(frozen=True)
class Figure:
    """`values` holds one number a run; `most` bounds the median, or the maximum when `always`; `base` is compared with."""

    name: str
    unit: str
    values: tuple[float, ...]
    most: float | None = None
    always: bool = False
    base: Figure | None = None

    @property
    def median(self) -> float:
        """The middle of the runs."""
        return statistics.median(self.values)

    @property
    def kept(self) -> bool:
        """Whether the promise holds; a figure without one always does, a promise without runs never."""
        if self.most is None:
            return True
        return bool(self.values) and (max(self.values) if self.always else self.median) <= self.most

    def row(self) -> str:
        """Return its line of the table."""
        if not self.values:
            return f"| {self.name} | 0 | | | | | {self._promise()} | **not measured** |"
        numbers = " | ".join(
            self._said(number) for number in (min(self.values), self.median, max(self.values))
        )
        verdict = "" if self.most is None else "ok" if self.kept else "**too slow**"
        return f"| {self.name} | {len(self.values)} | {numbers} | {self._ratio()} | {self._promise()} | {verdict} |"

    def _promise(self) -> str:
        if self.most is None:
            return ""
        return f"{'each' if self.always else 'median'} ≤ {self._said(self.most)}"

    def _ratio(self) -> str:
        if self.base is None or not self.base.values or not self.base.median:
            return ""
        return f"{self.median / self.base.median:.2f} × {self.base.name}"

    def _said(self, number: float) -> str:
        digits = 0 if number >= 100 or self.unit == "queries" else 1 if number >= 10 else 2
        return f"{number:.{digits}f} {self.unit}"
