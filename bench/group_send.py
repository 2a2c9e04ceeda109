"""The usual way as an application: each agent's consumer is in a group, a command is a `group_send`, its reply a `send`.

It is given every advantage: one reply channel for a whole process, no database, no log-in, no record, no deadline.
"""

import asyncio
import json
import os
import time
import uuid
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench.group_send_site")
django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402 - it needs the settings
from channels.layers import get_channel_layer  # noqa: E402
from channels.routing import ProtocolTypeRouter  # noqa: E402

from bench.echo import ACK, Message, agent_id, answer, query  # noqa: E402
from bench.timing import asked_for, timed  # noqa: E402

PATIENCE = 1.0  # seconds; then a message is counted as lost, which the core layer under load is known for


class AgentConsumer(AsyncWebsocketConsumer):  # type: ignore[misc] # Channels has no types
    """An agent's socket, in the group that bears its name."""

    async def connect(self) -> None:
        """Join the group."""
        self.callers: dict[str, str] = {}
        await self.channel_layer.group_add(f"agent.{agent_id(self.scope)}", self.channel_name)
        await self.accept()
        await self.send(text_data=ACK)

    async def agent_command(self, event: Message) -> None:
        """Put a command on the wire."""
        self.callers[event["id"]] = event["caller"]
        command = {"type": "GET_STATS", "id": event["id"], "timestamp": time.time()}
        await self.send(text_data=json.dumps(command, separators=(",", ":")))

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:  # noqa: ARG002
        """Send a reply to its caller."""
        reply = json.loads(text_data or "{}")
        caller = self.callers.pop(reply.get("requestId", ""), None)
        if caller is not None:
            await self.channel_layer.send(
                caller, {"type": "agent.reply", "id": reply["requestId"], "data": reply["data"]}
            )


class Caller:
    """The commands of this process under way, and the channel their replies come on."""

    def __init__(self) -> None:
        self._layer: Any = get_channel_layer()
        self._asked: dict[str, asyncio.Future[Any]] = {}
        self._channel = ""
        self.lost = 0
        self._reader: asyncio.Task[None] | None = None

    async def start(self) -> "Caller":
        """Begin to read."""
        if self._reader is None:
            self._channel = await self._layer.new_channel()
            self._reader = asyncio.create_task(self._read())
        return self

    async def ask(self, agent: str) -> Any:
        """Send a command to an agent's group and wait for the reply."""
        key = str(uuid.uuid4())
        answered = self._asked[key] = asyncio.get_running_loop().create_future()
        command = {"type": "agent.command", "id": key, "caller": self._channel}
        await self._layer.group_send(f"agent.{agent}", command)
        try:
            async with asyncio.timeout(PATIENCE):
                return await answered
        except TimeoutError:
            self.lost += 1
            return None
        finally:
            del self._asked[key]

    async def _read(self) -> None:
        while True:
            reply = await self._layer.receive(self._channel)
            answered = self._asked.get(reply["id"])
            if answered is not None:
                answered.set_result(reply["data"])


_caller = Caller()


async def time_commands(scope: Message, receive: Any, send: Any) -> None:  # noqa: ARG001 - ASGI
    """Time commands."""
    caller = await _caller.start()
    seconds = await timed(caller.ask, *asked_for(query(scope)))
    await answer(send, {**seconds, "lost": caller.lost})


application = ProtocolTypeRouter({"http": time_commands, "websocket": AgentConsumer.as_asgi()})
