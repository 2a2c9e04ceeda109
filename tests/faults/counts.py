"""How often a fault is provoked: a few times in `make test`, as often as it takes to believe it in `make soak`."""

import os
from typing import TypeVar

Number = TypeVar("Number", int, float)
SOAK = "YUMNA_SOAK"  # set by `make soak`


def soaking() -> bool:
    """Tell whether this run has the time."""
    return bool(os.environ.get(SOAK))


def count(small: Number, soak: Number) -> Number:
    """Return the number for this run: times, agents or seconds."""
    return soak if soaking() else small
