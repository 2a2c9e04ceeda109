"""Streams through real workers: whole wherever they go, and left on no side whatever dies."""

import http.client
import json
import struct
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import pytest

from agent_client.protocol import Code
from tests.e2e.cluster import Cluster, until
from tests.e2e.streaming_agent import StreamingAgent, content
from tunnel.switchboard import LINK_SILENCE

pytestmark = pytest.mark.e2e
MEGABYTE = 1024 * 1024
NOTICED = LINK_SILENCE + 4.0  # seconds until a silent process is missed, on a busy machine


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("streams"), "uvicorn")
    try:
        yield made.start("a", "b", "c")
    finally:
        made.stop()


@dataclass
class Dialled:
    """An agent and its name."""

    name: str
    agent: StreamingAgent


@pytest.fixture
def dial(cluster):
    """Dial in: at first to the first of these workers."""
    made = []

    def dial(*workers: str) -> Dialled:
        name = f"node-{uuid.uuid4().hex[:8]}"
        agent = StreamingAgent(name, cluster.add(name), [cluster.url(worker) for worker in workers])
        made.append(agent)
        until(lambda: agent.url, 10, "the agent is in")
        return Dialled(name, agent)

    yield dial
    for agent in made:
        agent.stop()


@dataclass
class Reader:
    """Reads a stream through a worker, as a page would; `got` is what has come."""

    cluster: Cluster
    name: str
    got: bytearray = field(default_factory=bytearray)
    told: dict[str, Any] = field(default_factory=dict)

    def open(self, worker: str, action: str = "fountain", **params: int) -> "Reader":
        """Ask for a stream and wait until it is open."""
        self._line = http.client.HTTPConnection("127.0.0.1", self.cluster.ports[worker], timeout=30)
        query = "&".join(f"{key}={value}" for key, value in params.items())
        self._line.request("GET", f"/test/stream/{self.name}/{action}?{query}")
        self._answer = self._line.getresponse()
        self._exactly(4)
        self.number = struct.unpack("!I", self._exactly(4))[0]
        return self

    def read(self, enough: float = float("inf")) -> None:
        """Read until the end, or until `got` has so many bytes."""
        while len(self.got) < enough:
            (size,) = struct.unpack("!I", self._exactly(4))
            if size == 0:
                self.told = json.loads(self._answer.read())
                return
            self.got += self._exactly(size)

    def close(self) -> None:
        """Hang up."""
        self._line.close()

    def _exactly(self, size: int) -> bytes:
        data = self._answer.read(size)
        if len(data) < size:
            raise ConnectionError("the worker is gone")
        return data


@pytest.mark.parametrize("worker", ["a", "b"], ids=["same worker", "relayed"])
def test_ten_megabytes_arrive_whole_in_each_direction(cluster, dial, worker):
    node = dial("a")
    reader = Reader(cluster, node.name).open(worker, seed=1, size=10 * MEGABYTE)
    reader.read()
    assert bytes(reader.got) == content(1, 10 * MEGABYTE)
    assert reader.told["end"] == {"exitCode": 0}
    assert reader.told["pid"] == cluster.processes[worker].pid
    answer = cluster.get(worker, f"/test/echo/{node.name}/{10 * MEGABYTE}", 60)
    assert (answer["same"], answer["end"], answer["over"]) == (True, {"exitCode": 0}, True)
    until(lambda: not node.agent.live, 10, "nothing is left at the agent")
    assert node.agent.resets == []


def test_a_plain_process_reads_and_writes_a_stream_on_its_own_event_loop(cluster, dial):
    node = dial("a")
    code = f"""
import asyncio
from servers import nodes
from servers.models import Server
server = Server.objects.get(agent_id={node.name!r})
async def talk():
    async with await nodes.open_stream(server, "test", "echo") as stream:
        await stream.write(b"a word")
        await stream.write_end()
        return await stream.read_all(100), stream.end_detail
print(asyncio.run(talk()))
"""
    assert cluster.python(code).splitlines()[-1] == "(b'a word', {'exitCode': 0})"
    until(lambda: not node.agent.live, 10)


@pytest.mark.parametrize("worker", ["a", "b"], ids=["same worker", "relayed"])
def test_a_reader_that_does_not_read_holds_the_node_back_and_one_that_leaves_ends_it(cluster, dial, worker):
    node = dial("a")
    reader = Reader(cluster, node.name).open(worker, seed=2, size=64 * MEGABYTE)
    sent = -1
    while sent != node.agent.sent:  # until it stands still
        sent = node.agent.sent
        time.sleep(1.0)
    assert sent < 16 * MEGABYTE, "what the windows and the reader's socket hold"
    reader.read(32 * MEGABYTE)
    assert bytes(reader.got) == content(2, 64 * MEGABYTE)[: len(reader.got)]
    reader.close()
    until(lambda: not node.agent.live, 15, "the stream is over at the agent")
    assert node.agent.resets == [Code.CANCELLED]


def test_a_killed_owner_leaves_nothing_at_the_agent(cluster, dial):
    node = dial("a")
    reader = Reader(cluster, node.name).open("c", seed=3, size=10 * MEGABYTE, pace=1000)
    other = Reader(cluster, node.name).open("b", seed=3, size=200_000, pace=1000)
    reader.read(50_000)
    cluster.kill("c")
    until(lambda: node.agent.resets == [Code.RELAY_LOST], NOTICED, "the holder has missed the owner")
    other.read()
    assert bytes(other.got) == content(3, 200_000), "others went on"
    cluster.start_worker("c")
    cluster.wait_for("c")


def test_a_killed_holder_is_told_and_the_rest_read_through_another_worker(cluster, dial):
    node = dial("c", "a")
    size = 4 * MEGABYTE
    reader = Reader(cluster, node.name).open("b", seed=4, size=size, pace=5000)
    reader.read(200_000)
    began = time.monotonic()
    cluster.kill("c")
    reader.read()
    assert reader.told["lost"] in ("disconnected", "relay_lost")
    assert time.monotonic() - began < NOTICED
    until(lambda: node.agent.url == cluster.url("a"), 10, "the agent has come back elsewhere")
    reader.open("b", seed=4, size=size, offset=len(reader.got)).read()
    assert reader.told == {"pid": cluster.processes["b"].pid, "end": {"exitCode": 0}}
    assert bytes(reader.got) == content(4, size)
    cluster.start_worker("c")
    cluster.wait_for("c")


def test_a_restart_of_redis_in_the_middle_loses_nothing_that_is_read_again(cluster, dial):
    node = dial("a")
    size = 4 * MEGABYTE
    reader = Reader(cluster, node.name).open("b", seed=5, size=size, pace=5000)
    here = Reader(cluster, node.name).open("a", seed=6, size=size, pace=20_000)
    reader.read(200_000)
    cluster.kill("redis")
    cluster.start_redis()
    again = 0
    while "end" not in reader.told:
        reader.read()
        if "end" not in reader.told:
            again += 1
            reader.open("b", seed=5, size=size, pace=100_000, offset=len(reader.got))
        assert again < 100
    assert bytes(reader.got) == content(5, size)
    here.read()
    assert bytes(here.got) == content(6, size), "the holder's own reader notices nothing"
    until(lambda: not node.agent.live, NOTICED + 5, "nothing is left at the agent")


def test_a_stopping_worker_ends_its_streams_with_its_tunnels(cluster, dial):
    node = dial("c", "a")
    reader = Reader(cluster, node.name).open("b", seed=7, size=MEGABYTE, pace=1000)
    cluster.kill("c", 15)
    reader.read()
    assert reader.told["lost"] == "disconnected"
    until(lambda: node.agent.url == cluster.url("a"), 15)
    cluster.start_worker("c")
    cluster.wait_for("c")
