"""`/tunnel/healthz` and `/tunnel/readyz`: does this process live, and can it do its work; for proxies and orchestrators."""

import asyncio
import logging
import time
from collections.abc import Awaitable
from typing import Any, Final

from channels.layers import get_channel_layer
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from servers.threads import in_thread
from tunnel import layers, worker

log = logging.getLogger("tunnel.health")

PATIENCE: Final = 2.0  # seconds a part may take; probes give up after a few
KEPT: Final = 1.0  # seconds an answer is given again, so that strangers cannot make the database work
OK, AWAY = "ok", "away"

_looked_at = -KEPT
_found: dict[str, str] = {}


@require_safe
async def healthz(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 - a view
    """Answer, which is all there is to prove."""
    return HttpResponse("ok\n", "text/plain", headers={"Cache-Control": "no-store"})


@require_safe
async def readyz(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 - a view
    """Say which part is away: the database, the channel layer, or this worker, which stops. 503 if one is."""
    global _looked_at, _found
    now = time.monotonic()
    if now - _looked_at >= KEPT or not _found:
        _looked_at = now
        _found = await _look()
    ready = all(word == OK for word in _found.values())
    return JsonResponse(_found, status=200 if ready else 503, headers={"Cache-Control": "no-store"})


async def _look() -> dict[str, str]:
    database, layer = await asyncio.gather(
        _answers("the database", in_thread(_ask_database)), _answers("the channel layer", _ask_layer())
    )
    here = worker.running()
    stopping = here is not None and here.stopping
    return {"database": database, "layer": layer, "worker": "stopping" if stopping else OK}


async def _answers(part: str, question: Awaitable[Any]) -> str:
    try:
        async with asyncio.timeout(PATIENCE):
            await question
    except Exception as exc:  # noqa: BLE001 - each part has errors of its own, and each means that it is away
        log.warning("not ready, %s is away: %s", part, str(exc) or type(exc).__name__)
        return AWAY
    return OK


def _ask_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


async def _ask_layer() -> None:
    """Publish to a group that nobody is in; a channel of our own would have to be given back."""
    layer: Any = get_channel_layer(layers.DEFAULT)
    await layer.group_send("tunnel-ready", {"type": "tunnel.ready"})
