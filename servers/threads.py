"""Database work of async callers, in threads of its own: no query waits on the event loop or on a neighbour's query."""

import asyncio
import contextvars
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from django.db import close_old_connections

P = ParamSpec("P")
R = TypeVar("R")

THREADS = 4  # connections a process takes for this at most; a command needs two short turns


def _new_pool() -> None:
    """Make the pool; a forked child needs its own, for threads do not survive a fork."""
    global _pool
    _pool = ThreadPoolExecutor(THREADS, thread_name_prefix="servers-database")


_pool: ThreadPoolExecutor
_new_pool()
os.register_at_fork(after_in_child=_new_pool)


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run `function` with its thread's database connection. It runs to its end even if the caller is cancelled."""
    call = partial(contextvars.copy_context().run, _with_connection, partial(function, *args, **kwargs))
    return await asyncio.get_running_loop().run_in_executor(_pool, call)


def _with_connection(call: Callable[[], R]) -> R:
    close_old_connections()
    try:
        return call()
    finally:
        close_old_connections()
