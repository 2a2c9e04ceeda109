"""Answering for the agents whose sockets this process holds: the holder's half of the switchboard."""

import logging
import time
from functools import partial
from typing import Protocol

from agent_client.protocol import Code
from tunnel.bus import Bus
from tunnel.connection import AgentConnection
from tunnel.letters import Envelope
from tunnel.links import OutletFull
from tunnel.outcomes import Outcome
from tunnel.relaying import Relay, Relays
from tunnel.requests import Request

log = logging.getLogger("tunnel.switchboard")

ANSWER_WITHIN = 5.0  # seconds an answer may wait for the channel layer; its caller has ended the link by then


class Connections(Protocol):
    """The agent sockets this process holds."""

    def find(self, agent_id: str) -> AgentConnection | None:
        """Return the open connection of an agent."""

    def find_session(self, session: str) -> AgentConnection | None:
        """Return an open connection by its session id."""


class Holding:
    """The requests of other workers under way at our agents."""

    def __init__(self, bus: Bus, connections: Connections | None, relays: Relays) -> None:
        self._bus = bus
        self._relays = relays
        self._connections = connections
        self._serving: dict[str, tuple[str, AgentConnection, str]] = {}
        self._leaving = False

    @property
    def callers(self) -> set[str]:
        """The inboxes that wait for us."""
        return {caller for caller, _, _ in self._serving.values()} | self._relays.owners

    def asked(self, envelope: Envelope, sender: str) -> None:
        """Put a command on its agent's wire, unless the session is not here or the time is over."""
        if self._leaving:
            return  # our last words say so
        key = envelope["call"]
        connection = self._connections.find(envelope["agent"]) if self._connections else None
        if connection is None or str(connection.id) != envelope["session"]:
            self.say(sender, {"kind": "not_here", "call": key})
        elif time.time() > envelope["send_by"]:
            late = "it reached the worker too late, the command was not sent"
            self._answer(sender, key, Outcome(code=Code.NOT_SENT, error=late))
        else:
            request = Request.from_envelope(envelope)
            self._serving[key] = (sender, connection, request.id)
            if request.streamed:
                self._ask_for_stream(sender, key, connection, request)
            else:
                answer = partial(self._answer, sender, key)
                connection.command(request.command(), timeout=request.patience, on_outcome=answer)

    def cancelled(self, envelope: Envelope, sender: str) -> None:
        """Stop a command its caller no longer waits for."""
        caller, connection, command_id = self._serving.get(envelope["call"], ("", None, ""))
        if connection is not None and caller == sender:
            connection.cancel(command_id)
        self._relays.cancel(envelope["call"], sender)

    def cut(self, envelope: Envelope, sender: str) -> None:  # noqa: ARG002 - a handler
        """Close a session because another worker said so."""
        connection = self._connections.find_session(envelope["session"]) if self._connections else None
        if connection is not None:
            connection.close(envelope["code"], "told by another worker")

    def leave(self) -> None:
        """Take nothing any more."""
        self._leaving = True

    def stop_serving(self, caller: str) -> None:
        """Cancel what nobody waits for any more."""
        for key, (who, connection, command_id) in list(self._serving.items()):
            if who == caller:
                del self._serving[key]
                connection.cancel(command_id)
        self._relays.lose(caller)

    def stop_serving_silent(self, silence: float) -> None:
        """Cancel what was asked by processes that have said nothing for `silence` seconds."""
        for caller in self.callers:
            if self._bus.silent_for(caller, 0.0) > silence:
                self.stop_serving(caller)

    def say(self, caller: str, envelope: Envelope) -> None:
        """Send an envelope; one that cannot be sent is missed by its caller, who has a deadline."""
        try:
            self._bus.put(caller, envelope, send_by=time.time() + ANSWER_WITHIN)
        except OutletFull:
            log.warning("an answer was dropped, %s takes none", caller)

    def _ask_for_stream(self, sender: str, key: str, connection: AgentConnection, request: Request) -> None:
        relay = Relay(self._relays, sender, key, connection, bulk=not request.interactive)
        connection.command(
            request.command(),
            timeout=request.patience,
            on_outcome=partial(self._stream_answered, relay),
            stream_owner=relay,
            interactive=request.interactive,
        )

    def _stream_answered(self, relay: Relay, outcome: Outcome) -> None:
        """Answer and carry the stream from now on, unless its caller is gone."""
        if outcome.opened is not None and relay.call in self._serving:
            self._relays.open(relay, outcome.opened.number)
        elif outcome.opened is not None:
            number = outcome.opened.number
            relay.connection.reset_stream(number, Code.CANCELLED, "nobody waits for it any more")
        self._answer(relay.owner, relay.call, outcome)

    def _answer(self, caller: str, key: str, outcome: Outcome) -> None:
        self._serving.pop(key, None)
        self.say(caller, {"kind": "answer", "call": key, "outcome": outcome.to_members()})
