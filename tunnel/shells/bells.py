"""Waiting for news, or for as long as it is good to wait without."""

import asyncio
from contextlib import suppress


async def rung(bell: asyncio.Event, seconds: float) -> None:
    """Wait for a bell, or that long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await bell.wait()
