"""One agent of a fleet: the agent's own session and its own rules of dialling, over a socket of asyncio."""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from agent_client.address import Address, panel_address
from agent_client.backoff import Ending
from agent_client.conversation import ENDINGS, LEAVE_TIMEOUT
from agent_client.link import CONNECT_TIMEOUT
from agent_client.masters import Master, Masters
from agent_client.protocol import AgentSession, CloseCode, Code
from agent_client.protocol.agent import AgentFacts, Ended
from agent_client.protocol.events import (
    CancelReceived,
    CloseRequired,
    CommandReceived,
    HeartbeatDue,
    MasterLeaving,
    SessionOpened,
)
from agent_client.protocol.handshake import ID_HEADER, SECRET_HEADER, SUBPROTOCOL
from agent_client.protocol.limits import MAX_BINARY
from agent_client.protocol.messages import Command
from agent_client.protocol.replay import ReplayGuard

USAGE = {"cpu": 1.5, "ram": 64, "ramPercent": 5.0, "disk": 33.0}
FACTS = AgentFacts("1.0.0", ("system", "agent"), {"mode": "full"}, "", {"hostname": "fleet"})
REFUSALS = (401, 403)  # as `agent_client.upgrade` sees it
HANG_UP = 1.0  # seconds for the closing handshake


@dataclass(frozen=True)
class Attempt:
    """One try to connect; times are of `time.monotonic`. `outcome` is open, refused or unreachable."""

    at: float
    agent: str
    url: str
    outcome: str


@dataclass(frozen=True)
class Opening:
    """A session that has begun: HANDSHAKE_ACK was read."""

    at: float
    agent: str
    url: str


@dataclass(frozen=True)
class Closing:
    """A session that has ended; `code` is 1006 where the master sent none."""

    at: float
    agent: str
    url: str
    code: int


@dataclass(frozen=True)
class Leave:
    """A GOODBYE; `retry_after` is what it told, in seconds."""

    at: float
    agent: str
    url: str
    retry_after: float


@dataclass
class Records:
    """What has happened to all agents so far, in the order of time."""

    attempts: list[Attempt] = field(default_factory=list)
    openings: list[Opening] = field(default_factory=list)
    closings: list[Closing] = field(default_factory=list)
    goodbyes: list[Leave] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)


class FleetAgent:
    """One agent of the fleet. All of it runs on the fleet's loop."""

    def __init__(self, name: str, secret: str, urls: list[str], records: Records) -> None:
        self.url: str | None = None  # of the master whose session is open
        self.last = False
        self._name = name
        self._headers = {ID_HEADER: name, SECRET_HEADER: secret}
        self._masters = Masters([panel_address(url) for url in urls])
        self._guard = ReplayGuard()
        self._records = records
        self._ended: Ended | None = None
        self._socket: ClientConnection | None = None

    async def live(self) -> None:
        """Be connected for ever, as `agent_client.link` is."""
        wait = random.random()  # machines do not boot in the same millisecond
        while not (self.last and self._ended):
            await asyncio.sleep(wait)
            master = self._masters.choose(time.monotonic())
            socket = await self._dial(master)
            if isinstance(socket, Ending):
                wait = self._masters.ended(master, socket, time.monotonic())
                continue
            self._socket = socket
            talk = _Talk(socket, self._session(), self._records, self._name, master.address.url)
            wait = await self._until_it_ends(talk, master)

    def cut(self) -> None:
        """Break the connection."""
        if self._socket is not None:
            self._socket.transport.abort()

    def _session(self) -> AgentSession:
        now = time.monotonic()
        return AgentSession(FACTS, self._guard, now=now, wall_offset=time.time() - now, last=self._ended)

    async def _dial(self, master: Master) -> ClientConnection | Ending:
        at, outcome = time.monotonic(), Ending.UNREACHABLE
        try:
            socket = await _connect(master.address, self._headers)
        except InvalidStatus as exc:
            if exc.response.status_code in REFUSALS:
                outcome = Ending.REFUSED
        except (OSError, TimeoutError, WebSocketException):
            pass
        else:
            self._records.attempts.append(Attempt(at, self._name, master.address.url, "open"))
            return socket
        self._records.attempts.append(Attempt(at, self._name, master.address.url, outcome.value))
        return outcome

    async def _until_it_ends(self, talk: "_Talk", master: Master) -> float:
        def opened() -> None:
            self.url = master.address.url
            self._masters.good(master)

        try:
            end = await talk.run(opened)
        finally:
            self.url = self._socket = None
            self._ended = Ended("the session ended", time.monotonic())
        return self._masters.ended(
            master, end.ending, time.monotonic(), lived=end.lived, retry_after=end.retry_after
        )


async def _connect(address: Address, headers: dict[str, str]) -> ClientConnection:
    return await connect(
        address.url,
        additional_headers=headers,
        subprotocols=[SUBPROTOCOL],  # type: ignore[list-item] # a NewType of str
        proxy=None,
        compression=None,
        open_timeout=CONNECT_TIMEOUT,
        close_timeout=HANG_UP,
        ping_interval=None,  # docs/protocol.md §2: they prove nothing
        max_size=MAX_BINARY,
    )


@dataclass(frozen=True)
class _End:
    ending: Ending
    lived: float
    retry_after: float


class _Talk:
    """One session from the open socket to its end, as `agent_client.conversation` leads it."""

    def __init__(
        self, socket: ClientConnection, session: AgentSession, records: Records, agent: str, url: str
    ) -> None:
        self._socket = socket
        self._session = session
        self._records = records
        self._agent = agent
        self._url = url
        self._opened = lambda: None
        self._opened_at: float | None = None
        self._leaving: MasterLeaving | None = None
        self._leave_at = float("inf")
        self._answers: dict[str, asyncio.Task[None]] = {}

    async def run(self, opened: Callable[[], None]) -> _End:
        """Talk until the session ends; `opened` is called when it has begun."""
        self._opened = opened
        try:
            while time.monotonic() < self._leave_at:
                await self._step()
        except ConnectionClosed:
            pass  # the socket knows the code
        finally:
            self._session.close()
            for answer in self._answers.values():
                answer.cancel()
            await self._socket.close()
            code = self._socket.close_code or CloseCode.ABNORMAL
            self._records.closings.append(Closing(time.monotonic(), self._agent, self._url, code))
        return self._judged(code)

    def _judged(self, code: int) -> _End:
        lived = 0.0 if self._opened_at is None else time.monotonic() - self._opened_at
        ending = ENDINGS.get(code, Ending.LOST)  # type: ignore[call-overload] # an IntEnum is equal to its int
        if ending is Ending.LOST and self._leaving is not None:
            return _End(Ending.SENT_AWAY, lived, self._leaving.retry_after)
        return _End(ending, lived, 0.0)

    async def _step(self) -> None:
        text: str | bytes | None = None
        patience = min(self._session.next_tick(), self._leave_at) - time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, patience)):
                text = await self._socket.recv()
        now = time.monotonic()
        events = self._session.receive_text(text, now, time.time()) if isinstance(text, str) else []
        if now >= self._session.next_tick():
            events += self._session.tick(now)
        for event in events:
            self._handle(event, now)
        await self._say()
        for event in events:
            if isinstance(event, CloseRequired):
                await self._socket.close(CloseCode.NORMAL if event.code < 3000 else event.code)

    def _handle(self, event: Any, now: float) -> None:
        if isinstance(event, CommandReceived):
            self._start(event.command)
        elif isinstance(event, CancelReceived):
            self._answers.pop(event.command_id).cancel()
            self._session.fail(event.command_id, Code.CANCELLED, "it was cancelled")
        elif isinstance(event, HeartbeatDue):
            self._session.heartbeat(USAGE)
        elif isinstance(event, SessionOpened):
            self._opened_at = now
            self._records.openings.append(Opening(now, self._agent, self._url))
            self._opened()
        elif isinstance(event, MasterLeaving):
            self._leaving, self._leave_at = event, now + LEAVE_TIMEOUT
            self._records.goodbyes.append(Leave(now, self._agent, self._url, event.retry_after))

    def _start(self, command: Command) -> None:
        key, hold = command.params.get("key"), float(command.params.get("hold", 0))
        if key is not None:
            self._records.ran.append(key)
        if hold:
            self._answers[command.id] = asyncio.create_task(self._answer_later(command.id, key, hold))
        else:
            self._session.reply(command.id, USAGE if key is None else key)

    async def _answer_later(self, command_id: str, key: str | None, hold: float) -> None:
        await asyncio.sleep(hold)
        del self._answers[command_id]
        self._session.reply(command_id, key)
        with suppress(ConnectionClosed):
            await self._say()

    async def _say(self) -> None:
        for message in self._session.to_send():
            await self._socket.send(message)
