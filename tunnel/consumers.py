"""The agent's socket: the ASGI shell at `/tunnel`. It moves messages and decides nothing."""

import asyncio
import time
import uuid
from typing import Any

from channels.consumer import AsyncConsumer
from channels.exceptions import StopConsumer
from django.db import Error as DatabaseError

from agent_client.protocol.handshake import CHECK_SUBPROTOCOL, SUBPROTOCOL
from tunnel import handshake, metrics, refusals, trials, worker
from tunnel.conf import settings
from tunnel.connection import AgentConnection
from tunnel.door import Crowded, Door
from tunnel.handshake import Admission, Overloaded, Refused
from tunnel.logs import about
from tunnel.models import RefusalReason
from tunnel.sessions import ClaimedTooLate, NoLongerWelcome
from tunnel.trials import Trial
from tunnel.worker import Worker

Message = dict[str, Any]
# Seconds a handshake waits for the database. An agent gives up at 15, other libraries at 10; what it cannot hear of any
# more must not end the session that it opens next, so the claim itself is given up a little earlier.
PATIENCE = 8.0
CLAIM_MARGIN = 1.0
DENIAL = "websocket.http.response"  # the ASGI extension that lets an application answer a handshake with any status

door = Door()


class HandshakeFailed(Exception):
    """The panel could not judge a handshake; the server answers 500 and the agent tries again."""


UNAVAILABLE = (DatabaseError, ClaimedTooLate, TimeoutError, Crowded, Overloaded, HandshakeFailed)


class AgentConsumer(AsyncConsumer):  # type: ignore[misc] # Channels has no types
    """One agent WebSocket.

    It takes no channel of the channel layer, so that no trouble there ends a tunnel, and no database hop stands
    between a message and its handler.
    """

    channel_layer_alias = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connection: AgentConnection | Trial | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Run until the socket is gone; the session ends with it, whatever ends this task.

        Channels would make a task of each message, to wait for a channel beside the socket; here there is none.
        """
        self.scope, self.base_send = scope, send
        try:
            while True:
                await self.dispatch(await receive())
        except StopConsumer:
            pass
        finally:
            if self.connection is not None:
                self.connection.lost(1006)

    async def dispatch(self, message: Message) -> None:
        """Hand a message to its handler without Channels' hop to the database thread."""
        if message["type"] == "websocket.receive" and self.connection is not None:
            self.connection.receive(message)
        elif message["type"] == "websocket.connect":
            await self._connect(time.monotonic())
        elif message["type"] == "websocket.disconnect":
            if self.connection is not None:
                self.connection.lost(message.get("code") or 1006)
            raise StopConsumer

    async def _connect(self, arrived: float) -> None:
        log = about("tunnel.handshake", agent=handshake.claimed_id(self.scope))
        session = uuid.uuid4()
        try:
            async with asyncio.timeout(PATIENCE), door.turn():
                admission = await handshake.judge(self.scope)
                here = await worker.current()
                if here.stopping:
                    raise HandshakeFailed("this worker stops")
                if admission.trial and trials.full():
                    raise HandshakeFailed("too many handshakes are only tried")
                if not admission.trial:
                    await here.open(admission, session, arrived + PATIENCE - CLAIM_MARGIN)
        except (Refused, NoLongerWelcome) as exc:
            metrics.handshake("refused")
            address = handshake.client_address(self.scope)
            log.warning("refused from %s: %s", address, exc)
            reason = exc.reason if isinstance(exc, Refused) else RefusalReason.CHANGED
            if reason is not None:
                refusals.note(handshake.claimed_id(self.scope), reason, address)
            await self._refuse(arrived)
        except UNAVAILABLE as exc:
            metrics.handshake("unavailable")
            log.error("a handshake could not be judged: %r", exc)
            await self._unavailable(exc)
        else:
            await (self._try(admission) if admission.trial else self._accept(here, admission, session))

    async def _try(self, admission: Admission) -> None:
        await self.send({"type": "websocket.accept", "subprotocol": CHECK_SUBPROTOCOL})
        metrics.handshake("checked")
        self.connection = Trial(admission, self.send)

    async def _accept(self, here: Worker, admission: Admission, session: uuid.UUID) -> None:
        subprotocol = None if admission.basic else SUBPROTOCOL
        try:
            await self.send({"type": "websocket.accept", "subprotocol": subprotocol})
        except BaseException:
            here.abandon(session, admission)
            raise
        metrics.handshake("accepted")
        self.connection = here.attach(admission, session, self.send)

    async def _refuse(self, arrived: float) -> None:
        """Answer 403, always the same, at the same time after the request, so that ids cannot be probed."""
        delay = settings.REFUSAL_DELAY
        left = arrived + delay - time.monotonic()
        if delay and left < 0:  # a chosen secret took longer to check than the delay: the next multiple
            left = left % delay
        await asyncio.sleep(left)
        await self.send({"type": "websocket.close", "code": 1000})
        raise StopConsumer

    async def _unavailable(self, exc: Exception) -> None:
        if DENIAL not in self.scope.get("extensions", {}):
            raise HandshakeFailed(str(exc)) from exc
        headers = [(b"content-type", b"text/plain"), (b"retry-after", b"5")]
        await self.send({"type": f"{DENIAL}.start", "status": 503, "headers": headers})
        await self.send({"type": f"{DENIAL}.body", "body": b"the panel cannot answer now, try again\n"})
        raise StopConsumer
