"""Many messages each way at once over one TLS connection: all whole, none lost, none reordered, each answer its own.

The agent's I/O thread alone touches its socket; this is what that is for (docs/architecture.md, decisions).
"""

import asyncio
import json
import random
import ssl
import time
import uuid
from collections import Counter, deque
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from agent_client.pool import WAITING
from tests.agent.certificates import Authority
from tests.e2e.cluster import ROOT
from tests.e2e.real_agent import RealAgent
from tests.faults import injected
from tests.faults.counts import count
from tests.faults.encrypted import EncryptedCluster
from tests.faults.nodes import Nodes

pytestmark = pytest.mark.e2e

MESSAGES = count(2_000, 100_000)  # each way
A_SECOND = 2_000  # at most: 65,536 ids are held for 30 s, docs/protocol.md §3
LARGE = 150_000  # characters of every hundredth message; many TLS records
DEADLINE = count(90.0, 900.0)  # seconds


class Exchange:
    """A master that asks without waiting and checks every answer.

    Every second command is one the agent has not: its I/O thread answers that alone, so these answers must come in the
    order of their questions. The others go through the threads of its pool, and come back in any.
    """

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.in_order: deque[str] = deque()
        self.words: dict[str, str] = {}
        self.answered = 0
        self.largest = 0
        self.room = asyncio.Semaphore(WAITING)  # beyond it the agent would answer `busy`

    async def run(self) -> None:
        """Talk until everything is answered."""
        times = {"serverTime": time.time(), "ping": 0.5, "silence": 18, "heartbeat": 1}
        await self.send({"type": "HANDSHAKE_ACK", "status": "connected", "session": "many", **times})
        asking = asyncio.create_task(self.ask())
        while self.answered < MESSAGES:
            self.hear(await self.socket.recv())
        await asking

    async def ask(self) -> None:
        began = time.monotonic()
        for number in range(MESSAGES):
            command = f"{number}-{uuid.uuid4().hex}"
            if number % 2:
                self.in_order.append(command)
                await self.command(command, "nothing")
            else:
                await self.room.acquire()
                self.words[command] = word = self.word(number)
                await self.command(command, "echo", word=word)
            await asyncio.sleep(max(0.0, began + number / A_SECOND - time.monotonic()))

    def word(self, number: int) -> str:
        size = LARGE if number % 100 == 0 else random.randrange(300)
        return (uuid.uuid4().hex * (size // 32 + 1))[: size + 1]

    async def command(self, command: str, action: str, **params: str) -> None:
        what = {"service": "faults", "action": action, "params": params, "timestamp": time.time()}
        await self.send({"id": command, "type": "EXEC_COMMAND", **what})

    def hear(self, text: str | bytes) -> None:
        self.largest = max(self.largest, len(text))
        message = json.loads(text)
        if message.get("type") == "PING":
            self.pong = asyncio.create_task(self.send({**message, "type": "PONG", "serverTime": time.time()}))
        if "requestId" not in message:
            return
        self.answered += 1
        command = message["requestId"]
        if message["status"] == "error":
            assert (command, message["code"]) == (self.in_order.popleft(), "unknown_action")
        else:
            assert message["data"] == self.words.pop(command), "an answer that is another's, or was changed"
            self.room.release()

    async def send(self, message: dict[str, Any]) -> None:
        await self.socket.send(json.dumps(message))


@pytest.mark.timeout(DEADLINE + 60)
async def test_many_messages_each_way_at_once_are_whole_and_in_order(tmp_path, seen):
    authority = Authority(tmp_path)
    tls: ssl.SSLContext = authority.server()
    exchanges: asyncio.Queue[Exchange] = asyncio.Queue()
    outcome: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def welcome(socket: ServerConnection) -> None:
        exchange = Exchange(socket)
        exchanges.put_nowait(exchange)
        began = time.monotonic()
        try:
            await exchange.run()
        except BaseException as exc:
            outcome.set_exception(exc)
            raise
        outcome.set_result(time.monotonic() - began)

    offered = {"subprotocols": ["yumna.tunnel.v1"], "compression": None, "ping_interval": None}
    async with serve(welcome, "127.0.0.1", 0, ssl=tls, **offered) as server:
        port = server.sockets[0].getsockname()[1]
        agent = start(tmp_path, f"wss://127.0.0.1:{port}/tunnel", authority)
        try:
            seconds = await asyncio.wait_for(outcome, DEADLINE)
        finally:
            agent.stop()
    exchange = exchanges.get_nowait()
    assert exchanges.empty(), f"one connection was enough: {agent.log}"
    assert not exchange.words
    assert not exchange.in_order
    assert exchange.largest > LARGE
    seen("messages each way at once over one TLS connection", MESSAGES, "messages")
    seen("of them a second", MESSAGES / seconds, "messages/s")


def start(folder: Path, url: str, authority: Authority) -> RealAgent:
    path = f"{injected.install(folder / 'packages')}:{ROOT}"
    more = {"PYTHONPATH": path, "MASTER_CA_FILE": str(authority.file)}
    return RealAgent(folder / "agent", [url], "many-messages", "rahasiadapur", **more)


ASK = """
import asyncio, json, time
from tunnel.dispatch import asend_command
TOTAL, A_SECOND = {total}, {a_second}
began = time.monotonic()
numbers = iter(range(TOTAL))

async def ask():
    wrong = []
    for number in numbers:
        await asyncio.sleep(max(0.0, began + number / A_SECOND - time.monotonic()))
        word = f"{{number}}-" + "x" * (number % 1000)
        answer = await asend_command("many", "faults.echo", {{"word": word}}, timeout=20)
        if answer != word:
            wrong.append(number)
    return wrong

async def all_of_them():
    return sum(await asyncio.gather(*(ask() for _ in range(32))), [])

print(json.dumps(asyncio.run(all_of_them())))
"""


@pytest.mark.timeout(DEADLINE + 60)
def test_many_commands_through_the_panel_over_tls_run_once_and_get_their_own_answer(tmp_path, seen):
    folder = tmp_path / "panel"
    folder.mkdir()
    cluster = EncryptedCluster(folder)
    nodes = None
    try:
        cluster.start("a")
        nodes = Nodes(cluster, tmp_path / "nodes", ["many"])
        nodes.start("many", MASTER_CA_FILE=str(cluster.authority.file))
        nodes.wait_until_in()
        began = time.monotonic()
        asked = ASK.format(total=MESSAGES, a_second=A_SECOND)
        assert json.loads(cluster.python(asked, seconds=DEADLINE)) == []
        seconds = time.monotonic() - began
        ran = Counter(int(word.split("-")[0]) for word in nodes.ran())
        assert ran == Counter(range(MESSAGES))
        assert nodes.agents["many"].log.count("tunnel open") == 1
        assert nodes.sessions("many") == 1
        seen("commands through the panel over one TLS connection, a second", MESSAGES / seconds, "commands/s")
    finally:
        if nodes is not None:
            nodes.stop()
        cluster.stop()
