"""News for other apps: signals sent after the commit, one after the other, in a thread of their own."""

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import close_old_connections, transaction
from django.dispatch import Signal

log = logging.getLogger("servers.signals")

MAX_WAITING = 10_000  # news that wait for slow receivers; each is a few hundred bytes

Facts = dict[str, Any]


def tell(
    signal: Signal, sender: type, facts: Facts | Callable[[], Facts | None], *, using: str | None = None
) -> None:
    """Send `signal` with these facts once the transaction under way is committed; a rollback sends nothing.

    Facts that cost a query are given as a function, which the thread calls; None then sends nothing. Whatever fails
    is logged: the one who tells never hears of it. A process that ends waits for its receivers.
    """
    if signal.has_listeners(sender):
        transaction.on_commit(lambda: _hand_over(signal, sender, facts), using=using)


def _hand_over(signal: Signal, sender: type, facts: Facts | Callable[[], Facts | None]) -> None:
    if not _room.acquire(blocking=False):
        log.error("%d news wait for slow receivers of signals, one is dropped", MAX_WAITING)
        return
    try:
        _thread.submit(_send, signal, sender, facts)
    except RuntimeError:  # the interpreter ends and takes no more work
        _room.release()
        log.warning("a signal was not sent, the process ends")


def _send(signal: Signal, sender: type, facts: Facts | Callable[[], Facts | None]) -> None:
    close_old_connections()
    try:
        told = facts() if callable(facts) else facts
        if told is not None:
            signal.send_robust(sender=sender, **told)  # which logs the errors of receivers
    except Exception:
        log.exception("a signal was not sent")
    finally:
        close_old_connections()
        _room.release()


def _new_thread() -> None:
    """Make the thread; a forked child needs its own, for threads do not survive a fork."""
    global _thread, _room
    _thread = ThreadPoolExecutor(1, thread_name_prefix="servers-signals")
    _room = threading.BoundedSemaphore(MAX_WAITING)


_thread: ThreadPoolExecutor
_room: threading.BoundedSemaphore
_new_thread()
os.register_at_fork(after_in_child=_new_thread)
