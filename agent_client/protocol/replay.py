"""Which command may run: neither an old one nor the same one twice (docs/protocol.md §3)."""

import heapq
from typing import Optional

from agent_client.protocol.codes import Code
from agent_client.protocol.limits import MAX_AGE, MAX_REMEMBERED_IDS


class ReplayGuard:
    """Remembers the ids of commands for as long as their timestamp could still be accepted.

    One guard serves all sessions of an agent, so that a command is not run again after a reconnect.
    Times are unix seconds on the master's clock.
    """

    def __init__(self, limit: int = MAX_REMEMBERED_IDS) -> None:
        self._limit = limit
        self._held: set[str] = set()
        self._by_age: list[tuple[float, str]] = []
        self._horizon = float("-inf")
        self._offset: Optional[float] = None

    def __len__(self) -> int:
        return len(self._held)

    def judge(self, command_id: str, timestamp: float, master_time: float) -> Optional[Code]:
        """Say why a command must not run, or hold its id and return None."""
        self._forget(master_time)
        # What was made before the horizon may have run and been forgotten, whatever the clock says now.
        if abs(master_time - timestamp) > MAX_AGE or timestamp + MAX_AGE < self._horizon:
            return Code.EXPIRED
        if command_id in self._held:
            return Code.DUPLICATE
        if len(self._held) >= self._limit:
            return Code.BUSY
        self._held.add(command_id)
        heapq.heappush(self._by_age, (timestamp + MAX_AGE, command_id))
        return None

    def follow(self, offset: float) -> None:
        """Take the master's clock minus the own one, in seconds, and go along with its steps.

        Without it commands made after a step back would be taken for old ones, and ids be forgotten early by a step
        forward. What is below `MAX_AGE` does neither, and may be a slow line.
        """
        step = 0.0 if self._offset is None else offset - self._offset
        if self._offset is not None and abs(step) <= MAX_AGE:
            return
        self._offset = offset
        self._horizon += step
        self._by_age = [(until + step, command_id) for until, command_id in self._by_age]  # still a heap

    def _forget(self, master_time: float) -> None:
        while self._by_age and self._by_age[0][0] < master_time:
            _, command_id = heapq.heappop(self._by_age)
            self._held.discard(command_id)
            self._horizon = max(self._horizon, master_time)
