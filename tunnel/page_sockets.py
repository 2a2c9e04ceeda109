"""What the sockets of browsers have in common: who serves one, and how it is refused."""

from typing import Any

from channels.consumer import AsyncConsumer
from channels.exceptions import StopConsumer

from tunnel.subscriptions import NO_LONGER_WELCOME

Message = dict[str, Any]


class PageSocket(AsyncConsumer):  # type: ignore[misc] # Channels has no types
    """The socket of one page. It takes no channel of the channel layer, so that no trouble there ends it."""

    channel_layer_alias = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Run until the socket is gone; what was begun for it ends with it, whatever ends this task."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self.leave()

    async def dispatch(self, message: Message) -> None:
        """Hand a message to its handler without Channels' hop to the database thread."""
        if message["type"] == "websocket.connect":
            await self.connect()
        elif message["type"] == "websocket.receive":
            await self.receive(message)
        elif message["type"] == "websocket.disconnect":
            raise StopConsumer

    async def connect(self) -> None:
        """Let the page in, or refuse it."""
        raise NotImplementedError

    async def receive(self, message: Message) -> None:
        """Take what the page says."""
        raise NotImplementedError

    async def leave(self) -> None:
        """End what was begun."""
        raise NotImplementedError


async def refuse(send: Any) -> None:
    """Answer the handshake with 403."""
    await send({"type": "websocket.close", "code": NO_LONGER_WELCOME})
