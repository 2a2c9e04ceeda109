"""Database work of async callers, in threads of its own: no query waits on the event loop or on a neighbour's query."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

P = ParamSpec("P")
R = TypeVar("R")

KEPT = 60.0  # seconds an idle connection of these threads stays open at least
THREADS = 4  # connections a process takes for this at most; a command needs two short turns


class Lane:
    """Threads for database work of one kind, so that no other kind waits behind it."""

    def __init__(self, name: str, threads: int) -> None:
        self._name, self._threads = name, threads
        self._renew()
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        """Make the pool; a forked child needs its own, for threads do not survive a fork."""
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=self._name)

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `function` with its thread's database connection.

        Once begun it runs to its end even if the caller is cancelled. The language, the time zone and the prefix of the
        caller's request hold in there too, which asgiref alone can move.
        """
        run = sync_to_async(_with_connection, thread_sensitive=False, executor=self._pool)
        return await run(partial(function, *args, **kwargs))


common = Lane("servers-database", THREADS)


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run `function` in the lane of everybody who has none of their own, see `Lane.run`."""
    return await common.run(function, *args, **kwargs)


def _with_connection(call: Callable[[], R]) -> R:
    kept: Any = connections.all(initialized_only=True)
    for connection in kept:
        connection.health_check_enabled = True  # it may have been closed at the other end meanwhile
        connection.health_check_done = False
        connection.close_if_unusable_or_obsolete()
    try:
        return call()
    finally:
        for connection in connections.all(initialized_only=True):
            connection.queries_log.clear()  # under DEBUG, Django's own end of a request would do it; here is none
            _keep_for_a_while(connection)


def _keep_for_a_while(connection: BaseDatabaseWrapper) -> None:
    """Keep a connection beyond CONN_MAX_AGE: to open one costs more than what most calls ask of it."""
    if connection.close_at is not None:
        connection.close_at = time.monotonic() + KEPT
    connection.close_if_unusable_or_obsolete()
