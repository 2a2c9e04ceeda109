"""Failed handshakes are limited per address and agent id, never per id alone (docs/protocol.md §1)."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import TypeVar

from agent_client.protocol.liveness import Meter

K = TypeVar("K", bound=Hashable)

MAX_PER_PAIR = 10  # failures a minute of one (address, agent id)
MAX_PER_ADDRESS = 100  # failures a minute of one address, which may be the NAT of many agents
SPAN = 60.0
TRUSTED_FOR = 86_400.0  # seconds a pair that succeeded is not held back by its neighbours' failures
MAX_REMEMBERED = 10_000  # addresses, pairs and successes each; the oldest are forgotten first


class Attempts:
    """Counts failures in this worker's memory, bounded."""

    def __init__(self) -> None:
        self._pairs: OrderedDict[tuple[str, str], Meter] = OrderedDict()
        self._addresses: OrderedDict[str, Meter] = OrderedDict()
        self._succeeded: OrderedDict[tuple[str, str], float] = OrderedDict()

    def allowed(self, address: str, agent_id: str) -> bool:
        """Tell whether this address may try this id now."""
        now, network = time.monotonic(), _network(address)
        pair = (network, agent_id)
        if pair in self._pairs and self._pairs[pair].full(now, 0):
            return False
        if now - self._succeeded.get(pair, -TRUSTED_FOR) < TRUSTED_FOR:
            return True
        return network not in self._addresses or not self._addresses[network].full(now, 0)

    def failed(self, address: str, agent_id: str) -> None:
        """Count a failure."""
        now, network = time.monotonic(), _network(address)
        _meter(self._pairs, (network, agent_id), MAX_PER_PAIR, now).full(now)
        _meter(self._addresses, network, MAX_PER_ADDRESS, now).full(now)

    def succeeded(self, address: str, agent_id: str) -> None:
        """Remember a success."""
        pair = (_network(address), agent_id)
        self._succeeded[pair] = time.monotonic()
        self._succeeded.move_to_end(pair)
        if len(self._succeeded) > MAX_REMEMBERED:
            self._succeeded.popitem(last=False)


def _network(address: str) -> str:
    """An IPv6 host owns its /64, so that is what counts as one address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((ip, 64), strict=False)) if ip.version == 6 else str(ip)


def _meter(meters: "OrderedDict[K, Meter]", key: K, limit: int, now: float) -> Meter:
    if key not in meters:
        if len(meters) >= MAX_REMEMBERED:
            meters.popitem(last=False)
        meters[key] = Meter(limit - 1, SPAN, now)
    meters.move_to_end(key)
    return meters[key]
