"""Handshakes that are only tried: judged and greeted like any other, one PING answered, no session claimed."""

import asyncio
import time
from typing import Any

from agent_client.protocol import CloseCode, MasterSession
from agent_client.protocol.events import CloseRequired
from agent_client.protocol.limits import Timing
from tunnel.conf import settings
from tunnel.connection import Send
from tunnel.handshake import Admission
from tunnel.logs import about

NAME = "check"  # stands where a session has its id
LONGEST = 10.0  # seconds until the PING was answered; a doctor on the slowest line needs three
MAX_UNDER_WAY = 64  # of one worker; whoever holds a secret must not hold any number of sockets with it

_under_way: set[asyncio.Task[None]] = set()


def full() -> bool:
    """Tell whether no more handshakes can be tried now."""
    return len(_under_way) >= MAX_UNDER_WAY


class Trial:
    """One accepted socket of an agent's doctor (docs/protocol.md §1). All methods run on the event loop."""

    def __init__(self, admission: Admission, send: Send) -> None:
        timing = Timing(settings.PING, settings.SILENCE, settings.HEARTBEAT)
        self._session = MasterSession(NAME, now=time.monotonic(), wall=time.time(), basic=True, timing=timing)
        self._send = send
        self._heard = asyncio.Event()
        self._broken = False
        self._log = about("tunnel.handshake", agent=admission.welcome.agent_id, session=NAME)
        self._log.info("checked from %s: it may in", admission.address)
        self._task = asyncio.create_task(self._run(), name=f"trial of {admission.welcome.agent_id}")
        _under_way.add(self._task)
        self._task.add_done_callback(_under_way.discard)

    def receive(self, message: dict[str, Any]) -> None:
        """Take a `websocket.receive` message."""
        events = self._session.receive_text(message.get("text") or "", time.monotonic(), time.time())
        self._broken = self._broken or any(isinstance(event, CloseRequired) for event in events)
        self._heard.set()

    def lost(self, _code: int) -> None:
        """Note that the socket is gone."""
        self._task.cancel()

    async def _run(self) -> None:
        try:
            try:
                async with asyncio.timeout(LONGEST):
                    await self._talk()
            except TimeoutError:
                self._log.debug("no PING within %.0f s", LONGEST)
            await self._send({"type": "websocket.close", "code": int(CloseCode.NORMAL)})
        except Exception as exc:  # noqa: BLE001 - every server has its own error for a socket that is gone
            self._log.debug("send failed: %r", exc)

    async def _talk(self) -> None:
        """Send HANDSHAKE_ACK, and what answers the first PING."""
        await self._flush()
        while not self._broken and not await self._flush():
            await self._heard.wait()
            self._heard.clear()

    async def _flush(self) -> int:
        waiting = self._session.to_send()
        for message in waiting:
            await self._send({"type": "websocket.send", "text": message})
        return len(waiting)
