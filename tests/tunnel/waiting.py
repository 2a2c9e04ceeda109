"""Waiting on a fact, with a deadline."""

import asyncio
import time
from collections.abc import Callable


async def until(fact: Callable[[], object], seconds: float = 5.0) -> None:
    """Return when `fact()` is true; fail when it has not become so in time."""
    deadline = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {seconds} s: {fact.__code__}")
        await asyncio.sleep(0.005)
