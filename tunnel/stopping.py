"""A graceful stop: our own work first, then always the server's own handler.

Uvicorn closes sockets before its lifespan ends, and Daphne has no lifespan, so SIGTERM and SIGINT are chained.
"""

import asyncio
import logging
import os
import random
import signal
import threading
from collections.abc import Awaitable, Callable
from types import FrameType

log = logging.getLogger("tunnel.worker")

SIGNALS = (signal.SIGTERM, signal.SIGINT)


AT_EASE = 100  # agents a second that come in without anybody noticing; a few need no spread at all


def spread(agents: int, most: float) -> list[float]:
    """Return when each of so many agents shall come back, in seconds: one in each slice, in no order.

    They take the time they need, `most` seconds at most. Drawn each by itself they would come in heaps: of 200 in 5 s
    some 52 in one second, and not 40.
    """
    seconds = min(most, agents / AT_EASE)
    slices = random.sample(range(agents), agents)
    return [round(seconds * (place + random.random()) / agents, 3) for place in slices]  # noqa: S311 - jitter


def chain(loop: asyncio.AbstractEventLoop, stop: Callable[[], Awaitable[None]]) -> None:
    """Run `stop` on `loop` at the first SIGTERM or SIGINT, then hand the signal on; a second one goes straight on."""
    if threading.current_thread() is not threading.main_thread():
        log.info(
            "signals cannot be chained outside the main thread: agents will see a plain close at the stop"
        )
        return
    for number in SIGNALS:
        _chain_one(number, loop, stop)


def _chain_one(number: int, loop: asyncio.AbstractEventLoop, stop: Callable[[], Awaitable[None]]) -> None:
    former = signal.getsignal(number)
    seen = False

    def hand_on() -> None:
        signal.signal(number, former)
        if callable(former):
            former(number, None)
        elif former is not signal.SIG_IGN:
            os.kill(os.getpid(), number)

    async def stop_first() -> None:
        try:
            await stop()
        except Exception:
            log.exception("the graceful stop failed")
        finally:
            hand_on()

    def handler(_number: int, _frame: FrameType | None) -> None:
        nonlocal seen
        if seen or loop.is_closed() or not loop.is_running():
            hand_on()
            return
        seen = True
        loop.call_soon_threadsafe(lambda: _kept.append(loop.create_task(stop_first(), name="graceful stop")))

    signal.signal(number, handler)


_kept: list[asyncio.Task[None]] = []  # the loop itself keeps only weak references to tasks
