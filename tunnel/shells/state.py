"""Where a terminal is, and every step it may take."""

from enum import Enum
from typing import Final


class State(Enum):
    """Where a terminal is; the page says it in words."""

    OPENING = "opening"
    LIVE = "live"
    LOST = "lost"  # the tunnel; the shell runs on
    ENDED = "ended"  # the shell, or this terminal before it had one


STEPS: Final = {
    State.OPENING: frozenset({State.LIVE, State.ENDED}),
    State.LIVE: frozenset({State.LIVE, State.LOST, State.ENDED}),  # joined again with another right to type
    State.LOST: frozenset({State.LIVE, State.ENDED}),
    State.ENDED: frozenset[State](),
}


def stepped(state: State, to: State) -> State:
    """Return the next state.

    Raises:
        RuntimeError: there is no such step.
    """
    if to not in STEPS[state]:
        raise RuntimeError(f"a terminal goes from {state.value} to {to.value}")
    return to
