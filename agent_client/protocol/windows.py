"""How large the windows of a session's streams may be (docs/protocol.md §4)."""

from collections import deque

from agent_client.protocol.limits import (
    CALM_FACTOR,
    CALM_KEPT,
    CALM_SLACK,
    MAX_STREAMS,
    MAX_WINDOW,
    MAX_WINDOWS,
    SMALLEST_WINDOW,
)

UNMEASURED = 0.1  # seconds of a round trip of which nothing is known yet
NO_WINDOW = f"window is no number between 0 and {MAX_WINDOW}"


def valid_window(value: object) -> bool:
    """Tell whether `value` may be the initial window of a stream, in bytes."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_WINDOW


class Allotment:
    """Shares what the windows of one session may hold together, in bytes.

    Each stream gets one, however many there are; growing is for the first who ask, and takes at most the half.
    """

    def __init__(self) -> None:
        self._held: dict[int, int] = {}
        self._sum = 0

    def take(self, number: int, window: int, *, grows: bool) -> tuple[int, int]:
        """Return what a new stream may begin with, at most `window`, and what it may grow to."""
        others = (MAX_STREAMS - len(self._held) - 1) * SMALLEST_WINDOW  # kept for streams that may still come
        window = min(window, MAX_WINDOW, MAX_WINDOWS - self._sum - others)
        most = MAX_WINDOW if grows and self._sum + MAX_WINDOW <= MAX_WINDOWS // 2 else window
        self._held[number] = most
        self._sum += most
        return window, most

    def free(self, number: int) -> None:
        """Take back what a stream held."""
        self._sum -= self._held.pop(number, 0)


class RoundTrips:
    """Tells whether the line is calm: no more waits on it than a large window may cause."""

    def __init__(self) -> None:
        self.calm = True
        self.least = UNMEASURED
        self._last: deque[float] = deque(maxlen=CALM_KEPT)

    def measured(self, seconds: float) -> None:
        """Take the round trip of a PING."""
        self._last.append(seconds)
        self.least = min(self._last)
        self.calm = seconds <= CALM_FACTOR * self.least + CALM_SLACK
