"""The door of a worker: a crowd of agents is let in a few at a time, and who would wait too long is sent away at once.

Let in all together they would wait for the same few database threads, grow too old together, and what is done for one
that has given up is done for nothing: from some size on such a crowd never gets smaller.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

AT_ONCE = 16  # handshakes the database is asked for; more would only stand before its threads
WAITING = 500  # handshakes that wait for their turn; that is some seconds' work
TURN_WITHIN = 3.0  # seconds they wait at most: who comes in has the rest of his patience for the database


class Crowded(Exception):
    """Too many are at the door; the agent is answered 503 and comes again after its own pause."""


class Door:
    """Lets in `at_once`, in the order they came; `waiting` more stand in line."""

    def __init__(self, at_once: int = AT_ONCE, waiting: int = WAITING, within: float = TURN_WITHIN) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._most_waiting = waiting
        self._within = within
        self._waiting = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a place and hold it.

        Raises:
            Crowded: there will be none soon.
        """
        await self._wait()
        try:
            yield
        finally:
            self._places.release()

    async def _wait(self) -> None:
        if self._places.locked() and self._waiting >= self._most_waiting:
            raise Crowded("too many handshakes wait already")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._within):
                await self._places.acquire()
        except TimeoutError:
            raise Crowded(f"a handshake waited for {self._within:g} s") from None
        finally:
            self._waiting -= 1
