"""What was typed in a page and waits for the program: a bounded number of bytes, in however many messages they came."""

import asyncio
import math
from typing import Final

MOST: Final = 1024 * 1024  # bytes that wait for a program which does not read them
PIECE: Final = 64 * 1024  # bytes passed on at once
JUST: Final = 2.0  # seconds; what was typed so shortly before a cut may not have arrived


class Typed:
    """Bytes on their way from one page to one program, joined as long as they wait."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._under_way = 0  # bytes that were taken and not passed on yet
        self._at = -math.inf  # when something was typed last
        self._over = False
        self._more = asyncio.Event()

    def __len__(self) -> int:
        """How many bytes are kept."""
        return len(self._waiting) + self._under_way

    def add(self, data: bytes, now: float) -> bool:
        """Keep what was typed; False when that would be more than is kept."""
        if len(self) + len(data) > MOST:
            return False
        self._at = now
        self._waiting += data
        self._more.set()
        return True

    def end(self) -> None:
        """Note that this was all of it."""
        self._over = True
        self._more.set()

    async def next(self) -> bytes:
        """Wait for something typed and take it, b"" at the end of all; `passed_on` says that it went."""
        while not self._waiting:
            if self._over:
                return b""
            self._more.clear()
            await self._more.wait()
        data = bytes(self._waiting[:PIECE])
        del self._waiting[:PIECE]
        self._under_way = len(data)
        return data

    def passed_on(self) -> None:
        """Note that what was taken is on its way to the node."""
        self._under_way = 0

    def forget(self, now: float) -> bool:
        """Drop what the program has not got; tell whether anything typed may be lost."""
        perhaps = len(self) > 0 or now - self._at < JUST
        self._waiting.clear()
        self._under_way = 0
        return perhaps
