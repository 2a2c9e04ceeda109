"""Links between processes: outgoing letters are numbered and gathered, incoming ones checked for gaps."""

import asyncio
import itertools
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from tunnel import metrics
from tunnel.letters import MAX_ENVELOPES, MAX_LETTER, Envelope, Letter, seal

log = logging.getLogger("tunnel.bus")

MAX_WAITING = 4_096  # envelopes an outlet holds while Redis is slow; beyond it callers are told at once
MAX_WAITING_BYTES = 16 * 1024 * 1024
BULK_LETTER = 128 * 1024  # bytes of bulk in a letter; what becomes urgent meanwhile waits for one of them
MAX_SENDERS = 10_000  # incoming links remembered; a master has tens of processes

# Epochs of a process only grow, also when its host's clock is set back: a receiver takes an older one for a repetition.
_epochs = itertools.count(time.time_ns())

Publish = Callable[[str, bytes], Awaitable[None]]


class Fate(Enum):
    """What became of an envelope on its way to the channel layer."""

    WAITING = "waiting"  # certainly not sent
    UNDER_WAY = "under way"  # handed to the channel layer, which has not confirmed it
    PUBLISHED = "published"
    WITHDRAWN = "withdrawn"  # certainly never sent
    FAILED = "failed"  # the channel layer raised; it may have been sent


class Turn(NamedTuple):
    """Where a letter stands on its link, earlier ones first."""

    epoch: int
    number: int


@dataclass(eq=False)
class Item:
    """An envelope in an outlet; it is not published after `send_by` (unix seconds).

    `on_failure` is called when the channel layer raised, and when its time was over before it was sent.
    """

    envelope: Envelope
    send_by: float
    size: int
    fate: Fate = Fate.WAITING
    turn: "Turn | None" = None  # the letter it went out with
    on_failure: Callable[[], None] | None = None

    def end(self, fate: Fate) -> None:
        """Note what became of it."""
        self.fate = fate
        if fate is not Fate.PUBLISHED and self.on_failure is not None:
            self.on_failure()

    def withdraw(self) -> bool:
        """Take the envelope back; False when it may be out already."""
        if self.fate is Fate.WAITING:
            self.fate = Fate.WITHDRAWN
        return self.fate is Fate.WITHDRAWN


class OutletFull(Exception):
    """More envelopes wait for Redis than memory was set aside for."""


class Outlet:
    """Sends envelopes to one address; those that come while a letter is under way share the next one.

    Bulk goes when nothing else waits, and a little at a time.
    """

    def __init__(self, sender: str, address: str, publish: Publish) -> None:
        self.address = address
        self._sender = sender
        self._publish = publish
        self.epoch = next(_epochs)
        self._number = 0
        self._waiting: deque[Item] = deque()
        self._bulk: deque[Item] = deque()
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._used = time.monotonic()

    def put(
        self,
        envelope: Envelope,
        *,
        send_by: float,
        on_failure: Callable[[], None] | None = None,
        bulk: bool = False,
    ) -> Item:
        """Queue an envelope; those of bulk keep their order, and so do the others.

        Raises:
            OutletFull: too many wait already.
        """
        size = _size(envelope)
        if len(self._waiting) + len(self._bulk) >= MAX_WAITING or self._bytes + size > MAX_WAITING_BYTES:
            raise OutletFull(self.address)
        item = Item(envelope, send_by, size, on_failure=on_failure)
        (self._bulk if bulk else self._waiting).append(item)
        self._bytes += size
        self._used = time.monotonic()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._drain(), name=f"outlet {self.address}")
        return item

    def start_new_link(self) -> None:
        """Number from 1 again, as a new link: the receiver has noticed a gap in this one."""
        self.epoch = next(_epochs)
        self._number = 0

    def idle_for(self) -> float:
        """Seconds since an envelope was last put or is still waiting."""
        return 0.0 if self._waiting or self._bulk else time.monotonic() - self._used

    def stop(self) -> None:
        """Drop what waits."""
        if self._task is not None:
            self._task.cancel()
        self._waiting.clear()
        self._bulk.clear()

    async def flush(self) -> None:
        """Wait until everything queued so far was handed to the channel layer."""
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def _drain(self) -> None:
        while self._waiting or self._bulk:
            batch = self._next_batch()
            if batch:
                await self._send(batch)

    def _next_batch(self) -> list[Item]:
        batch: list[Item] = []
        size = self._take(self._waiting, batch, 0, MAX_LETTER)
        self._take(self._bulk, batch, size, min(MAX_LETTER, size + BULK_LETTER))
        return batch

    def _take(self, waiting: deque[Item], batch: list[Item], size: int, most: int) -> int:
        """Move items to a batch of `size` bytes until it has `most`; return how many it has then."""
        now = time.time()
        while waiting and len(batch) < MAX_ENVELOPES:
            item = waiting[0]
            if batch and size + item.size > most:
                break
            waiting.popleft()
            self._bytes -= item.size
            if item.fate is Fate.WITHDRAWN:
                continue
            if now > item.send_by:
                item.end(Fate.WITHDRAWN)
                continue
            size += item.size
            batch.append(item)
        return size

    async def _send(self, batch: list[Item]) -> None:
        self._number += 1
        letter = Letter(self._sender, self.epoch, self._number, [item.envelope for item in batch])
        for item in batch:
            item.fate, item.turn = Fate.UNDER_WAY, Turn(self.epoch, self._number)
        try:
            await self._publish(self.address, seal(letter, self.address))
        except Exception as exc:  # noqa: BLE001 - whatever the layer raises, its callers must be told
            metrics.layer_error("publish")
            log.warning("a letter to %s was not published: %s", self.address, exc)
            self.start_new_link()
            fate = Fate.FAILED
        else:
            fate = Fate.PUBLISHED
        for item in batch:
            item.end(fate)


def _size(value: Any) -> int:
    """Roughly the bytes of a value as JSON, where a character beyond ASCII takes six; frames travel as they are."""
    if isinstance(value, str):
        return 2 + (len(value) if value.isascii() else 6 * len(value))
    if isinstance(value, dict):
        return 2 + sum(_size(key) + _size(item) + 2 for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return 2 + sum(_size(item) + 1 for item in value)
    if isinstance(value, bytes):
        return len(value)
    return 20  # a number, a word


class Arrival(Enum):
    """How an incoming letter fits its link."""

    NEXT = "next"
    REPEATED = "repeated"
    GAP = "gap"
    BROKEN = "broken"  # behind a gap; the sender has not heard of it yet


@dataclass
class Incoming:
    """One incoming link: the last number seen, and whether it was broken by a gap."""

    epoch: int
    number: int
    broken: bool = False
    heard: float = field(default_factory=time.monotonic)


class IncomingLinks:
    """Judges the numbers of incoming letters, per sender and address."""

    def __init__(self) -> None:
        self._links: OrderedDict[tuple[str, str], Incoming] = OrderedDict()

    def judge(self, letter: Letter, address: str, *, from_start: bool) -> Arrival:
        """Say how a letter fits; with `from_start` a link must begin with number 1, else it may be joined late."""
        key = (letter.sender, address)
        link = self._links.get(key)
        if link is None or letter.epoch > link.epoch:
            return self._begin(key, letter, from_start=from_start)
        if letter.epoch < link.epoch or letter.number <= link.number:
            return Arrival.REPEATED
        gap = letter.number != link.number + 1
        link.number, link.heard = letter.number, time.monotonic()
        if link.broken:
            return Arrival.BROKEN
        link.broken = gap and from_start
        self._links.move_to_end(key)
        return Arrival.GAP if gap else Arrival.NEXT

    def heard(self, sender: str, address: str) -> float:
        """When the last letter of this sender arrived, on the monotonic clock; 0.0 for never."""
        link = self._links.get((sender, address))
        return link.heard if link else 0.0

    def read(self, address: str, since: float) -> dict[str, Turn]:
        """The last letter to an address of each sender that was heard after `since` on the monotonic clock."""
        return {
            sender: Turn(link.epoch, link.number)
            for (sender, to), link in self._links.items()
            if to == address and link.heard > since
        }

    def _begin(self, key: tuple[str, str], letter: Letter, *, from_start: bool) -> Arrival:
        gap = from_start and letter.number != 1
        self._links[key] = Incoming(letter.epoch, letter.number, broken=gap)
        self._links.move_to_end(key)
        if len(self._links) > MAX_SENDERS:
            self._links.popitem(last=False)
        return Arrival.GAP if gap else Arrival.NEXT
