"""A client's own history of what it asked for, checked after a run: each outcome it was told must be true.

The rule is that of Jepsen's tests: an operation begins, and ends `ok`, `fail` or `unknown`. Nothing ran twice, every
`ok` ran, no `fail` ever ran; `unknown` may have run or not, and stands for faults in flight only.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Operation:
    """One thing asked for; times are of `time.monotonic`."""

    key: str
    start: float
    end: float | None = None
    outcome: str = "unknown"
    code: str = ""

    def ok(self) -> None:
        """It was answered."""
        self.outcome = "ok"

    def failed(self, code: str, ran: str) -> None:
        """It ended with an error of this code; `ran` is what the error says of it: no, yes or unknown."""
        self.code = code
        self.outcome = {"no": "fail", "yes": "ok"}.get(ran, "unknown")

    @property
    def seconds(self) -> float:
        """How long its caller waited."""
        if self.end is None:
            raise AssertionError(f"{self.key} has not ended")
        return self.end - self.start


class History:
    """Operations by key; may be written from several threads or tasks."""

    def __init__(self) -> None:
        self.operations: dict[str, Operation] = {}
        self._lock = threading.Lock()

    @contextmanager
    def operation(self, key: str) -> Iterator[Operation]:
        """Note the begin and the end of one operation; its key must be new and must reach the node."""
        made = Operation(key, time.monotonic())
        with self._lock:
            assert key not in self.operations, f"{key} was used before"
            self.operations[key] = made
        try:
            yield made
        finally:
            made.end = time.monotonic()

    def outcomes(self) -> Counter[str]:
        """Return how many ended how."""
        return Counter(operation.outcome for operation in self.operations.values())

    def slowest(self) -> float:
        """Return the longest wait in seconds."""
        return max((operation.seconds for operation in self.operations.values()), default=0.0)

    def check(self, ran: Iterable[str]) -> None:
        """Compare with the keys that nodes ran, in any order, one entry for each time.

        Raises:
            AssertionError: something ran twice, an `ok` did not run, or a `fail` did.
        """
        times = Counter(ran)
        twice = sorted(key for key, number in times.items() if number > 1)
        lost = sorted(key for key, made in self.operations.items() if made.outcome == "ok" and not times[key])
        late = sorted(key for key, made in self.operations.items() if made.outcome == "fail" and times[key])
        strange = sorted(times.keys() - self.operations.keys())
        assert not twice, f"ran twice: {twice[:10]}"
        assert not lost, f"answered, but never ran: {lost[:10]}"
        assert not late, f"reported as not run, but ran: {late[:10]}"
        assert not strange, f"ran, but nobody asked: {strange[:10]}"
