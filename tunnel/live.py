"""The hub of one web worker: what its live pages know, and the differences it pushes to them.

Pushed news only make it quick. What makes it true is that the states are read again every few seconds while somebody
watches: a lost push, a dead worker or a Redis that is away cannot leave a page wrong for longer. Cards are read of the
servers somebody is shown, of all others no more than whether their tunnel stands.

Everything here runs on one event loop; the database is asked in threads, one question at a time.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from django.db import Error as DatabaseError
from django.db.models import QuerySet

from servers.models import Server
from servers.threads import in_thread
from tunnel import presence, viewers
from tunnel.pages import cards, messages
from tunnel.pages.cards import Card
from tunnel.pages.listing import WHOLE
from tunnel.pages.messages import Patch
from tunnel.subscriptions import NO_LONGER_WELCOME, TRY_AGAIN, Counts, Subscription
from tunnel.viewers import Sight, Viewer

log = logging.getLogger("tunnel.live")

# Seconds between two readings of all states; with a lease of 10 s a page is true within 15.
REREAD: Final = 3.0
REREAD_GAP: Final = 0.5  # seconds between two readings at least, however many browsers come at once
SHARE: Final = (
    2.0  # a reading is followed by so many times its own duration without one: a large panel rests, too
)
RECHECK: Final = (
    10.0  # seconds; who may watch what is asked anew then, and by what the next reading takes within 15
)
READ_AT_ONCE: Final = 1000  # cards a query; SQLite takes only so many parameters
DEBOUNCE: Final = 0.2  # seconds over which changed servers are gathered into one reading
FIGURES_GAP: Final = 1.0  # seconds between two pushes of figures
PATIENCE: Final = 6.0  # seconds a reading may take before the pages are told that what they show may be old
MAX_DIRTY: Final = 200  # changed servers that are read by themselves; beyond it all are
MAX_SUBSCRIBERS: Final = 200  # browsers a worker serves; each costs a share of every push
MAX_OF_ONE_USER: Final = 20  # of them; nobody's open tabs, or a script, shut the others out

R = TypeVar("R")


class TooManySubscribers(Exception):
    """This worker serves as many browsers as it can, of all or of this user; the page polls instead and tries again."""


@dataclass(frozen=True)
class Rights:
    """Who may watch, and what: a question to the database that is asked again with each reading."""

    granted: dict[Viewer, QuerySet[Server]]
    at: float  # on the monotonic clock


@dataclass(frozen=True)
class Watch:
    """What a reading is to find out: for each browser its viewer and what it wants."""

    wishes: dict[Subscription, tuple[Viewer, frozenset[int] | None]]
    rights: Rights | None  # None: they are asked anew


@dataclass(frozen=True)
class Reading:
    """What was found: who may watch what, which tunnels stand, and the cards of the servers somebody is shown."""

    rights: Rights
    sights: dict[Viewer, Sight]
    active: set[int]
    found: dict[int, Card]


class Hub:
    """Reads states while somebody watches, and tells each browser what changed of what it may see."""

    def __init__(self) -> None:
        self._subscribers: set[Subscription] = set()
        self._cards: dict[int, Card] = {}  # of the servers somebody is shown
        self._active: set[int] = set()  # of all servers, those whose tunnel stands
        self._rights: Rights | None = None
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

    def subscribe(self, viewer: Viewer, wants: frozenset[int] | None = None) -> Subscription:
        """Start to serve a browser; its first step is a snapshot.

        `wants` are the servers its page shows, by primary key; None is for all there are, up to WHOLE.

        Raises:
            TooManySubscribers: this worker serves no more, or no more of this user.
        """
        of_this_user = sum(one.viewer.user == viewer.user for one in self._subscribers)
        if len(self._subscribers) >= MAX_SUBSCRIBERS or of_this_user >= MAX_OF_ONE_USER:
            raise TooManySubscribers
        subscription = Subscription(viewer, wants)
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
        started = time.monotonic()
        self._next_reading = started + REREAD
        watch = self._watch()
        reading = await self._patiently(in_thread(_read, watch))
        self._read_at = time.monotonic()
        rest = max(REREAD_GAP, SHARE * (self._read_at - started))
        self._next_reading = max(self._next_reading, self._read_at + rest)
        self._resume()
        self._rights, self._active = reading.rights, reading.active
        self._apply(reading.found)
        self._grant(watch, reading.sights)
        self._cards = {pk: card for pk, card in self._cards.items() if pk in reading.found}

    def _watch(self) -> Watch:
        wishes = {one: (one.viewer, one.wants) for one in self._subscribers}
        rights = self._rights
        anew = any(one.shows is None for one in self._subscribers)
        if rights is None or anew or time.monotonic() - rights.at > RECHECK:
            return Watch(wishes, None)
        return Watch(wishes, rights)

    async def _read_dirty(self) -> None:
        dirty, self._dirty = self._dirty, set()
        shown = dirty & self._cards.keys()
        active, found = await self._patiently(in_thread(_read_some, dirty, shown))
        self._active = (self._active - dirty) | active
        self._apply(found, gone=shown - found.keys())

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
        self._active, self._rights = set(), None
        if self._pusher is not None:
            self._pusher.cancel()
            self._pusher = None

    # -- telling ---------------------------------------------------------------------------------

    def _apply(self, found: dict[int, Card], gone: Iterable[int] = ()) -> None:
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
        """Tell each browser what of this it shows, and the counts if they are not what it knows."""
        said: dict[
            tuple[frozenset[int], Counts], list[str]
        ] = {}  # those who show the same get the same texts
        counted: dict[int, Counts] = {}
        for subscription in list(self._subscribers):
            shows, sight = subscription.shows, subscription.sight
            if shows is None or sight is None:
                continue
            if id(sight) not in counted:
                counted[id(sight)] = self._counts(sight)
            counts = counted[id(sight)]
            if (shows, counts) not in said:
                of_these = [one for one in changed if one["id"] in shows]
                said[shows, counts] = messages.patch(of_these, gone & shows, counts)
            self._put(subscription, said[shows, counts] or self._news(subscription, counts), counts)

    def _counts(self, sight: Sight) -> Counts:
        return len(self._active & sight.servers), sight.tunnels

    def _grant(self, watch: Watch, sights: dict[Viewer, Sight]) -> None:
        """Let each browser see what its user may see now."""
        for subscription, (viewer, _) in watch.wishes.items():
            if subscription not in self._subscribers:
                continue
            if viewer in sights:
                self._show(subscription, sights[viewer])
            else:
                log.info("a live page is closed, its user may not see it any more user=%s", viewer.user)
                self._end(subscription, NO_LONGER_WELCOME)

    def _show(self, subscription: Subscription, sight: Sight) -> None:
        subscription.sight = sight
        counts = self._counts(sight)
        shown, before = _shown(sight, subscription.wants), subscription.shows
        if shown is None:
            texts = [] if subscription.too_many else [messages.too_many(counts)]
        elif before is None or subscription.too_many:
            texts = messages.snapshot(self._known(shown), counts)
        else:
            new = cast("list[Patch]", self._known(shown - before))
            texts = messages.patch(new, before - shown, counts)
        subscription.shows, subscription.too_many = shown or frozenset(), shown is None
        self._put(subscription, texts or self._news(subscription, counts), counts)

    def _news(self, subscription: Subscription, counts: Counts) -> list[str]:
        return [] if counts == subscription.counts else [messages.count(counts)]

    def _known(self, pks: frozenset[int]) -> list[Card]:
        return [self._cards[pk] for pk in pks if pk in self._cards]

    def _pause(self, reason: str) -> None:
        if not self._paused:
            self._paused = True
            log.warning("live pages are paused: %s", reason)
            self._tell_whether_live()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            log.info("live pages are live again")
            self._tell_whether_live()

    def _tell_whether_live(self) -> None:
        for subscription in list(self._subscribers):
            counts = subscription.counts
            self._put(subscription, [messages.beat(live=not self._paused, counts=counts)], counts)

    def _put(self, subscription: Subscription, texts: list[str], counts: Counts | None) -> None:
        if not texts:
            return
        subscription.counts = counts
        if not subscription.put(texts):
            log.info("a browser reads too slowly and is dropped user=%s", subscription.viewer.user)
            self._end(subscription, TRY_AGAIN)

    def _end(self, subscription: Subscription, code: int) -> None:
        subscription.end(code)
        self.unsubscribe(subscription)


def _shown(sight: Sight, wants: frozenset[int] | None) -> frozenset[int] | None:
    """Return what a browser is shown; None when it wants all and that is too much for one page."""
    if wants is not None:
        return wants & sight.servers
    return sight.servers if len(sight.servers) <= WHOLE else None


def _read(watch: Watch) -> Reading:
    """Read for all browsers at once: the number of questions does not grow with them."""
    watching = {viewer for viewer, _ in watch.wishes.values()}
    rights = watch.rights or _rights(watching)
    granted = {viewer: servers for viewer, servers in rights.granted.items() if viewer in watching}
    sights = viewers.sights(granted)  # before the cards: what appears in between is told next time
    shown: set[int] = set()
    for viewer, wants in set(watch.wishes.values()):
        if viewer in sights:
            shown |= _shown(sights[viewer], wants) or frozenset()
    active = set(presence.active_servers().order_by().values_list("pk", flat=True))
    return Reading(rights, sights, active, _read_cards(shown))


def _rights(watching: set[Viewer]) -> Rights:
    at = time.monotonic()
    return Rights(viewers.rights(watching), at)


def _read_some(dirty: Iterable[int], shown: Iterable[int]) -> tuple[set[int], dict[int, Card]]:
    active = presence.active_servers().filter(pk__in=list(dirty)).order_by()
    return set(active.values_list("pk", flat=True)), _read_cards(shown)


def _read_cards(pks: Iterable[int]) -> dict[int, Card]:
    wanted = sorted(pks)
    found: dict[int, Card] = {}
    for start in range(0, len(wanted), READ_AT_ONCE):
        found |= cards.read(Server.objects.filter(pk__in=wanted[start : start + READ_AT_ONCE]))
    return found


hub = Hub()
