"""Times commands from inside a worker: the same clockwork for the panel, the floor and the usual ways."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

Ask = Callable[[str], Awaitable[Any]]


async def timed(ask: Ask, agents: list[str], count: int, at_once: int) -> dict[str, Any]:
    """Ask the agents in turn, `count` times in all and `at_once` at a time; return the seconds of each and of all."""
    seconds: list[float] = []
    turns = iter(itertools.islice(itertools.cycle(agents), count))

    async def caller() -> None:
        for agent in turns:
            began = time.perf_counter()
            await ask(agent)
            seconds.append(time.perf_counter() - began)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(at_once)))
    return {"each": seconds, "all": time.perf_counter() - started}


def asked_for(query: Any) -> tuple[list[str], int, int]:
    """Return agents, count and how many at once, of a query such as `agents=a,b&count=10&at_once=2`."""
    return query["agents"].split(","), int(query["count"]), int(query["at_once"])
