"""One agent's socket on the worker that holds it: drives the protocol's session, decides nothing itself."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol
from uuid import UUID

from agent_client.protocol import CloseCode, Code, MasterSession, ProtocolError
from agent_client.protocol.errors import NotSendable, StreamBroken
from agent_client.protocol.events import (
    CloseRequired,
    CommandLapsed,
    Event,
    FrameReceived,
    HeartbeatReceived,
    HelloReceived,
    NodeEventReceived,
    ReplyReceived,
    RttMeasured,
)
from agent_client.protocol.limits import Timing
from agent_client.protocol.liveness import Meter
from agent_client.protocol.messages import Command, Hello
from tunnel import metrics
from tunnel.conf import settings
from tunnel.handshake import Admission
from tunnel.logs import about
from tunnel.models import CloseReason
from tunnel.outcomes import OnOutcome, Outcome

MAX_QUEUED = 4 * 1024 * 1024  # characters that may wait for an agent that reads slowly
FIRST_OWN_CODE = 3000  # RFC 6455 §7.4.2: from here on codes belong to libraries and applications
MAX_EVENTS_TOLD = (
    30  # lines a minute for the events of one node; it may send thousands a second, and disks fill
)
CLOSE_WAIT = 1.0  # seconds for what is queued before the close frame, and for the frame itself

Send = Callable[[dict[str, Any]], Awaitable[None]]

REASONS: dict[int, CloseReason] = {
    CloseCode.NORMAL: CloseReason.AGENT_STOPPED,
    CloseCode.GOING_AWAY: CloseReason.AGENT_STOPPED,
    CloseCode.ABNORMAL: CloseReason.SILENT,
    CloseCode.TOO_BIG: CloseReason.RUBBISH,
    CloseCode.RUBBISH: CloseReason.RUBBISH,
    CloseCode.NO_HELLO: CloseReason.NO_HELLO,
    CloseCode.REPLACED: CloseReason.REPLACED,
    CloseCode.REVOKED: CloseReason.REVOKED,
    CloseCode.SERVICE_RESTART: CloseReason.DISCONNECTED,  # the agent shall dial again, as after a restart
    CloseCode.WORKER_RESTART: CloseReason.WORKER_RESTART,
    CloseCode.INTERNAL_ERROR: CloseReason.INTERNAL,
}


class StreamOwner(Protocol):
    """Whoever a stream's frames are for."""

    def frame(self, data: bytes) -> None:
        """Take a frame of the agent, as it came."""

    def calm(self, calm: bool) -> None:
        """Note whether the line has room for large windows."""

    def lost(self, code: Code, error: str = "") -> None:
        """Note that the stream is over without a frame that says so, mostly with its session."""


class Holder(Protocol):
    """The worker, as a connection sees it."""

    def introduced(self, connection: "AgentConnection", hello: Hello) -> None:
        """Take what an agent said of itself."""

    def reported(self, connection: "AgentConnection", usage: dict[str, Any]) -> None:
        """Take fresh figures."""

    def ended(self, connection: "AgentConnection", reason: CloseReason, detail: str) -> None:
        """Forget a connection; called once."""


class AgentConnection:
    """Carries one session between an ASGI `send` and the worker. All methods run on the event loop."""

    def __init__(self, session: UUID, admission: Admission, send: Send, holder: Holder) -> None:
        self.id = session
        self.welcome = admission.welcome
        self.basic = admission.basic
        self.rtt: float | None = None
        self._calm = True
        self._usage: dict[str, Any] = {}
        self._send = send
        self._holder = holder
        self._opened = time.monotonic()
        timing = Timing(settings.PING, settings.SILENCE, settings.HEARTBEAT)
        now, wall = time.monotonic(), time.time()
        self._session = MasterSession(str(session), now=now, wall=wall, basic=self.basic, timing=timing)
        self._told = Meter(MAX_EVENTS_TOLD, 60.0, now)
        self._wake = asyncio.Event()
        self._over = False
        self._log = about("tunnel.session", agent=self.welcome.agent_id, session=session)
        self._writer = asyncio.create_task(self._write(), name=f"writer {self.welcome.agent_id}")
        self._closer: asyncio.Task[None] | None = None
        self._wake.set()

    @property
    def pending(self) -> int:
        """How many commands await a reply."""
        return self._session.pending

    @property
    def queued(self) -> int:
        """How many characters wait to be sent."""
        return self._session.queued

    def command(
        self,
        command: Command,
        *,
        timeout: float,
        on_outcome: OnOutcome,
        stream_owner: StreamOwner | None = None,
        interactive: bool = False,
    ) -> None:
        """Send a command; `on_outcome` is called exactly once, also when it could not be sent.

        With a `stream_owner` its success opens a stream, whose frames go to the owner from then on; those of an
        `interactive` one go to the agent before others.
        """
        if self._over or self._session.queued > MAX_QUEUED:
            reason = "the tunnel is closing" if self._over else "the agent reads too slowly"
            on_outcome(Outcome(code=Code.NOT_SENT, error=f"{reason}, the command was not sent"))
            return
        try:
            self._session.send(
                command,
                deadline=time.monotonic() + timeout,
                owner=on_outcome,
                stream_owner=stream_owner,
                interactive=interactive,
            )
        except (NotSendable, ProtocolError) as exc:
            on_outcome(Outcome(code=Code.NOT_SENT, error=f"{exc}, the command was not sent"))
            return
        self._wake.set()

    def cancel(self, command_id: str) -> None:
        """Ask the agent to stop a command."""
        if not self._over:
            self._session.cancel(command_id)
            self._wake.set()

    def relay(self, number: int, frame: bytes, owner: StreamOwner) -> None:
        """Send a frame of a stream's owner; dropped when the stream is over already, which the owner is told else."""
        if self._over:
            return
        try:
            self._session.relay(number, frame)
        except ProtocolError as exc:
            owner.lost(exc.code if isinstance(exc, StreamBroken) else Code.PROTOCOL, str(exc))
        self._wake.set()

    def reset_stream(self, number: int, code: Code, error: str) -> None:
        """End a stream whose owner is gone; the owner is told nothing."""
        if not self._over:
            self._session.reset_stream(number, code, error)
            self._wake.set()

    def carries(self, number: int) -> bool:
        """Tell whether a stream is not over yet."""
        return not self._over and number in self._session.live_streams

    def receive(self, message: dict[str, Any]) -> None:
        """Take a `websocket.receive` message."""
        now = time.monotonic()
        if message.get("text") is not None:
            self._handle(self._session.receive_text(message["text"], now, time.time()))
        elif message.get("bytes") is not None:
            self._handle(self._session.receive_bytes(message["bytes"], now))
        self._wake.set()

    def tick(self, now: float) -> None:
        """Let time pass: lapsed commands, silence."""
        self._handle(self._session.tick(now))

    def goodbye(self, retry_after: float) -> None:
        """Tell the agent that this worker stops."""
        if not self._over:
            self._session.goodbye("worker restarts", retry_after)
            self._wake.set()

    def close(self, code: int, detail: str = "") -> None:
        """End the session from our side, with what is queued and then a close frame."""
        if self._over:
            return
        self._closer = asyncio.create_task(
            self._close(_sendable(code)), name=f"closer {self.welcome.agent_id}"
        )
        self._end(REASONS.get(code, CloseReason.INTERNAL), detail, drain=True)

    def lost(self, code: int) -> None:
        """Note that the socket is gone; `code` is what the other side closed with."""
        normal = code in (CloseCode.NORMAL, CloseCode.GOING_AWAY)
        reason = CloseReason.AGENT_STOPPED if normal else CloseReason.NETWORK_LOST
        self._end(reason, f"close code {code}", drain=False)

    async def closed(self) -> None:
        """Wait until the close frame was sent, or will never be."""
        if self._closer is not None:
            await asyncio.wait([self._closer], timeout=2 * CLOSE_WAIT)

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            handler = self._handlers.get(type(event))
            if handler is not None:
                handler(self, event)

    def _on_hello(self, event: HelloReceived) -> None:
        self._holder.introduced(self, event.hello)

    def _on_heartbeat(self, event: HeartbeatReceived) -> None:
        self._usage = event.usage
        self._holder.reported(self, event.usage)

    def _on_rtt(self, event: RttMeasured) -> None:
        first, self.rtt = self.rtt is None, event.seconds
        if first and self._usage:  # the first figures were told without it, and the next are far away
            self._holder.reported(self, self._usage)
        metrics.round_trip(event.seconds)
        if event.calm is not self._calm:
            self._calm = event.calm
            for owner in self._session.live_streams.values():
                owner.calm(event.calm)

    def _on_reply(self, event: ReplyReceived) -> None:
        event.owner(Outcome.from_reply(event))
        if event.stream is not None and not self._calm and self.carries(event.stream):
            self._session.live_streams[event.stream].calm(False)

    def _on_frame(self, event: FrameReceived) -> None:
        event.owner.frame(event.data)

    def _on_lapse(self, event: CommandLapsed) -> None:
        event.owner(Outcome(code=Code.NO_REPLY))

    def _on_node_event(self, event: NodeEventReceived) -> None:
        if self._told.room(time.monotonic()):
            self._log.info("the node reports %s", event.name.encode("unicode_escape").decode())

    def _on_close_required(self, event: CloseRequired) -> None:
        self.close(event.code, event.reason)

    _handlers: dict[type, Callable[["AgentConnection", Any], None]] = {
        HelloReceived: _on_hello,
        HeartbeatReceived: _on_heartbeat,
        RttMeasured: _on_rtt,
        ReplyReceived: _on_reply,
        FrameReceived: _on_frame,
        CommandLapsed: _on_lapse,
        NodeEventReceived: _on_node_event,
        CloseRequired: _on_close_required,
    }

    def _end(self, reason: CloseReason, detail: str, *, drain: bool) -> None:
        if self._over:
            return
        self._over = True
        self._last_words = self._session.to_send() if drain else []
        code = Code.REVOKED if reason is CloseReason.REVOKED else Code.DISCONNECTED
        stream_owners = self._session.live_streams.values()
        owners = self._session.end()
        self._wake.set()
        if not drain:
            self._writer.cancel()
        seconds = time.monotonic() - self._opened
        self._log.info("tunnel closed after %.0f s: %s (%s)", seconds, reason.value, detail or "-")
        for owner in owners:
            owner(Outcome(code=code))
        for stream_owner in stream_owners:
            stream_owner.lost(code)
        self._holder.ended(self, reason, detail)

    async def _write(self) -> None:
        while not self._over:
            await self._wake.wait()
            self._wake.clear()
            while messages := self._session.to_send():
                await self._send_all(messages)

    async def _send_all(self, messages: list[str | bytes]) -> None:
        try:
            for message in messages:
                kind = "text" if isinstance(message, str) else "bytes"
                await self._send({"type": "websocket.send", kind: message})
        except Exception as exc:  # noqa: BLE001 - every server has its own error for a socket that is gone
            self._log.debug("send failed: %r", exc)
            self.lost(CloseCode.ABNORMAL)

    async def _close(self, code: int) -> None:
        done, _ = await asyncio.wait([self._writer], timeout=CLOSE_WAIT)
        if not done:
            self._writer.cancel()
        closing = partial(self._send, {"type": "websocket.close", "code": int(code)})
        try:
            async with asyncio.timeout(CLOSE_WAIT):
                if done:
                    await self._send_all(self._last_words)
                await closing()
        except Exception as exc:  # noqa: BLE001 - the same; the session is over either way
            self._log.debug("close failed: %r", exc)


def _sendable(code: int) -> int:
    """The code of the close frame: an application under Daphne may send 1000 and those from 3000 on only."""
    if code == CloseCode.TOO_BIG:
        return CloseCode.RUBBISH
    return code if code >= FIRST_OWN_CODE else CloseCode.NORMAL
