"""The browsers' socket for live pages, `/tunnel/ws/events/`: the page listens, it has nothing to say.

With `?ids=1,2,3` it is told of these servers only, by primary key, at most 200; without, of all its user may see while
they are no more than that. Each message carries `counts`: the active tunnels, and how many there are, of all of them.
"""

import asyncio
import logging
from typing import Any, Final
from urllib.parse import parse_qs

from channels.auth import AuthMiddlewareStack
from channels.exceptions import StopConsumer
from django.db import Error as DatabaseError

from tunnel import origins, viewers, worker
from tunnel.live import TooManySubscribers, hub
from tunnel.page_sockets import Message, PageSocket, refuse
from tunnel.pages import listing, messages
from tunnel.subscriptions import NO_LONGER_WELCOME, TRY_AGAIN, Subscription

log = logging.getLogger("tunnel.live")

# Seconds; the page gives a socket up that is silent for longer than two, so it is true within 15.
BEAT: Final = 5.0
MAX_RECEIVED: Final = 20  # messages the page has no reason to send; who sends more is cut off


class EventsConsumer(PageSocket):
    """One live page."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._subscription: Subscription | None = None
        self._sender: asyncio.Task[None] | None = None
        self._received = 0

    async def connect(self) -> None:
        """Subscribe it, if somebody is logged in and asks for what there is."""
        viewer = viewers.of_scope(self.scope)
        try:
            wants = _wanted(self.scope.get("query_string", b""))
        except ValueError:
            viewer = None
        if viewer is None:
            await refuse(self.send)
            raise StopConsumer
        await self.send({"type": "websocket.accept"})
        await worker.current()  # what happens at other workers is heard by a worker only
        try:
            self._subscription = hub.subscribe(viewer, wants)
        except TooManySubscribers:
            log.warning("too many live pages, this one polls user=%s", viewer.user)
            await self.send({"type": "websocket.close", "code": TRY_AGAIN})
            return
        self._sender = asyncio.create_task(
            self._tell(self._subscription), name=f"live page of user {viewer.user}"
        )

    async def receive(self, message: Message) -> None:  # noqa: ARG002 - whatever it says
        """Count it."""
        self._received += 1
        if self._received > MAX_RECEIVED:
            await self.send({"type": "websocket.close", "code": NO_LONGER_WELCOME})
            raise StopConsumer

    async def _tell(self, subscription: Subscription) -> None:
        """Send what is queued, and a beat whenever that was nothing for a while."""
        try:
            while (texts := await _next(subscription)) is not None:
                for text in texts:
                    await self.send({"type": "websocket.send", "text": text})
            await self.send({"type": "websocket.close", "code": subscription.close_code})
        except Exception as exc:  # noqa: BLE001 - every server has its own error for a socket that is gone
            log.debug("a live page is gone: %r", exc)
            hub.unsubscribe(subscription)

    async def leave(self) -> None:
        """End the subscription."""
        if self._subscription is not None:
            hub.unsubscribe(self._subscription)
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.wait([self._sender])


async def _next(subscription: Subscription) -> list[str] | None:
    try:
        async with asyncio.timeout(BEAT):
            return await subscription.next()
    except TimeoutError:
        return [messages.beat(live=not hub.paused, counts=subscription.counts)]


def _wanted(query: bytes) -> frozenset[int] | None:
    """Return the servers that `?ids=1,2,3` names by primary key; None when the page asks for all.

    Raises:
        ValueError: this is no list of numbers, or names more servers than one page shows.
    """
    values = parse_qs(query.decode("ascii"), keep_blank_values=True).get("ids")
    return None if values is None else listing.wanted(values)


_authenticated = AuthMiddlewareStack(EventsConsumer.as_asgi())


async def events_application(scope: Message, receive: Any, send: Any) -> None:
    """Let only our own pages in, find out who is logged in, and serve the page.

    This wraps the browsers' routes only: agents send no Origin and no cookies.
    """
    if not origins.ours(scope):
        log.warning("a browser socket from another site was refused origin=%s", origins.claimed(scope))
        await refuse(send)
        return
    try:
        await _authenticated(scope, receive, send)
    except DatabaseError as exc:
        log.warning("a live page could not be opened, the database is away: %s", exc)
        await send({"type": "websocket.close", "code": TRY_AGAIN})
