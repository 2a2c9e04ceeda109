"""The bus between the processes of the master: one inbox a process, read by one task for ever.

It carries sealed letters over the channel layer, tells gaps and silence, and knows nothing of what they say.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from channels.layers import get_channel_layer

from tunnel import metrics
from tunnel.letters import Envelope, ForgedLetter, unseal
from tunnel.links import Arrival, IncomingLinks, Item, Outlet, Turn

log = logging.getLogger("tunnel.bus")

GROUP = "tunnel.everyone"  # what every process hears: routes that changed, states, figures
SEND_WITHIN = 1.8  # seconds an envelope may wait for the channel layer; callers are told within 2
JOIN_AGAIN = 1.0  # seconds between tries to subscribe while Redis is away
TELL_EVERY = 10.0  # seconds between two lines of the log about strange letters of one kind
TELL_CHARACTERS = 200  # of what an unreadable message says of itself
HEARD_LATELY = 10.0  # seconds; who waits for us says something each second, and has given us up after five
OUTLET_KEPT = 60.0  # seconds an idle outlet is kept; a new one begins a new link


class Listener(Protocol):
    """What a bus tells the program on top of it."""

    def heard(self, envelope: Envelope, sender: str) -> None:
        """Take an envelope from another process."""

    def link_broken(self, sender: str, epoch: int, *, again: bool) -> None:
        """Note that letters of this sender to us were lost; `again` when it goes on as if it had not been told."""

    def missed_announcement(self) -> None:
        """Note that something said to everyone was lost."""


class Bus:
    """Letters to and from the other processes, on one event loop."""

    def __init__(self, listener: Listener) -> None:
        self.inbox = ""
        self.counts: Counter[str] = Counter()  # forged, repeated, gap, broken, unreadable
        self._told: dict[str, float] = {}
        self._listener = listener
        self._layer: Any = get_channel_layer()
        self._outlets: dict[str, Outlet] = {}
        self._incoming = IncomingLinks()
        self._joined = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    @property
    def joined(self) -> bool:
        """Tell whether this process has an inbox; without one nobody can answer it."""
        return self._joined.is_set()

    async def start(self, on_join: Callable[[str], None], *, patience: float) -> None:
        """Subscribe, in the background if it takes longer than `patience` seconds because Redis is away."""
        self._reader = asyncio.create_task(self._read(on_join), name="tunnel inbox")
        try:
            async with asyncio.timeout(patience):
                await self._joined.wait()
        except TimeoutError:
            log.warning("the channel layer does not answer; other workers cannot be reached until it does")

    async def stop(self, last_words: Envelope) -> None:
        """Send what waits, then `last_words` to everyone, and leave."""
        if await self._flush_all() and self.joined:
            self.put(GROUP, last_words)
            await self._flush_all()
        for outlet in self._outlets.values():
            outlet.stop()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader], timeout=SEND_WITHIN)  # with Redis away it would retry for long

    def put(self, address: str, envelope: Envelope, **options: Any) -> Item:
        """Queue an envelope to an inbox or to `GROUP`.

        Raises:
            OutletFull: too many wait already.
        """
        options.setdefault("send_by", time.time() + SEND_WITHIN)
        return self._outlet(address).put(envelope, **options)

    async def _flush_all(self) -> bool:
        """Tell whether all that waits was handed to the channel layer in time."""
        flushing = [asyncio.ensure_future(outlet.flush()) for outlet in self._outlets.values()]
        late = (await asyncio.wait(flushing, timeout=SEND_WITHIN))[1] if flushing else set()
        return not late

    async def flush(self, address: str) -> None:
        """Wait until what was put for an address was handed to the channel layer."""
        await self._outlet(address).flush()

    def silent_for(self, sender: str, since: float) -> float:
        """Seconds since a letter of `sender` arrived, or since `since` on the monotonic clock if that is later."""
        return time.monotonic() - max(self._incoming.heard(sender, self.inbox), since)

    def read(self) -> dict[str, Turn]:
        """Up to which letter each process was heard that has said something to us lately."""
        return self._incoming.read(self.inbox, time.monotonic() - HEARD_LATELY)

    def prune(self) -> None:
        """Forget the outlets that have been idle for long; processes come and go."""
        for address, outlet in list(self._outlets.items()):
            if outlet.idle_for() > OUTLET_KEPT:
                del self._outlets[address]

    def start_new_link(self, address: str) -> None:
        """Begin a new link to this address."""
        self._outlet(address).start_new_link()

    def epoch(self, address: str) -> int:
        """Return the number of our present link to this address."""
        return self._outlet(address).epoch

    def _outlet(self, address: str) -> Outlet:
        if address not in self._outlets:
            self._outlets[address] = Outlet(self.inbox, address, self._publish)
        return self._outlets[address]

    async def _publish(self, address: str, letter: bytes) -> None:
        message = {"type": "tunnel.letter", "to": address, "letter": letter}
        if address == GROUP:
            await self._layer.group_send(GROUP, message)
        else:
            await self._layer.send(address, message)

    async def _read(self, on_join: Callable[[str], None]) -> None:
        await self._join()
        on_join(self.inbox)
        self._joined.set()
        while True:
            try:
                message = await self._layer.receive(self.inbox)
            except Exception as exc:  # noqa: BLE001 - whatever stands in the inbox, the reader lives on
                metrics.layer_error("receive")
                self._strange("unreadable", f"something unreadable came over the channel layer: {exc!r}")
                await asyncio.sleep(0)
                continue
            self._open(message)

    async def _join(self) -> None:
        while True:
            try:
                inbox = await self._layer.new_channel("yumna.")
                await self._layer.group_add(GROUP, inbox)
            except Exception as exc:  # noqa: BLE001 - the layer's own errors; Redis may come later
                metrics.layer_error("subscribe")
                log.debug("cannot subscribe yet: %r", exc)
                await asyncio.sleep(JOIN_AGAIN)
            else:
                self.inbox = inbox
                return

    def _open(self, message: Any) -> None:
        address = message.get("to") if isinstance(message, dict) else None
        if address not in (self.inbox, GROUP):
            self._strange("forged", "a letter was dropped: it is for somebody else")
            return
        try:
            letter = unseal(message.get("letter"), address)
        except ForgedLetter as exc:
            self._strange("forged", f"a letter was dropped: {exc}")
            return
        arrival = self._incoming.judge(letter, address, from_start=address == self.inbox)
        if arrival is not Arrival.NEXT:
            self.counts[arrival.value] += 1
        if arrival is Arrival.GAP and address == GROUP:
            self._listener.missed_announcement()
        elif arrival in (Arrival.GAP, Arrival.BROKEN):
            again = arrival is Arrival.BROKEN
            self._listener.link_broken(letter.sender, letter.epoch, again=again)
        if arrival is Arrival.NEXT or (arrival is Arrival.GAP and address == GROUP):
            self._deliver(letter.envelopes, letter.sender)

    def _strange(self, kind: str, sentence: str) -> None:
        """Count what nobody of ours sent, and say so now and then: a stranger must not fill the log."""
        self.counts[kind] += 1
        now = time.monotonic()
        if now - self._told.get(kind, float("-inf")) >= TELL_EVERY:
            self._told[kind] = now
            log.warning("%s (%d so far)", sentence[:TELL_CHARACTERS], self.counts[kind])

    def _deliver(self, envelopes: list[Envelope], sender: str) -> None:
        if sender == self.inbox:
            return  # our own announcement; we knew
        for envelope in envelopes:
            try:
                self._listener.heard(envelope, sender)
            except Exception:
                log.exception("an envelope was not understood")
