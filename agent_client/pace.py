"""How much may be under way: as much as keeps the line busy, and not so much that what is urgent waits behind it.

The kernel takes far more than a slow line carries soon, and so do the buffers of routers. So what the other side has
not got yet is looked at, and bulk goes on when that is no more than the line carries in its own round trip and a tenth
of a second.
"""

from typing import Optional

QUEUE = 0.1  # seconds of sending that may wait on the way; a Wi-Fi link with less would have pauses
FAR_QUEUE = 0.5  # or so many round trips: more than fits is how a faster line is found, each trip anew
SHARE = 0.05  # seconds a frame of bulk may take: what is urgent waits for one at most
SMALLEST = 4 * 1024  # bytes of a frame; with less the headers begin to count
LARGEST = 64 * 1024
LEAST_UNDER_WAY = 8 * 1024  # bytes, some packets: the other side acknowledges every second one
UNKNOWN_UNDER_WAY = 32 * 1024  # bytes, before the speed is known
SPAN = 0.25  # seconds of a measurement, or a round trip; what a router lets through at once must not count
LONGEST_HOLD = 0.5  # seconds without bulk for the sake of a measurement
STALE = 4  # spans without a look: what they say is nothing
SOONEST, LATEST = 0.001, 0.02  # seconds until the next look when nothing more may be under way


class Pace:
    """Measures by looks at what was `written`, in all, and is not acknowledged; `now` is on the own clock."""

    def __init__(self) -> None:
        self.piece = LARGEST // 4  # bytes of bulk to send in one go
        self._rate: Optional[float] = None  # bytes a second that the line carries
        self._most = UNKNOWN_UNDER_WAY
        self._unacknowledged = 0
        self._since: Optional[float] = None  # when the measurement under way began, with …
        self._carried = 0
        self._busy = True  # … whether the line had enough to carry at every look

    def look(self, written: int, unacknowledged: int, trip: float, now: float) -> None:
        """Take a look; `trip` is the shortest round trip of the line in seconds."""
        self._unacknowledged = unacknowledged
        self._busy = self._busy and 2 * unacknowledged >= self._most
        span = max(SPAN, trip)
        elapsed = now - self._since if self._since is not None else float("inf")
        if elapsed < span:
            return
        carried = written - unacknowledged
        if elapsed < STALE * span:
            self._measured((carried - self._carried) / elapsed, trip)
        self._since, self._carried, self._busy = now, carried, True

    def room(self, waiting: int) -> int:
        """Return how many bytes of bulk may follow those that wait to be written; less than 0 when there are too many."""
        return self._most - self._unacknowledged - waiting

    def holds(self, alone_at: float, now: float) -> bool:
        """Tell whether bulk waits, so that what is under way is gone when a PING goes out that measures the way."""
        gone_in = min(self._most / self._rate, LONGEST_HOLD) if self._rate else 0.0
        return alone_at - gone_in <= now < alone_at

    def patience(self, room: int) -> float:
        """Return in how many seconds a look may find more room than this."""
        wait = (LEAST_UNDER_WAY - room) / self._rate if self._rate else LATEST
        return min(max(wait, SOONEST), LATEST)

    def _measured(self, rate: float, trip: float) -> None:
        """Believe it by half; a line that had not enough to carry may be faster than that."""
        seconds = trip + max(QUEUE, FAR_QUEUE * trip)
        if not self._busy and rate * seconds <= self._most:
            return
        self._rate = rate if self._rate is None else (self._rate + rate) / 2
        self.piece = int(min(max(self._rate * SHARE, SMALLEST), LARGEST))
        self._most = int(max(self._rate * seconds, LEAST_UNDER_WAY))
