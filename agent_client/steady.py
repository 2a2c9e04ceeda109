"""The agent's own clock: it only moves forward, and goes on counting while the machine sleeps."""

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", None)  # Linux; elsewhere the monotonic clock may stop in a sleep


def steady() -> float:
    """Return seconds since an arbitrary start; no step of the wall clock touches it."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)
