"""When to dial again: a table from how the last try ended to how long to wait."""

import os
from dataclasses import dataclass
from enum import Enum
from typing import Callable, Optional

SETTLED_AFTER = 60.0  # seconds a session must have lived for its end to count as the first failure again
LONGEST_GOODBYE = 300.0  # seconds; no master may send an agent away for longer
# Ours tells each agent a moment of its own, docs/protocol.md leaves that to a master: some spread must come from here.
GOODBYE_JITTER = 0.1  # of what it told; more would only make the last ones late
LEAST_JITTER = 0.5  # seconds

Jitter = Callable[[float, float], float]  # (lowest, highest) -> a number between


class Ending(Enum):
    """How a try or a session ended."""

    UNREACHABLE = "unreachable"  # network, TLS, proxy, an HTTP status that is no refusal
    REFUSED = "refused"  # 401 or 403 instead of a WebSocket
    LOST = "lost"  # the session broke off or the worker stopped
    REVOKED = "revoked"  # 4003: suspended, secret rotated, connection type changed
    REPLACED = "replaced"  # 4001: another agent has this id now
    SENT_AWAY = "sent away"  # GOODBYE said when to come back


@dataclass(frozen=True)
class Rule:
    """Wait between `low` and `high` times a step that grows from `first` to `cap` seconds.

    A session that lived for `settled` seconds makes its end the first failure again.
    """

    first: float
    cap: float
    low: float
    high: float
    everywhere: bool  # it holds for all masters of the list, not only for the one that said it
    growth: float = 2.0
    settled: float = SETTLED_AFTER


RULES = {
    # Full jitter: all agents of a fallen master come back spread over the whole step.
    # Growing by half, a step is as long as the trouble has lasted so far: who was away for 3 s is missed for 1 more.
    Ending.UNREACHABLE: Rule(1.0, 60.0, 0.0, 1.0, everywhere=False, growth=1.5),
    Ending.LOST: Rule(1.0, 60.0, 0.0, 1.0, everywhere=True, growth=1.5),
    # Somebody must change something first; 12 minutes times 1.25 are 15.
    Ending.REFUSED: Rule(60.0, 720.0, 1.0, 1.25, everywhere=False),
    Ending.REVOKED: Rule(60.0, 720.0, 1.0, 1.25, everywhere=True),
    # Two agents with one id take turns slowly enough to be seen, docs/protocol.md §1: thrice in the first five minutes,
    # then every few. That a session lived for minutes proves only that the other one waited.
    Ending.REPLACED: Rule(30.0, 240.0, 1.0, 2.0, everywhere=True, growth=8.0, settled=3600.0),
}


def uniform(low: float, high: float) -> float:
    """Draw a number between two, which no other agent draws: this is all an agent would need `random` for."""
    return low + (high - low) * int.from_bytes(os.urandom(6), "big") / 2**48


class Backoff:
    """Counts the failures with one master and draws the waits."""

    def __init__(self, jitter: Optional[Jitter] = None) -> None:
        self._jitter = jitter or uniform
        self._failures = 0
        self._first = 0.0

    def wait(self, ending: Ending, *, lived: float = 0.0, retry_after: float = 0.0) -> float:
        """Return how many seconds to wait after `ending`; `lived` is how long the session was open."""
        if lived >= (RULES[ending].settled if ending in RULES else SETTLED_AFTER):
            self._failures = 0
        if ending is Ending.SENT_AWAY:
            self._failures = 0  # a worker that is restarted on purpose, however often, is no trouble
            told = min(max(retry_after, 0.0), LONGEST_GOODBYE)
            return told + self._jitter(0.0, max(LEAST_JITTER, told * GOODBYE_JITTER))
        rule = RULES[ending]
        if rule.first != self._first:  # another kind of trouble starts its own count
            self._first, self._failures = rule.first, 0
        step = min(rule.cap, rule.first * rule.growth ** min(self._failures, 32))
        self._failures += 1
        return step * self._jitter(rule.low, rule.high)


def everywhere(ending: Ending) -> bool:
    """Tell whether a wait holds for all masters of the list."""
    return ending is Ending.SENT_AWAY or RULES[ending].everywhere
