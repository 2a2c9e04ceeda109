"""The switchboard: any process asks, the worker that holds the agent's socket answers (docs/architecture.md).

caller -> local holder                      same process
caller -> bus -> holder -> agent -> holder -> bus -> caller
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.db import Error as DatabaseError

from agent_client.protocol import Code
from servers.threads import in_thread
from tunnel import routes
from tunnel.answering import Connections, Holding
from tunnel.asking import Calls, ask_here
from tunnel.bus import GROUP, Bus
from tunnel.letters import Envelope
from tunnel.links import OutletFull, Turn
from tunnel.outcomes import Outcome
from tunnel.relaying import Relays, Streams
from tunnel.requests import Request
from tunnel.routes import Route, RouteCache
from tunnel.streams import OwnedStream

log = logging.getLogger("tunnel.switchboard")

JOIN_PATIENCE = 2.0  # seconds a caller waits for the first subscription
LINK_TICK = 1.0  # seconds between the signs of life on a link that carries commands
LINK_STALL = 2.0  # seconds late; who was held up so long judges the others a tick later
LINK_SILENCE = 5.0  # seconds without a letter that end such a link
MAX_GONE = 1_000  # inboxes of workers that have left; a route to one of them is a moment old
ROUTE_TRIES = 2  # a route may be out of date once; nothing was sent to the agent then

Handler = Callable[[Envelope, str], None]


class Switchboard:
    """Asks agents and answers for them, on one event loop.

    `connections` is None in a process that holds no sockets. `on_news` takes what other workers announce, `on_gap`
    is called when an announcement was lost.
    """

    def __init__(
        self,
        connections: Connections | None = None,
        on_news: Callable[[Envelope], None] | None = None,
        on_gap: Callable[[], None] | None = None,
    ) -> None:
        self.bus = Bus(self)
        self.routes = RouteCache()
        self._connections = connections
        self._streams = Streams(self.bus)
        self._relays = Relays(self.bus)
        self._calls = Calls(self.bus, self._streams)
        self._holding = Holding(self.bus, connections, self._relays)
        self._on_news = on_news
        self._on_gap = on_gap
        self._gone: OrderedDict[str, None] = OrderedDict()  # inboxes of workers that have left
        self._reading: dict[str, asyncio.Task[Route | None]] = {}
        self._looking: set[asyncio.Task[None]] = set()
        self._ticker: asyncio.Task[None] | None = None
        self._handlers: dict[str, Handler] = {
            "ask": self._holding.asked,
            "cancel": self._holding.cancelled,
            "cut": self._holding.cut,
            "answer": self._calls.answered,
            "not_here": self._calls.not_here,
            "to_agent": self._relays.framed,
            "from_agent": self._streams.framed,
            "calm": self._streams.calm,
            "lost": self._streams.ended,
            "broken": self._told_of_a_gap,
            "news": self._told_news,
            "leaves": self._told_leaving,
            "alive": self._told_alive,
        }

    async def start(self, on_join: Callable[[str], None] = lambda _: None) -> None:
        """Join the bus."""
        await self.bus.start(on_join, patience=JOIN_PATIENCE)
        self._ticker = asyncio.create_task(self._tick_for_ever(), name="tunnel links")

    async def stop(self) -> None:
        """Leave the bus; calls under way end as unknown, and everyone is told what of theirs was read here."""
        if self._ticker is not None:
            self._ticker.cancel()
        for looking in self._looking:
            looking.cancel()
        self._holding.leave()
        read = self.bus.read()
        self._calls.lose()
        self._streams.lose()
        await self.bus.stop({"kind": "leaves", "read": read})

    async def ask(self, agent_id: str, request: Request, stream: OwnedStream | None = None) -> Outcome:
        """Have an agent run a request and return how it ended; never later than its patience.

        A success of one that is streamed opens `stream`. Cancelling this cancels the command.
        """
        deadline = time.monotonic() + request.patience
        for _ in range(ROUTE_TRIES):
            try:
                outcome = await self._ask_once(agent_id, request, deadline, stream)
            except DatabaseError as exc:
                log.warning("the route of an agent could not be read: %s agent=%s", exc, agent_id)
                return Outcome(code=Code.NOT_SENT, error="the database is away, the command was not sent")
            if outcome is None or outcome.code is Code.RELAY_LOST:
                self.routes.drop(agent_id)  # its worker holds it no more, or is gone
            if outcome is not None:
                return outcome
        return Outcome(code=Code.NOT_CONNECTED)

    async def open_stream(self, agent_id: str, request: Request) -> tuple[Outcome, OwnedStream]:
        """Have an agent open a stream; it is yours when the outcome is a success, and ends if you are cancelled."""
        stream = OwnedStream(f"{request.service}.{request.action}")
        try:
            outcome = await self.ask(agent_id, request, stream)
        except BaseException:
            stream.give_up()
            raise
        if outcome.code is not None:
            stream.give_up()  # it may still be opened, too late
        return outcome, stream

    @property
    def asking(self) -> bool:
        """Tell whether somebody here waits for another worker."""
        return len(self._calls) > 0

    def announce(self, news: str, **members: Any) -> None:
        """Tell every process; lost without harm when Redis is away, for the database is the truth."""
        if "agent" in members:
            self._agent_changed(members["agent"])
        with suppress(OutletFull):
            if self.bus.joined:
                self.bus.put(GROUP, {"kind": "news", "news": news, **members})

    async def announced(self) -> None:
        """Wait until what was announced so far was handed to the channel layer."""
        if self.bus.joined:
            await self.bus.flush(GROUP)

    def cut(self, inbox: str, session: str, code: int) -> None:
        """Have the worker behind `inbox` close a session; when it does not hear this, it looks by itself."""
        with suppress(OutletFull):
            if self.bus.joined:
                self.bus.put(inbox, {"kind": "cut", "session": session, "code": int(code)})

    # -- what the bus tells ------------------------------------------------------------------------

    def heard(self, envelope: Envelope, sender: str) -> None:
        """Take an envelope from another process."""
        handler = self._handlers.get(envelope.get("kind", ""))
        if handler is not None:
            handler(envelope, sender)

    def link_broken(self, sender: str, epoch: int, *, again: bool = False) -> None:
        """Letters of this sender to us were lost: answers, or questions it must be told of."""
        if not again:
            log.warning("letters were lost on the link from %s", sender)
            self._calls.lose(sender)
            self._streams.lose(sender)
            self._holding.stop_serving(sender)
            # The way back may be broken too: on a new link what follows is heard.
            self.bus.start_new_link(sender)
        self._holding.say(sender, {"kind": "broken", "epoch": epoch})

    def missed_announcement(self) -> None:
        """Something said to everyone was lost: no remembered route is sure."""
        self.routes.clear()
        if self._on_gap is not None:
            self._on_gap()

    def _told_of_a_gap(self, envelope: Envelope, sender: str) -> None:
        """The other side lost a letter of ours: what we asked there may or may not run."""
        if envelope["epoch"] == self.bus.epoch(sender):  # else a new link was begun already
            self.bus.start_new_link(sender)
            self._calls.lose(sender)
            self._streams.lose(sender)
            self._relays.lose(sender)

    def _told_alive(self, envelope: Envelope, sender: str) -> None:
        """The other side lives, and these are the streams it knows."""
        self._relays.compare(envelope["owned"], sender)
        self._streams.compare(envelope["carried"], sender)

    def _told_leaving(self, envelope: Envelope, sender: str) -> None:
        """A worker stops: what it has not read it will not run, and nothing is to be asked of it any more."""
        self._gone[sender] = None
        if len(self._gone) > MAX_GONE:
            self._gone.popitem(last=False)
        read = envelope["read"].get(self.bus.inbox)
        self._calls.left(sender, Turn(*read) if read else None)
        self._streams.lose(sender)
        self._holding.stop_serving(sender)

    def _told_news(self, envelope: Envelope, sender: str) -> None:  # noqa: ARG002 - a handler
        if "agent" in envelope:
            self._agent_changed(envelope["agent"])
        if self._on_news is not None:
            self._on_news(envelope)

    # -- routes and links --------------------------------------------------------------------------

    def _agent_changed(self, agent_id: str) -> None:
        """Forget the route, and end our streams in a session that a newer one has replaced."""
        self.routes.drop(agent_id)
        if self._streams.sessions(agent_id):
            looking = asyncio.create_task(self._end_stale_streams(agent_id), name=f"streams {agent_id}")
            self._looking.add(looking)
            looking.add_done_callback(self._looking.discard)

    async def _end_stale_streams(self, agent_id: str) -> None:
        """A holder that was killed says nothing; that its agent has a session elsewhere says it sooner than silence."""
        here = self._connections.find(agent_id) if self._connections else None
        if here is not None:
            self._streams.disconnect(agent_id, but=str(here.id))
            return
        try:
            route = await self._read_route(agent_id)
        except DatabaseError as exc:
            log.debug("the route of an agent could not be read: %s agent=%s", exc, agent_id)
            return
        if route is not None:
            self._streams.disconnect(agent_id, but=route.session)

    async def _ask_once(
        self, agent_id: str, request: Request, deadline: float, stream: OwnedStream | None
    ) -> Outcome | None:
        connection = self._connections.find(agent_id) if self._connections else None
        if connection is not None:
            return await ask_here(connection, request, deadline, stream)
        route = self.routes.get(agent_id)
        if route is None:
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    route = await self._read_route(agent_id)
            except TimeoutError:
                error = "the database does not answer, the command was not sent"
                return Outcome(code=Code.NOT_SENT, error=error)
        if route is None:
            return Outcome(code=Code.NOT_CONNECTED)
        if route.inbox == self.bus.inbox or route.inbox in self._gone:
            return None  # at the door or just closed here; or its row is not ended yet
        if not route.joined:
            return Outcome(code=Code.BUS_UNAVAILABLE)
        return await self._calls.ask(route, agent_id, request, deadline, stream)

    async def _read_route(self, agent_id: str) -> Route | None:
        """Read a route from the database; a hundred callers of one agent read its row once."""
        task = self._reading.get(agent_id)
        if task is None:
            task = asyncio.create_task(self._read_and_keep(agent_id), name=f"route {agent_id}")
            self._reading[agent_id] = task
            task.add_done_callback(lambda _: self._reading.pop(agent_id, None))
        return await asyncio.shield(task)

    async def _read_and_keep(self, agent_id: str) -> Route | None:
        dropped = self.routes.dropped
        route = await in_thread(routes.read, agent_id)
        fresh = dropped == self.routes.dropped  # no news came meanwhile that may be of this agent
        if route is not None and route.joined and fresh:
            self.routes.put(agent_id, route)
        return route

    async def _tick_for_ever(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(LINK_TICK)
            self._tick(late=time.monotonic() - before > LINK_TICK + LINK_STALL)

    def _tick(self, *, late: bool = False) -> None:
        """Give a sign of life on each link that carries commands or streams, and end those that give none."""
        for address in self._calls.addresses | self._streams.addresses | self._holding.callers:
            owned, carried = self._streams.calls(address), self._relays.calls(address)
            with suppress(OutletFull):
                self.bus.put(address, {"kind": "alive", "owned": owned, "carried": carried})
        if not late:  # a process that was held up has not read yet what was said meanwhile
            self._calls.lose_silent(LINK_SILENCE)
            self._streams.lose_silent(LINK_SILENCE)
            self._holding.stop_serving_silent(LINK_SILENCE)
        self.bus.prune()
