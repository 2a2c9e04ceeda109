"""A stream that a program fills as fast as it can and a worker reads as fast as it comes, beside what is measured."""

import asyncio
import time
from dataclasses import dataclass, field

from django.http import HttpRequest, JsonResponse

from servers import nodes
from servers.models import Server
from servers.transports import ByteStream

FLOOD = {"argv": ["cat", "/dev/zero"]}
FLOWS = 128 * 1024  # bytes after which it is under way


@dataclass
class Bulk:
    """What came of one stream so far."""

    stream: ByteStream
    began: float = field(default_factory=time.monotonic)
    count: int = 0
    flows: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self) -> None:
        """Read until nobody wants it any more."""
        async with self.stream:
            async for piece in self.stream:
                self.count += len(piece)
                if self.count >= FLOWS:
                    self.flows.set()


_running: dict[str, tuple[Bulk, "asyncio.Task[None]"]] = {}


async def start(request: HttpRequest) -> JsonResponse:
    """Begin, and answer when it is under way."""
    agent = request.GET["agent"]
    server = await Server.objects.aget(agent_id=agent)
    bulk = Bulk(await nodes.open_stream(server, "system", "exec", FLOOD))
    task = asyncio.create_task(bulk.read(), name="bulk")
    _running[agent] = bulk, task
    await bulk.flows.wait()
    return JsonResponse({})


async def stop(request: HttpRequest) -> JsonResponse:
    """End it; answer with how much came in how many seconds."""
    bulk, task = _running.pop(request.GET["agent"])
    if task.done():
        task.result()  # why it ended by itself
    seconds = time.monotonic() - bulk.began
    task.cancel()
    await asyncio.wait([task])
    return JsonResponse({"bytes": bulk.count, "seconds": seconds})
