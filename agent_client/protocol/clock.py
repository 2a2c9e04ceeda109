"""The master's clock as the agent knows it, whatever the node's own wall clock says (docs/protocol.md §3)."""

from collections import deque
from dataclasses import dataclass
from typing import Optional

SAMPLE_SPAN = 300.0  # seconds; long enough to meet a quiet moment of the line, short against clock drift
# Seconds two samples may differ beyond their round trips; a minimal master sends whole seconds.
STEP_SLACK = 2.0


@dataclass(frozen=True)
class Sample:
    """One measurement: master time minus own time, and the round trip that blurs it."""

    at: float
    rtt: float
    offset: float


class MasterClock:
    """Estimates the master's time from the sample with the lowest round trip.

    `fallback` is the node's wall clock minus its own steady clock: used until the master tells its time.
    """

    def __init__(self, fallback: float) -> None:
        self._fallback = fallback
        self._first: Optional[Sample] = None
        self._samples: deque[Sample] = deque()

    def greeted(self, server_time: float, now: float) -> None:
        """Take the time of HANDSHAKE_ACK, which counts until the first PONG."""
        self._first = Sample(now, 0.0, server_time - now)

    def measured(self, server_time: float, rtt: float, now: float) -> None:
        """Take the time of a PONG that took `rtt` seconds there and back."""
        sample = Sample(now, rtt, server_time + rtt / 2 - now)
        if self._stepped(sample):
            self._samples.clear()
        while self._samples and self._samples[0].at < now - SAMPLE_SPAN:
            self._samples.popleft()
        self._samples.append(sample)

    def _stepped(self, sample: Sample) -> bool:
        """Tell whether the master's clock was stepped since the best sample."""
        best = self._best()
        if best is None:
            return False
        possible = (sample.rtt + best.rtt) / 2 + STEP_SLACK
        return abs(sample.offset - best.offset) > possible

    def _best(self) -> Optional[Sample]:
        if self._samples:
            return min(self._samples, key=lambda sample: sample.rtt)
        return None

    @property
    def offset(self) -> float:
        """Seconds to add to the own clock to get the master's time."""
        best = self._best() or self._first
        return self._fallback if best is None else best.offset

    def time(self, now: float) -> float:
        """The master's unix time at `now` of the own clock."""
        return now + self.offset
