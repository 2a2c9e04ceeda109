"""Is the other side still there: the time of the last byte decides (docs/protocol.md §2)."""


class Liveness:
    """A side is dead when no byte arrived from it for `silence` seconds."""

    def __init__(self, silence: float, now: float) -> None:
        self.silence = silence
        self._last = now

    def heard(self, now: float) -> None:
        """Note that bytes arrived."""
        self._last = max(self._last, now)

    @property
    def deadline(self) -> float:
        """When the other side counts as dead if nothing arrives before."""
        return self._last + self.silence

    def dead(self, now: float) -> bool:
        """Tell whether the silence has lasted too long."""
        return now >= self.deadline


class Meter:
    """Counts within a sliding span, in constant memory: full means more than `limit` in `span` seconds."""

    def __init__(self, limit: int, span: float, now: float) -> None:
        self._limit = limit
        self._rate = limit / span
        self._level = 0.0
        self._at = now

    def full(self, now: float, amount: int = 1) -> bool:
        """Add `amount` and tell whether that was too much."""
        self._level = max(0.0, self._level - max(0.0, now - self._at) * self._rate)
        self._at = max(self._at, now)
        self._level += amount
        return self._level > self._limit

    def room(self, now: float) -> bool:
        """Add one only if the meter is not full, and tell whether it was added."""
        return not self.full(now, 0) and not self.full(now)
