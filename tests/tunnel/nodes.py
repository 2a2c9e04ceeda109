"""A node without a network: the agent's end of the protocol joined to the master's connection."""

import time
import uuid
from collections.abc import Callable
from typing import Any

from agent_client.protocol import AgentSession
from agent_client.protocol.events import CancelReceived, CommandReceived
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
        self.closed_with: int | None = None
        self.agent = AgentSession(FACTS, ReplayGuard(), now=time.monotonic(), wall_offset=0.0)
        admission = Admission(welcome or Welcome(1, agent_id, 1), False, "127.0.0.1")
        self.connection = sockets.attach(admission, session or uuid.uuid4(), self._take)

    def reply(self, command_id: str, data: Any) -> None:
        """Answer a command."""
        self.agent.reply(command_id, data)
        self.flush()

    def flush(self) -> None:
        """Carry what the agent has to say to the master."""
        for text in self.agent.to_send():
            self.connection.receive({"type": "websocket.receive", "text": text})

    async def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "websocket.close":
            self.closed_with = message["code"]
            return
        for event in self.agent.receive_text(message["text"], time.monotonic(), time.time()):
            if isinstance(event, CommandReceived):
                self.commands.append(event.command)
                self.handler(self, event.command)
            elif isinstance(event, CancelReceived):
                self.cancelled.append(event.command_id)
        self.flush()
