"""The hub of one web worker: what its live pages know, and the differences it pushes to them.

Pushed news only make it quick. What makes it true is that all states are read again every few seconds while somebody
watches: a lost push, a dead worker or a Redis that is away cannot leave a page wrong for longer.

Everything here runs on one event loop; the database is asked in threads, one question at a time.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterable
from typing import Any, Final, TypeVar, cast

from django.db import Error as DatabaseError

from servers import access
from servers.models import Server
from servers.threads import in_thread
from tunnel import viewers
from tunnel.pages import cards, messages
from tunnel.pages.cards import Card
from tunnel.pages.messages import Patch
from tunnel.subscriptions import NO_LONGER_WELCOME, TRY_AGAIN, Subscription
from tunnel.viewers import Viewer

log = logging.getLogger("tunnel.live")

# Seconds between two readings of all states; with a lease of 10 s a page is true within 15.
REREAD: Final = 3.0
REREAD_GAP: Final = 0.5  # seconds between two readings at least, however many browsers come at once
DEBOUNCE: Final = 0.2  # seconds over which changed servers are gathered into one reading
FIGURES_GAP: Final = 1.0  # seconds between two pushes of figures
PATIENCE: Final = 6.0  # seconds a reading may take before the pages are told that what they show may be old
MAX_DIRTY: Final = 200  # changed servers that are read by themselves; beyond it all are
MAX_SUBSCRIBERS: Final = 200  # browsers a worker serves; each costs a share of every push

R = TypeVar("R")


class TooManySubscribers(Exception):
    """This worker serves as many browsers as it can; the page polls instead and tries again."""


class Hub:
    """Reads states while somebody watches, and tells each browser what changed of what it may see."""

    def __init__(self) -> None:
        self._subscribers: set[Subscription] = set()
        self._cards: dict[int, Card] = {}
        self._dirty: set[int] = set()
        self._fresh: dict[int, Patch] = {}
        self._wake = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._pusher: asyncio.TimerHandle | None = None
        self._pushed_at = self._read_at = self._next_reading = 0.0
        self._paused = False

    # -- what the worker tells -------------------------------------------------------------------

    def state_changed(self, server_pk: int) -> None:
        """Look at this server again; called on the event loop."""
        if not self._subscribers:
            return
        self._dirty.add(server_pk)
        if len(self._dirty) > MAX_DIRTY:
            self.refresh()
        self._wake.set()

    def figures(self, server_pk: int, usage: dict[str, Any], rtt: float | None, at: float) -> None:
        """Push fresh figures, at most once a second; called on the event loop. `at` is in unix seconds."""
        if not self._subscribers or server_pk not in self._cards:
            return
        self._fresh[server_pk] = cards.of_figures(usage, rtt, round(at, 3))
        if self._pusher is None:
            delay = max(0.0, self._pushed_at + FIGURES_GAP - time.monotonic())
            self._pusher = asyncio.get_running_loop().call_later(delay, self._push_figures)

    def refresh(self) -> None:
        """Look at all servers again, now or as soon as the last reading is not too near."""
        self._next_reading = min(self._next_reading, self._read_at + REREAD_GAP)
        self._wake.set()

    # -- browsers --------------------------------------------------------------------------------

    @property
    def subscribers(self) -> int:
        """How many browsers are served."""
        return len(self._subscribers)

    @property
    def paused(self) -> bool:
        """Whether what pages show may be old, because the database does not answer."""
        return self._paused

    def subscribe(self, viewer: Viewer) -> Subscription:
        """Start to serve a browser; its first step is a snapshot.

        Raises:
            TooManySubscribers: this worker serves no more.
        """
        if len(self._subscribers) >= MAX_SUBSCRIBERS:
            raise TooManySubscribers
        subscription = Subscription(viewer)
        self._subscribers.add(subscription)
        self.refresh()
        if self._reader is None or self._reader.done():
            self._wake = asyncio.Event()  # of the loop that runs now
            self._reader = asyncio.create_task(self._read_while_watched(), name="tunnel live pages")
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Stop to serve a browser; after the last one nothing is read any more."""
        self._subscribers.discard(subscription)
        if not self._subscribers:
            self._wake.set()

    async def stopped(self) -> None:
        """Wait for the end of the reading that was under way when the last browser left."""
        if self._reader is not None:
            await self._reader

    # -- reading ---------------------------------------------------------------------------------

    async def _read_while_watched(self) -> None:
        while self._subscribers:
            try:
                await self._read_next()
            except DatabaseError as exc:
                self._failed(f"the database is away: {exc}")
            except Exception:
                log.exception("the states of the servers could not be read")
                self._failed("an internal error")
        self._forget()

    async def _read_next(self) -> None:
        await self._wait(self._next_reading)
        if not self._subscribers:
            return
        if time.monotonic() >= self._next_reading:
            await self._read_all()
        elif self._dirty:
            await asyncio.sleep(DEBOUNCE)  # the hello and the first figures follow a connect at once
            await self._read_dirty()

    async def _read_all(self) -> None:
        self._dirty.clear()
        self._next_reading = time.monotonic() + REREAD
        watching = {subscription.viewer for subscription in self._subscribers}
        found, rights = await self._patiently(in_thread(_read_all, watching))
        self._read_at = time.monotonic()
        self._next_reading = max(self._next_reading, self._read_at + REREAD_GAP)
        self._resume()
        self._apply(found, gone=self._cards.keys() - found.keys())
        self._grant(watching, rights)

    async def _read_dirty(self) -> None:
        dirty, self._dirty = self._dirty, set()
        found = await self._patiently(in_thread(_read_some, dirty))
        self._apply(found, gone=dirty - found.keys())

    async def _wait(self, until: float) -> None:
        """Wait for news, or until it is time to read all again."""
        delay = until - time.monotonic()
        if delay > 0:
            timer = asyncio.get_running_loop().call_later(delay, self._wake.set)
            await self._wake.wait()
            timer.cancel()
        self._wake.clear()

    async def _patiently(self, reading: Coroutine[Any, Any, R]) -> R:
        """Wait for a reading to its end, so that only one is under way; tell the pages when it takes long."""
        task = asyncio.ensure_future(reading)
        done, _ = await asyncio.wait({task}, timeout=PATIENCE)
        if not done:
            self._pause(f"the database has not answered for {PATIENCE:.0f} s")
        return await task

    def _failed(self, reason: str) -> None:
        self._pause(reason)
        self._next_reading = time.monotonic() + REREAD

    def _forget(self) -> None:
        self._cards, self._dirty, self._fresh, self._paused = {}, set(), {}, False
        if self._pusher is not None:
            self._pusher.cancel()
            self._pusher = None

    # -- telling ---------------------------------------------------------------------------------

    def _apply(self, found: dict[int, Card], gone: Iterable[int]) -> None:
        """Take what was read, and tell every browser the differences."""
        changed = []
        for pk, card in found.items():
            patch = messages.difference(self._cards.get(pk), card)
            if patch is not None:
                self._cards[pk] = cast("Card", {**self._cards.get(pk, {}), **patch})
                changed.append(patch)
        vanished = {pk for pk in gone if self._cards.pop(pk, None) is not None}
        self._tell(changed, vanished)

    def _push_figures(self) -> None:
        self._pusher, self._pushed_at = None, time.monotonic()
        fresh, self._fresh = self._fresh, {}
        changed = []
        for pk, members in fresh.items():
            card = self._cards.get(pk)
            if card is not None and members["figures_at"] > (card["figures_at"] or 0):
                self._cards[pk] = cast("Card", {**card, **members})
                changed.append({"id": pk, **members})
        self._tell(changed, set())

    def _tell(self, changed: list[Patch], gone: set[int]) -> None:
        if not changed and not gone:
            return
        said: dict[frozenset[int], list[str]] = {}  # people with the same rights get the same texts
        for subscription in list(self._subscribers):
            sees = subscription.sees
            if sees is None:
                continue
            if sees not in said:
                said[sees] = messages.patch([one for one in changed if one["id"] in sees], gone & sees)
            self._put(subscription, said[sees])

    def _grant(self, asked: set[Viewer], rights: dict[Viewer, frozenset[int]]) -> None:
        """Let each browser see what its user may see now."""
        for subscription in list(self._subscribers):
            sees = rights.get(subscription.viewer)
            if sees is not None:
                self._show(subscription, sees)
            elif subscription.viewer in asked:
                log.info(
                    "a live page is closed, its user may not see it any more user=%s",
                    subscription.viewer.user,
                )
                self._end(subscription, NO_LONGER_WELCOME)

    def _show(self, subscription: Subscription, sees: frozenset[int]) -> None:
        before, subscription.sees = subscription.sees, sees
        if before is None:
            self._put(subscription, messages.snapshot(self._known(sees)))
        elif before != sees:
            self._put(
                subscription, messages.patch(cast("list[Patch]", self._known(sees - before)), before - sees)
            )

    def _known(self, pks: frozenset[int]) -> list[Card]:
        return [self._cards[pk] for pk in pks if pk in self._cards]

    def _pause(self, reason: str) -> None:
        if not self._paused:
            self._paused = True
            log.warning("live pages are paused: %s", reason)
            self._tell_all(messages.beat(live=False))

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            log.info("live pages are live again")
            self._tell_all(messages.beat(live=True))

    def _tell_all(self, text: str) -> None:
        for subscription in list(self._subscribers):
            self._put(subscription, [text])

    def _put(self, subscription: Subscription, texts: list[str]) -> None:
        if texts and not subscription.put(texts):
            log.info("a browser reads too slowly and is dropped user=%s", subscription.viewer.user)
            self._end(subscription, TRY_AGAIN)

    def _end(self, subscription: Subscription, code: int) -> None:
        subscription.end(code)
        self.unsubscribe(subscription)


def _read_some(pks: Iterable[int]) -> dict[int, Card]:
    return cards.read(Server.objects.filter(pk__in=pks))


def _read_all(watching: set[Viewer]) -> tuple[dict[int, Card], dict[Viewer, frozenset[int]]]:
    rights = viewers.rights(watching)  # first: what appears between the two is told with the next reading
    return cards.read(access.visible(access.CONSOLE)), rights


hub = Hub()
