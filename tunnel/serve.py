"""Daphne with bounded memory: what `manage.py tunnel serve` runs."""

# Daphne's server comes first: it installs the Twisted reactor that works on asyncio.
from daphne.server import Server  # isort:skip

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet import reactor

from tunnel.pacing import BodyIntake, Intake, Message, Pace, PacedWebSocket

BACKLOG = 2048  # connections the kernel holds while agents come back all at once; Twisted's own 50 drops them
NO_LIMIT = -1  # Daphne's default closes every WebSocket after 24 hours
HANDSHAKE_TIMEOUT = 20  # seconds; checking a chosen secret may wait for several others
BODY_CHUNK = 64 * 1024  # bytes of a request's body handed to the application at a time

DATA = ("websocket.send", "http.response.body")  # the messages that fill buffers

Application = Callable[..., Any]


class PacedServer(Server):  # type: ignore[misc] # Daphne has no types
    """Daphne whose `send` waits for a slow reader and whose sockets wait for a slow application."""

    connections: dict[Any, dict[str, Any]]

    def __init__(self, application: Application, *, host: str, port: int, **options: Any) -> None:
        """Take what Daphne's server takes as `options`; port 0 is one the kernel picks."""
        self.on_listening: Callable[[str, int], None] | None = None
        self.failure: str | None = None
        defaults = {
            "endpoints": [endpoint(host, port)],
            "websocket_timeout": NO_LIMIT,
            "websocket_connect_timeout": HANDSHAKE_TIMEOUT,
            "websocket_handshake_timeout": HANDSHAKE_TIMEOUT,
            "request_buffer_size": BODY_CHUNK,
            "ready_callable": self._use_paced_sockets,
        }
        super().__init__(application, **{**defaults, **options})

    def listen_success(self, port: Any) -> None:
        """Tell `on_listening` the address."""
        super().listen_success(port)
        if self.on_listening is not None:
            self.on_listening(*self.listening_addresses[-1])

    def listen_error(self, failure: Any) -> None:
        """Keep the reason for who started us, and stop."""
        self.failure = failure.getErrorMessage()
        self.stop()

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> asyncio.Queue[Message] | None:
        """Start an instance of the application as Daphne does, on a queue that knows its limits."""
        if protocol not in self.connections:
            return None
        socket = scope["type"] == "websocket"
        intake = Intake(protocol) if socket else BodyIntake(protocol.content)
        pace = protocol.pace if socket else Pace()
        self.connections[protocol]["pace"] = pace
        scope.setdefault("asgi", {"version": "3.0"})
        running = self.application(scope=scope, receive=intake.get, send=partial(self.handle_reply, protocol))
        self.connections[protocol]["application_instance"] = asyncio.ensure_future(running)
        return intake

    async def handle_reply(self, protocol: Any, message: Message) -> None:
        """Pass a message of the application on, once the reader has taken those before it."""
        pace = self.connections.get(protocol, {}).get("pace")
        if pace is None or message.get("type") not in DATA:
            await super().handle_reply(protocol, message)
            return
        async with pace:
            if message["type"] == "http.response.body":
                self._pace_response(protocol, pace, last=not message.get("more_body", False))
            elif protocol.state in (protocol.STATE_CLOSING, protocol.STATE_CLOSED):
                return  # closed while this message waited; Autobahn would raise
            await super().handle_reply(protocol, message)

    def kill_all_applications(self) -> Any:
        """Cancel what runs; Daphne stumbles over connections whose application has ended already."""
        self.connections = {
            key: value for key, value in self.connections.items() if "application_instance" in value
        }
        return super().kill_all_applications()

    def _pace_response(self, request: Any, pace: Pace, *, last: bool) -> None:
        if self.connections.get(request, {}).get("disconnected") or request.channel is None:
            return
        if last and request.producer is pace:
            request.unregisterProducer()
        elif not last and request.producer is None:
            request.registerProducer(pace, True)

    def _use_paced_sockets(self) -> None:
        self.ws_factory.protocol = PacedWebSocket


def endpoint(host: str, port: int) -> str:
    """Return the address in Twisted's words."""
    interface = host.strip("[]").replace(":", r"\:")
    return f"tcp:port={port}:interface={interface}:backlog={BACKLOG}"


def stop_signal() -> int | None:
    """Return the number of the signal that stopped the server, if one did."""
    return getattr(reactor, "_exitSignal", None)
