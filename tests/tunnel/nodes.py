"""A node without a network: the agent's end of the protocol joined to the master's connection."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agent_client.protocol import AgentSession, Code
from agent_client.protocol.events import (
    CancelReceived,
    CommandReceived,
    Event,
    StreamData,
    StreamEnded,
    StreamReset,
)
from agent_client.protocol.limits import INITIAL_WINDOW
from agent_client.protocol.messages import Command, Hello
from agent_client.protocol.replay import ReplayGuard
from tests.protocol.ends import FACTS
from tunnel.connection import AgentConnection, Send
from tunnel.handshake import Admission
from tunnel.models import CloseReason
from tunnel.sessions import Welcome
from tunnel.worker import Worker

Handler = Callable[["Node", Command], None]


def echo(node: "Node", command: Command) -> None:
    """Answer with what was asked."""
    node.reply(command.id, {"action": command.action, "params": command.params})


def silent(node: "Node", command: Command) -> None:
    """Take a command and say nothing."""


def bare(node: "Node", command: Command) -> None:
    """Open a stream in which nothing happens by itself."""
    node.open(command)


@dataclass
class End:
    """The agent's end of a stream."""

    taken: bytearray = field(default_factory=bytearray)
    ended: bool = False
    detail: Any = None
    reset: Code | None = None
    takes: bool = True  # whether what comes is used at once
    rest: bytearray = field(default_factory=bytearray)  # what waits for the master's window


class Sockets:
    """The connections of one worker, and what they told it."""

    def __init__(self) -> None:
        self.open: dict[str, AgentConnection] = {}
        self.hellos: list[Hello] = []
        self.usages: list[dict[str, Any]] = []
        self.endings: list[tuple[CloseReason, str]] = []

    def attach(self, admission: Admission, session: uuid.UUID, send: Send) -> AgentConnection:
        connection = AgentConnection(session, admission, send, self)
        self.open[admission.welcome.agent_id] = connection
        return connection

    def find(self, agent_id: str) -> AgentConnection | None:
        return self.open.get(agent_id)

    def find_session(self, session: str) -> AgentConnection | None:
        return next((one for one in self.open.values() if str(one.id) == session), None)

    def introduced(self, connection: AgentConnection, hello: Hello) -> None:
        self.hellos.append(hello)

    def reported(self, connection: AgentConnection, usage: dict[str, Any]) -> None:
        self.usages.append(usage)

    def ended(self, connection: AgentConnection, reason: CloseReason, detail: str) -> None:
        self.endings.append((reason, detail))
        self.open.pop(connection.welcome.agent_id, None)


class Node:
    """An agent whose socket `sockets` holds, which may be a real worker; `handler` answers its commands."""

    def __init__(
        self,
        sockets: Sockets | Worker,
        agent_id: str = "web-01",
        handler: Handler = echo,
        *,
        welcome: Welcome | None = None,
        session: uuid.UUID | None = None,
    ) -> None:
        self.handler = handler
        self.commands: list[Command] = []
        self.cancelled: list[str] = []
        self.ends: dict[int, End] = {}
        self.closed_with: int | None = None
        self.agent = AgentSession(FACTS, ReplayGuard(), now=time.monotonic(), wall_offset=0.0)
        admission = Admission(welcome or Welcome(1, agent_id, 1), False, "127.0.0.1")
        self.connection = sockets.attach(admission, session or uuid.uuid4(), self._take)

    def reply(self, command_id: str, data: Any) -> None:
        """Answer a command."""
        self.agent.reply(command_id, data)
        self.flush()

    def open(self, command: Command, data: Any = None, *, window: int = INITIAL_WINDOW) -> int:
        """Answer a command by opening its stream, and return its number."""
        number = self.agent.open_stream(
            command.id, data or {}, window=window, interactive=command.service == "shell"
        ).number
        self.ends[number] = End()
        self.flush()
        return number

    def write(self, number: int, data: bytes) -> None:
        """Send bytes as the master takes them."""
        end = self.ends[number]
        end.rest += data
        while end.rest and (room := min(self.agent.sendable(number), 64 * 1024)):
            self.agent.send_data(number, bytes(end.rest[:room]))
            del end.rest[:room]
            self.flush()

    def end(self, number: int, detail: Any = None) -> None:
        """Send no more."""
        self.agent.end_stream(number, detail)
        self.flush()

    def flush(self) -> None:
        """Carry what the agent has to say to the master."""
        while messages := self.agent.to_send():
            for one in messages:
                kind = "text" if isinstance(one, str) else "bytes"
                self.connection.receive({"type": "websocket.receive", kind: one})

    async def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "websocket.close":
            self.closed_with = message["code"]
            return
        now = time.monotonic()
        if message.get("bytes") is not None:
            self._see(self.agent.receive_bytes(message["bytes"], now))
        else:
            self._see(self.agent.receive_text(message["text"], now, time.time()))
        self.flush()

    def _see(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, CommandReceived):
                self.commands.append(event.command)
                self.handler(self, event.command)
            elif isinstance(event, CancelReceived):
                self.cancelled.append(event.command_id)
            elif isinstance(event, StreamData):
                self.ends[event.number].taken += event.payload
                if self.ends[event.number].takes:
                    self.agent.consumed(event.number, len(event.payload))
            elif isinstance(event, StreamEnded):
                self.ends[event.number].ended = True
                self.ends[event.number].detail = event.detail
            elif isinstance(event, StreamReset):
                self.ends[event.number].reset = event.code
        for number, end in self.ends.items():
            if end.rest and end.reset is None:
                self.write(number, b"")
