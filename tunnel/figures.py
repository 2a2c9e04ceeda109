"""A node's figures, cleaned before they reach a browser or the database: an agent is hostile input.

The members are those of `system.getUsage` (docs/protocol.md §5); what else an agent sends is dropped.
"""

import math
from typing import Any, Final

Usage = dict[str, Any]

MOST_MIB: Final = 2.0**40  # of memory or disk: an exbibyte
MOST_LOAD: Final = 100_000.0
MOST_UPTIME: Final = 100 * 366 * 86_400.0  # seconds, a century
MOST_RATE: Final = 1e13  # bytes a second
MOST_RTT: Final = 600.0  # seconds; the session is dead long before
LOADS: Final = 3  # over 1, 5 and 15 minutes
DIGITS: Final = 2  # decimals kept

_MOST: Final[dict[str, float]] = {
    "cpu": 100.0,
    "ram": MOST_MIB,
    "ramTotal": MOST_MIB,
    "ramPercent": 100.0,
    "disk": 100.0,
    "diskUsed": MOST_MIB,
    "diskTotal": MOST_MIB,
    "uptime": MOST_UPTIME,
    "netRx": MOST_RATE,
    "netTx": MOST_RATE,
}


def clean(usage: object) -> Usage:
    """Return the known members that are numbers, each between 0 and its bound; nothing else gets through."""
    if not isinstance(usage, dict):
        return {}
    numbers = {name: _clamped(usage.get(name), most) for name, most in _MOST.items()}
    kept: Usage = {name: value for name, value in numbers.items() if value is not None}
    load = _load(usage.get("load"))
    return {**kept, "load": load} if load else kept


def clean_rtt(rtt: object) -> float | None:
    """Return a round trip in seconds, or None when it is no sensible number."""
    number = _number(rtt)
    return None if number is None or not 0 <= number <= MOST_RTT else round(number, 6)


def percent_of(usage: Usage, percent: str, used: str, total: str) -> float | None:
    """Return a percentage of cleaned figures, worked out when only the two amounts were sent."""
    if percent in usage:
        return float(usage[percent])
    if usage.get(total) and used in usage:
        return min(100.0, round(100.0 * float(usage[used]) / float(usage[total]), 1))
    return None


def _load(values: object) -> list[float]:
    if not isinstance(values, list):
        return []
    loads = [_clamped(value, MOST_LOAD) for value in values[:LOADS]]
    return [load for load in loads if load is not None] if None not in loads else []


def _clamped(value: object, most: float) -> float | int | None:
    number = _number(value)
    if number is None:
        return None
    bounded = min(max(number, 0), most)
    return bounded if isinstance(bounded, int) else round(bounded, DIGITS)


def _number(value: object) -> float | int | None:
    """Return a finite number; true and false, which Python counts among the integers, are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None
