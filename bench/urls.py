"""The site's URLs and one that times commands inside a web worker, where nothing but the dispatch is in the way."""

import asyncio
import time

from django.http import HttpRequest, JsonResponse
from django.urls import include, path

from tunnel.dispatch import asend_command

AT_ONCE = 32  # commands under way while the rate is measured


async def dispatch(request: HttpRequest, agent_id: str) -> JsonResponse:
    """Send `count` commands one after another, or all of them AT_ONCE at a time; answer with their seconds."""
    count = int(request.GET["count"])
    seconds: list[float] = []
    room = asyncio.Semaphore(AT_ONCE if "together" in request.GET else 1)

    async def one() -> None:
        async with room:
            started = time.perf_counter()
            await asend_command(agent_id, "GET_STATS")
            seconds.append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(count)))
    return JsonResponse({"each": seconds, "all": time.perf_counter() - started})


urlpatterns = [
    path("bench/dispatch/<agent_id>/", dispatch),
    path("", include("yumna_panel.urls")),
]
