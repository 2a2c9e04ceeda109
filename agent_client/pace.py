"""How fast the line takes bytes, so that no frame of bulk keeps it busy for long."""

from typing import Optional

SHARE = 0.05  # seconds a frame of bulk may take: what is urgent waits for one at most
SMALLEST = 4 * 1024  # bytes; with less the headers begin to count
LARGEST = 64 * 1024
SPAN = 0.1  # seconds of sending without a pause, after which the speed is known
ENOUGH = 64 * 1024  # bytes after which it is known earlier


class Pace:
    """Measures while there is more to send than the kernel takes; `now` is on the own clock."""

    def __init__(self) -> None:
        self.piece = LARGEST  # bytes of bulk to send in one go
        self._since: Optional[float] = None
        self._sent = 0

    def wrote(self, count: int, now: float, *, more: bool) -> None:
        """Note that the kernel took `count` bytes; `more` wait."""
        if self._since is not None:
            self._sent += count
            elapsed = now - self._since
            if elapsed > 0 and (elapsed >= SPAN or self._sent >= ENOUGH):
                self.piece = int(min(max(self._sent / elapsed * SHARE, SMALLEST), LARGEST))
                self._since = None
        if not more:
            self._since = None
        elif self._since is None:
            self._since, self._sent = now, 0
