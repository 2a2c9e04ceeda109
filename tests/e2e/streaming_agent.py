"""An agent that speaks streams and does little else: the protocol's own end over a socket of asyncio, in a thread."""

import asyncio
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from agent_client.protocol import AgentSession, Code
from agent_client.protocol.agent import AgentFacts
from agent_client.protocol.events import CloseRequired, CommandReceived, StreamData, StreamEnded, StreamReset
from agent_client.protocol.handshake import ID_HEADER, SECRET_HEADER, SUBPROTOCOL
from agent_client.protocol.limits import MAX_BINARY
from agent_client.protocol.messages import Command
from agent_client.protocol.replay import ReplayGuard

FACTS = AgentFacts("1.0.0", ("test",), {"mode": "full"}, "", {"hostname": "streams"})
AGAIN = 0.2  # seconds between two tries to dial
PIECE = 32 * 1024
TICK = 0.005


def content(seed: int, size: int) -> bytes:
    """Bytes that are the same wherever they are made."""
    return random.Random(seed).randbytes(size)


@dataclass
class Flow:
    """One stream of the agent: what it still has to send, and whether it sends back what comes."""

    rest: memoryview
    echo: bool
    pace: int  # bytes a tick
    back: bytearray = field(default_factory=bytearray)
    master_ended: bool = False
    ended: bool = False


class StreamingAgent:
    """Dials one panel after the other for ever. `resets` and `sent` are what has happened so far.

    `test.fountain` {seed, size, offset, pace} sends the rest of `content(seed, size)`, `test.echo` sends back what comes.
    """

    def __init__(self, agent_id: str, secret: str, urls: list[str]) -> None:
        self.resets: list[Code] = []
        self.sent = 0
        self.live: tuple[int, ...] = ()
        self.url: str | None = None
        self._headers = {ID_HEADER: agent_id, SECRET_HEADER: secret}
        self._urls = urls
        self._stopping = threading.Event()
        self._guard = ReplayGuard()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._live()), name=f"streaming agent {agent_id}"
        )
        self._thread.start()

    def stop(self) -> None:
        """Hang up and wait until it has."""
        self._stopping.set()
        self._thread.join(20)
        assert not self._thread.is_alive()

    async def _live(self) -> None:
        number = 0
        while not self._stopping.is_set():
            url = self._urls[number % len(self._urls)]
            with suppress(OSError, TimeoutError, WebSocketException):
                async with connect(
                    url,
                    additional_headers=self._headers,
                    subprotocols=[SUBPROTOCOL],
                    proxy=None,
                    compression=None,
                    open_timeout=5,
                    close_timeout=1,
                    ping_interval=None,
                    max_size=MAX_BINARY,
                ) as socket:
                    await _Talk(self, socket, url).run()
            self.url, self.live = None, ()
            number += 1
            await asyncio.sleep(AGAIN)


class _Talk:
    """One session."""

    def __init__(self, agent: StreamingAgent, socket: ClientConnection, url: str) -> None:
        self._agent, self._socket, self._url = agent, socket, url
        now = time.monotonic()
        self._session = AgentSession(FACTS, agent._guard, now=now, wall_offset=time.time() - now)
        self._flows: dict[int, Flow] = {}
        self._actions: dict[str, Callable[[Command], Flow]] = {
            "fountain": _fountain,
            "echo": lambda _: Flow(memoryview(b""), echo=True, pace=PIECE),
        }

    async def run(self) -> None:
        """Talk until the session ends or the agent is told to stop."""
        reading = asyncio.create_task(self._read())
        try:
            while not reading.done() and not self._agent._stopping.is_set():
                self._session.tick(time.monotonic())
                for number in self._session.live_streams:
                    self._pump(number)
                await self._send()
                self._agent.live = self._session.live_streams
                await asyncio.wait([reading], timeout=TICK)
        finally:
            reading.cancel()

    async def _read(self) -> None:
        with suppress(ConnectionClosed):
            async for message in self._socket:
                now = time.monotonic()
                if isinstance(message, str):
                    events = self._session.receive_text(message, now, time.time())
                else:
                    events = self._session.receive_bytes(message, now)
                for event in events:
                    if isinstance(event, CloseRequired):
                        return
                    self._take(event)
                self._agent.url = self._url
                await self._send()

    def _take(self, event: object) -> None:
        if isinstance(event, CommandReceived):
            self._open(event.command)
        elif isinstance(event, StreamData):
            flow = self._flows[event.number]
            if flow.echo:
                flow.back += event.payload
            self._session.consumed(event.number, len(event.payload))
            self._pump(event.number)
        elif isinstance(event, StreamEnded):
            self._flows[event.number].master_ended = True
            self._pump(event.number)
        elif isinstance(event, StreamReset):
            self._agent.resets.append(event.code)

    def _open(self, command: Command) -> None:
        make = self._actions.get(command.action)
        if make is None or command.stream is None:
            self._session.fail(command.id, Code.UNKNOWN_ACTION, "there is a fountain and an echo")
            return
        interactive = bool(command.params.get("interactive"))
        stream = self._session.open_stream(command.id, {"handle": command.action}, interactive=interactive)
        self._flows[stream.number] = make(command)
        self._pump(stream.number)

    def _pump(self, number: int) -> None:
        """Send what the window and the pace allow, and the end after it."""
        flow = self._flows[number]
        if number not in self._session.live_streams or flow.ended:
            return
        left = flow.pace
        while left > 0 and (room := min(self._session.sendable(number), PIECE, left)):
            if flow.back:
                piece = bytes(flow.back[:room])
                del flow.back[:room]
            else:
                piece, flow.rest = bytes(flow.rest[:room]), flow.rest[room:]
            if not piece:
                break
            self._session.send_data(number, piece)
            self._agent.sent += len(piece)
            left -= len(piece)
        if not flow.rest and not flow.back and (flow.master_ended or not flow.echo):
            flow.ended = True
            self._session.end_stream(number, {"exitCode": 0})

    async def _send(self) -> None:
        while messages := self._session.to_send():
            for message in messages:
                await self._socket.send(message)


def _fountain(command: Command) -> Flow:
    asked = {name: int(command.params.get(name, 0)) for name in ("seed", "size", "offset", "pace")}
    whole = memoryview(content(asked["seed"], asked["size"]))
    return Flow(whole[asked["offset"] :], echo=False, pace=asked["pace"] or 16 * PIECE)
