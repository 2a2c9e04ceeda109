"""How many requests a minute one person may make, all their tokens together."""

import logging
import time
from typing import Any, Final

from django.core.cache import cache
from django.core.cache.backends.locmem import LocMemCache
from rest_framework.throttling import BaseThrottle

from tunnel.conf import settings

log = logging.getLogger("tunnel.api")

WINDOW: Final = 60  # seconds
KEPT: Final = 2 * WINDOW  # seconds a count stays in the cache
READ: Final = "read"
COMMAND: Final = "command"
_ALONE: Final = LocMemCache("tunnel-api-throttle", {})


class Throttle(BaseThrottle):
    """Counts in Django's default cache: reading and everything else apart, one number a person and minute.

    While the cache is away each process counts for itself; a panel does not stand still because of its throttle.
    """

    def __init__(self) -> None:
        self._left = 0.0

    def allow_request(self, request: Any, view: Any) -> bool:  # noqa: ARG002 - DRF's signature
        """Tell whether the request is one of those allowed this minute."""
        scope = READ if request.method in ("GET", "HEAD", "OPTIONS") else COMMAND
        most = settings.API_READS_A_MINUTE if scope == READ else settings.API_COMMANDS_A_MINUTE
        if not most:
            return True
        now = time.time()
        self._left = WINDOW - now % WINDOW
        return self._count(f"tunnel-api:{scope}:{request.user.pk}:{int(now // WINDOW)}") <= int(most)

    def wait(self) -> float:
        """Return the seconds until the next minute begins."""
        return self._left

    def _count(self, key: str) -> int:
        try:
            return _increased(cache, key)
        except Exception as exc:  # noqa: BLE001 - each cache has errors of its own
            log.warning("requests are counted by this process alone, the cache is away: %s", exc)
            return _increased(_ALONE, key)


def _increased(counts: Any, key: str) -> int:
    if counts.add(key, 1, KEPT):
        return 1
    try:
        return int(counts.incr(key))
    except ValueError:  # it was thrown out between the two
        return 1
