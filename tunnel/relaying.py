"""Streams between two workers: the one that holds the agent's socket, and the one whose caller owns the stream.

A frame travels in an envelope that names the call by which the stream was opened. Nothing is repeated: what is lost on
the way ends the stream on both sides, at the agent too. Each side tells the other again and again which streams it
knows, so that none stays on one side alone whatever was lost.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from agent_client.protocol import Code
from agent_client.protocol.frames import Kind
from tunnel.bus import Bus
from tunnel.connection import AgentConnection
from tunnel.letters import FRAME, Envelope
from tunnel.links import OutletFull
from tunnel.outcomes import Outcome
from tunnel.streams import OwnedStream

log = logging.getLogger("tunnel.switchboard")

FRAME_WITHIN = (
    5.0  # seconds a frame may wait for the channel layer; the other side has ended the link by then
)
LAST_WORDS = frozenset({Kind.END.value, Kind.RESET.value})  # frames after which a stream may be over

LINK_WINDOWS = (
    4 * 1024 * 1024
)  # bytes; to its share of this a stream's window may grow, so that an outlet holds all
SETTLED = 10.0  # seconds after which both sides know that a stream was opened, or one of them gave it up


@dataclass(frozen=True)
class Place:
    """Where a stream's frames go: the holder's inbox, the call that opened it, and the session it lives in."""

    inbox: str
    call: str
    agent_id: str
    session: str
    bulk: bool


class Across:
    """The way from an owner here to a holder elsewhere."""

    def __init__(self, streams: "Streams", place: Place) -> None:
        self._streams = streams
        self._place = place

    def send(self, frame: bytes) -> None:
        """Put a frame on the link."""
        self._streams.send(self._place, frame)

    def forget(self) -> None:
        """Forget the stream."""
        self._streams.forget(self._place)


@dataclass(eq=False)
class Owned:
    """A stream of ours, and where its frames go."""

    stream: OwnedStream
    place: Place
    since: float = field(default_factory=time.monotonic)


class Streams:
    """Our streams of agents whose sockets other workers hold."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._owned: dict[str, Owned] = {}

    @property
    def addresses(self) -> set[str]:
        """The inboxes of their holders."""
        return {one.place.inbox for one in self._owned.values()}

    def calls(self, address: str) -> list[str]:
        """Name the streams that we own behind an inbox."""
        return [call for call, one in self._owned.items() if one.place.inbox == address]

    def open(self, stream: OwnedStream, place: Place, outcome: Outcome) -> None:
        """Take a stream that its agent has opened."""
        self._owned[place.call] = Owned(stream, place)
        share = LINK_WINDOWS // len(self.calls(place.inbox))
        stream.opened(outcome, Across(self, place), grows_to=share)

    def send(self, place: Place, frame: bytes) -> None:
        """Carry a frame to the holder; what is not carried ends the stream."""
        lost = partial(self._lose_one, place.call)
        _put(self._bus, place.inbox, "to_agent", place.call, frame, bulk=place.bulk, on_failure=lost)

    def forget(self, place: Place) -> None:
        """Drop a stream that is over."""
        self._owned.pop(place.call, None)

    def framed(self, envelope: Envelope, sender: str) -> None:
        """Take a frame from the holder of a stream, and from nobody else."""
        one = self._find(envelope["call"], sender)
        if one is not None:
            one.stream.frame(envelope[FRAME])
        elif envelope[FRAME][0] not in LAST_WORDS:
            self.refuse(envelope["call"], sender)

    def calm(self, envelope: Envelope, sender: str) -> None:
        """Note whether the line of an agent has room for large windows."""
        one = self._find(envelope["call"], sender)
        if one is not None:
            one.stream.calm(envelope["calm"])

    def ended(self, envelope: Envelope, sender: str) -> None:
        """Note that a holder has lost a stream."""
        one = self._find(envelope["call"], sender)
        if one is not None:
            one.stream.lost(Code(envelope["code"]), envelope["error"])

    def refuse(self, call: str, holder: str) -> None:
        """Have a holder end what nobody here waits for."""
        with suppress(OutletFull):
            self._bus.put(holder, {"kind": "cancel", "call": call})

    def compare(self, carried: list[str], holder: str) -> None:
        """End the streams that their holder does not know any more."""
        known, now = set(carried), time.monotonic()
        for call in self.calls(holder):
            if call not in known and now - self._owned[call].since > SETTLED:
                self._lose_one(call)

    def lose(self, address: str | None = None) -> None:
        """End the streams to an address, or all: bytes of them were lost."""
        for call, one in list(self._owned.items()):
            if address in (None, one.place.inbox):
                self._lose_one(call)

    def lose_silent(self, silence: float) -> None:
        """End the streams to addresses that have said nothing for `silence` seconds."""
        for call, one in list(self._owned.items()):
            if self._bus.silent_for(one.place.inbox, one.since) > silence:
                self._lose_one(call)

    def sessions(self, agent_id: str) -> set[str]:
        """The sessions of this agent in which we have streams."""
        return {one.place.session for one in self._owned.values() if one.place.agent_id == agent_id}

    def disconnect(self, agent_id: str, *, but: str) -> None:
        """End the streams in sessions of an agent other than `but`, its present one."""
        for one in list(self._owned.values()):
            if one.place.agent_id == agent_id and one.place.session != but:
                one.stream.lost(Code.DISCONNECTED)

    def _find(self, call: str, holder: str) -> Owned | None:
        one = self._owned.get(call)
        return one if one is not None and one.place.inbox == holder else None

    def _lose_one(self, call: str) -> None:
        one = self._owned.get(call)
        if one is not None:
            self.refuse(call, one.place.inbox)
            one.stream.lost(Code.RELAY_LOST)


@dataclass(eq=False)
class Relay:
    """A stream of an agent of ours whose owner lives elsewhere; `number` is 0 until it is opened."""

    relays: "Relays"
    owner: str
    call: str
    connection: AgentConnection
    bulk: bool
    number: int = 0
    since: float = field(default_factory=time.monotonic)

    def frame(self, data: bytes) -> None:
        """Pass a frame of the agent on."""
        self.relays.pass_on(self, data)

    def calm(self, calm: bool) -> None:
        """Tell the owner whether the line has room for large windows."""
        self.relays.tell(self.owner, {"kind": "calm", "call": self.call, "calm": calm})

    def lost(self, code: Code, error: str = "") -> None:
        """Tell the owner that the stream is over."""
        self.relays.end(self, code, error)


class Relays:
    """The streams of our agents that other workers own."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._relays: dict[str, Relay] = {}

    @property
    def owners(self) -> set[str]:
        """The inboxes of their owners."""
        return {relay.owner for relay in self._relays.values()}

    def calls(self, owner: str) -> list[str]:
        """Name the streams that we carry for an owner."""
        return [call for call, relay in self._relays.items() if relay.owner == owner]

    def open(self, relay: Relay, number: int) -> None:
        """Carry a stream from now on; its owner gets the answer ahead of the first frame."""
        relay.number, relay.since = number, time.monotonic()
        self._relays[relay.call] = relay

    def framed(self, envelope: Envelope, sender: str) -> None:
        """Pass a frame of its owner, and of nobody else, to the agent."""
        relay = self._relays.get(envelope["call"])
        frame = envelope[FRAME]
        if relay is not None and relay.owner == sender:
            relay.connection.relay(relay.number, frame, relay)
            self._drop_if_over(relay, frame)
        elif frame[0] not in LAST_WORDS:
            self._tell_lost(sender, envelope["call"], Code.RELAY_LOST)

    def pass_on(self, relay: Relay, frame: bytes) -> None:
        """Carry a frame to the owner; what is not carried ends the stream."""
        lost = partial(self._lose_one, relay.call)
        _put(self._bus, relay.owner, "from_agent", relay.call, frame, bulk=relay.bulk, on_failure=lost)
        self._drop_if_over(relay, frame)

    def end(self, relay: Relay, code: Code, error: str = "") -> None:
        """Forget a stream and tell its owner."""
        if self._relays.pop(relay.call, None) is not None:
            self._tell_lost(relay.owner, relay.call, code, error)

    def cancel(self, call: str, owner: str) -> None:
        """End a stream because its owner says so."""
        relay = self._relays.get(call)
        if relay is not None and relay.owner == owner:
            del self._relays[call]
            relay.connection.reset_stream(relay.number, Code.CANCELLED, "its owner left")

    def compare(self, owned: list[str], owner: str) -> None:
        """End the streams that their owner does not know any more."""
        known, now = set(owned), time.monotonic()
        for call in self.calls(owner):
            if call not in known and now - self._relays[call].since > SETTLED:
                self._lose_one(call)

    def lose(self, owner: str) -> None:
        """End the streams of an owner: bytes of them were lost, or it is gone."""
        for call in self.calls(owner):
            self._lose_one(call)

    def _lose_one(self, call: str) -> None:
        """End a stream on both sides."""
        relay = self._relays.get(call)
        if relay is not None:
            self.end(relay, Code.RELAY_LOST)
            relay.connection.reset_stream(relay.number, Code.RELAY_LOST, "the way to its owner broke")

    def _drop_if_over(self, relay: Relay, frame: bytes) -> None:
        if frame[0] in LAST_WORDS and not relay.connection.carries(relay.number):
            self._relays.pop(relay.call, None)

    def tell(self, owner: str, envelope: Envelope) -> None:
        """Send an envelope to an owner; what it does not hear it finds out when both sides compare."""
        with suppress(OutletFull):
            self._bus.put(owner, envelope, bulk=True)  # behind the frames that wait

    def _tell_lost(self, owner: str, call: str, code: Code, error: str = "") -> None:
        self.tell(owner, {"kind": "lost", "call": call, "code": code.value, "error": error})


def _put(
    bus: Bus, address: str, kind: str, call: str, frame: bytes, *, bulk: bool, on_failure: Callable[[], None]
) -> None:
    envelope = {"kind": kind, "call": call, FRAME: frame}
    bulk = bulk and frame[0] != Kind.WINDOW  # which makes room, and may pass the bytes that wait
    try:
        bus.put(address, envelope, send_by=time.time() + FRAME_WITHIN, on_failure=on_failure, bulk=bulk)
    except OutletFull:
        log.warning("a stream ends, %s takes no more", address)
        on_failure()
