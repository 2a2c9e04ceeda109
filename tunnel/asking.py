"""Asking an agent: the caller's half of the switchboard."""

import asyncio
import itertools
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from agent_client.protocol import Code
from tunnel.bus import SEND_WITHIN, Bus
from tunnel.connection import AgentConnection
from tunnel.letters import Envelope
from tunnel.links import Fate, Item, OutletFull, Turn
from tunnel.outcomes import Outcome
from tunnel.relaying import Place, Streams
from tunnel.requests import Request
from tunnel.routes import Route
from tunnel.streams import OwnedStream

LAST_ANSWERS = 1.0  # seconds the answers of a worker that has left may still be on their way

Answer = asyncio.Future[Outcome | None]  # None: the agent is not there


@dataclass(eq=False)
class Call:
    """A request of ours that another worker is to answer."""

    address: str
    answer: Answer
    item: Item | None = None  # None for a moment only
    since: float = field(default_factory=time.monotonic)
    stream: OwnedStream | None = None
    place: Place | None = None


class Here:
    """The way from an owner to an agent whose socket this process holds."""

    def __init__(self, connection: AgentConnection, stream: OwnedStream) -> None:
        self._connection = connection
        self._stream = stream

    def send(self, frame: bytes) -> None:
        """Hand a frame to the agent's session."""
        self._connection.relay(self._stream.number, frame, self._stream)

    def forget(self) -> None:
        """The session has forgotten it already."""


async def ask_here(
    connection: AgentConnection, request: Request, deadline: float, stream: OwnedStream | None = None
) -> Outcome | None:
    """Ask an agent whose socket this process holds."""
    answer: Answer = asyncio.get_running_loop().create_future()
    left = deadline - time.monotonic()
    if stream is None:
        connection.command(request.command(), timeout=left, on_outcome=partial(settle, answer))
    else:
        _ask_for_stream(connection, request, left, answer, stream)
    return await _wait(answer, left, lambda: connection.cancel(request.id))


def _ask_for_stream(
    connection: AgentConnection, request: Request, left: float, answer: Answer, stream: OwnedStream
) -> None:
    def on_outcome(outcome: Outcome) -> None:
        if outcome.opened is not None:  # here and now: its first frames follow at once
            stream.opened(outcome, Here(connection, stream))
        settle(answer, outcome)

    connection.command(
        request.command(),
        timeout=left,
        on_outcome=on_outcome,
        stream_owner=stream,
        interactive=request.interactive,
    )


def settle(answer: Answer, outcome: Outcome | None) -> None:
    """Give an answer unless there is one."""
    if not answer.done():
        answer.set_result(outcome)


class Calls:
    """The requests under way to other workers."""

    def __init__(self, bus: Bus, streams: Streams) -> None:
        self._bus = bus
        self._streams = streams
        self._calls: dict[str, Call] = {}
        self._name = uuid.uuid4().hex  # a holder serves many callers, whose keys must differ
        self._numbers = itertools.count()

    @property
    def addresses(self) -> set[str]:
        """The inboxes we wait for."""
        return {call.address for call in self._calls.values()}

    def __len__(self) -> int:
        return len(self._calls)

    async def ask(
        self,
        route: Route,
        agent_id: str,
        request: Request,
        deadline: float,
        stream: OwnedStream | None = None,
    ) -> Outcome | None:
        """Ask the worker behind `route`; None when it does not hold this session, so that nothing was sent."""
        if not self._bus.joined:
            return Outcome(code=Code.BUS_UNAVAILABLE)
        key, left = f"{self._name}-{next(self._numbers)}", deadline - time.monotonic()
        call = Call(route.inbox, asyncio.get_running_loop().create_future())
        if stream is not None:
            bulk = not request.interactive
            call.stream = stream
            call.place = Place(route.inbox, key, agent_id, route.session, bulk)
        send_by = time.time() + min(SEND_WITHIN, left)
        address = {
            "kind": "ask",
            "call": key,
            "agent": agent_id,
            "session": route.session,
            "send_by": send_by,
        }
        lost = partial(settle, call.answer, Outcome(code=Code.RELAY_LOST))
        envelope = address | request.to_envelope()
        try:
            call.item = self._bus.put(route.inbox, envelope, send_by=send_by, on_failure=lost)
        except OutletFull:
            return Outcome(code=Code.BUS_UNAVAILABLE)
        self._calls[key] = call
        try:
            return await self._await(call, call.item, left, key)
        finally:
            del self._calls[key]

    def answered(self, envelope: Envelope, sender: str) -> None:
        """Take the answer to a call, from the worker that was asked and nobody else."""
        outcome = Outcome.from_members(envelope["outcome"])
        if outcome.opened is not None:
            self._take_stream(envelope["call"], sender, outcome)
        self._settle(envelope, sender, outcome)

    def not_here(self, envelope: Envelope, sender: str) -> None:
        """Note that a worker does not hold the session it was asked for."""
        self._settle(envelope, sender, None)

    def lose(self, address: str | None = None) -> None:
        """End the calls to an address, or all, as of unknown outcome."""
        for call in list(self._calls.values()):
            if address in (None, call.address):
                settle(call.answer, Outcome(code=Code.RELAY_LOST))

    def left(self, address: str, read: Turn | None) -> None:
        """End the calls to a worker that has left, `read` being the last letter that it took from us.

        What stands behind that was certainly not run. The rest was answered before the worker left; an answer that
        does not come soon will not come.
        """
        for call in self._calls.values():
            turn = call.item.turn if call.item else None
            if call.address == address and (turn is None or read is None or turn > read):
                settle(call.answer, None)
        asyncio.get_running_loop().call_later(LAST_ANSWERS, self.lose, address)

    def lose_silent(self, silence: float) -> None:
        """End the calls to addresses that have said nothing for `silence` seconds."""
        for call in list(self._calls.values()):
            if self._bus.silent_for(call.address, call.since) > silence:
                settle(call.answer, Outcome(code=Code.RELAY_LOST))

    def _take_stream(self, key: str, sender: str, outcome: Outcome) -> None:
        """Take a stream before its first frames, which may be in the same letter."""
        call = self._calls.get(key)
        if call is None:
            self._streams.refuse(key, sender)
        elif call.address == sender and call.stream is not None and call.place is not None:
            self._streams.open(call.stream, call.place, outcome)

    def _settle(self, envelope: Envelope, sender: str, outcome: Outcome | None) -> None:
        call = self._calls.get(envelope["call"])
        if call is not None and call.address == sender:
            settle(call.answer, outcome)

    async def _await(self, call: Call, item: Item, left: float, key: str) -> Outcome | None:
        """Wait in two steps: until the envelope must be out, then for the answer."""
        first = min(SEND_WITHIN, left)
        cancel = partial(self._cancel, call.address, key)
        try:
            done, _ = await asyncio.wait([call.answer], timeout=first)
        except asyncio.CancelledError:
            if not item.withdraw():
                cancel()
            raise
        if item.withdraw():
            gone = bool(done) and call.answer.result() is None
            return None if gone else Outcome(code=Code.BUS_UNAVAILABLE)
        if done:
            return call.answer.result()
        if item.fate is not Fate.PUBLISHED:
            return Outcome(code=Code.RELAY_LOST)
        return await _wait(call.answer, left - first, cancel)

    def _cancel(self, address: str, key: str) -> None:
        with suppress(OutletFull):
            self._bus.put(address, {"kind": "cancel", "call": key})


async def _wait(answer: Answer, left: float, cancel: Callable[[], None]) -> Outcome | None:
    """Wait for an answer; who leaves without one has the command stopped."""
    try:
        done, _ = await asyncio.wait([answer], timeout=max(0.0, left))
    except asyncio.CancelledError:
        cancel()
        raise
    if not done:
        cancel()
        return Outcome(code=Code.NO_REPLY)
    return answer.result()
