"""Which master to dial next, and when: all of a list in turn, the last good one first."""

from collections.abc import Iterable
from typing import Optional

from agent_client.address import Address
from agent_client.backoff import Backoff, Ending, Jitter, everywhere


class Master:
    """One master of the list; it is not dialled before `not_before` of the own clock."""

    def __init__(self, address: Address, jitter: Optional[Jitter] = None) -> None:
        self.address = address
        self.backoff = Backoff(jitter)
        self.not_before = float("-inf")
        self.failures = 0  # dials in a row that led to no session


class Masters:
    """The list, in the order in which to try."""

    def __init__(self, addresses: Iterable[Address], jitter: Optional[Jitter] = None) -> None:
        self._masters = [Master(address, jitter) for address in addresses]
        self._replaced = Backoff(jitter)  # an agent with our id meets us at all of them

    def choose(self, now: float) -> Master:
        """Return the master to dial next: of those that may be dialled the one that failed least, else the soonest."""
        return min(self._masters, key=lambda master: (max(now, master.not_before), master.failures))

    def good(self, master: Master) -> None:
        """Note that a session with `master` is open: it comes first from now on."""
        master.failures = 0
        self._masters.remove(master)
        self._masters.insert(0, master)

    def ended(
        self, master: Master, ending: Ending, now: float, *, lived: float = 0.0, retry_after: float = 0.0
    ) -> float:
        """Note how it ended with `master`; returns the seconds until the next dial of any."""
        if ending in (Ending.UNREACHABLE, Ending.REFUSED):
            master.failures += 1
        backoff = self._replaced if ending is Ending.REPLACED else master.backoff
        wait = backoff.wait(ending, lived=lived, retry_after=retry_after)
        for one in self._masters if everywhere(ending) else [master]:
            one.not_before = max(one.not_before, now + wait)
        return max(0.0, self.choose(now).not_before - now)
