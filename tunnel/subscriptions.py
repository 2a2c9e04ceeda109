"""What one browser is to be told, in a queue of bounded length."""

import asyncio
from typing import Final

from tunnel.viewers import Sight, Viewer

MAX_QUEUED: Final = 32  # steps that wait for one browser; a push of figures a second makes half a minute

NORMAL: Final = 1000
# Dialling again is of no use; under Daphne an application has no code below 3000.
NO_LONGER_WELCOME: Final = 4003
TRY_AGAIN: Final = 4013  # like 1013, try again later


Counts = tuple[int, int]  # tunnels that are active, and of how many


class Subscription:
    """One browser.

    `wants` are the servers it asks for by primary key, None for all there are. `shows` are those it is told of, None
    until that is known, and `counts` what it was told last of all the servers it may see; `too_many` when they are more
    than it can be told of. `close_code` is how it ended.
    """

    def __init__(self, viewer: Viewer, wants: frozenset[int] | None = None) -> None:
        self.viewer = viewer
        self.wants = wants
        self.sight: Sight | None = None
        self.shows: frozenset[int] | None = None
        self.counts: Counts | None = None
        self.too_many = False
        self.close_code = NORMAL
        # One step is one push, however many messages it takes.
        self._steps: asyncio.Queue[list[str] | None] = asyncio.Queue()

    async def next(self) -> list[str] | None:
        """Return the messages of the next step, None when the subscription ended."""
        return await self._steps.get()

    def put(self, texts: list[str]) -> bool:
        """Queue a step; False when the browser reads too slowly to take it."""
        if self._steps.qsize() >= MAX_QUEUED:
            return False
        self._steps.put_nowait(texts)
        return True

    def end(self, code: int) -> None:
        """Let nothing more out but the end."""
        self.close_code = code
        while not self._steps.empty():
            self._steps.get_nowait()
        self._steps.put_nowait(None)
