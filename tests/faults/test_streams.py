"""Streams through real workers: whole wherever they are read, and kept by no side when owners, holders or Redis die."""

import signal
import time

import pytest

from agent_client.protocol import Code
from tests.e2e.cluster import Cluster, until
from tests.e2e.stream_reader import Reader
from tests.e2e.streaming_agent import StreamingAgent, content
from tests.faults.counts import count
from tests.faults.fleet import enrol
from tunnel.switchboard import LINK_SILENCE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

TIMES = count(1, 10)
SIZE = count(2, 7) * 1024 * 1024  # `seq 1 1000000` writes 6.9 MB
PACE = count(5_000, 2_000)  # bytes each 5 ms or so: it takes seconds
MEGABYTE = 1024 * 1024
HELD = 16 * MEGABYTE  # more than the window, the worker's socket and the reader's socket take together
CALM = "streams-00000"  # an agent on a worker that stays
MOVES = "streams-00001"
NOTICED = LINK_SILENCE + 5.0  # seconds until a process that died is missed, and its streams are over


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("stream-faults"), "uvicorn")
    try:
        yield made.start("stays", "reads", "dies")
    finally:
        made.stop()


@pytest.fixture(scope="module")
def secrets(cluster):
    return enrol(cluster, 2, "streams")


@pytest.fixture
def dial(cluster, secrets):
    """Dial in: at first to the first of these workers."""
    made = []

    def dial(name: str, *workers: str) -> StreamingAgent:
        agent = StreamingAgent(name, secrets[name], [cluster.url(worker) for worker in workers])
        made.append(agent)
        until(lambda: agent.url == cluster.url(workers[0]), 15, "the agent is in")
        return agent

    yield dial
    for agent in made:
        agent.stop()


@pytest.fixture
def again(cluster):
    """Start what was killed, and wait for it."""

    def again(worker: str) -> None:
        cluster.start_worker(worker)
        cluster.wait_for(worker)

    return again


def read_on(reader: Reader, worker: str, seed: int) -> int:
    """Read to the end of what began, from where it broke, each time that it breaks; return how often it broke."""
    broke = 0
    while "end" not in reader.read():
        assert reader.told.get("lost") or reader.told.get("code"), reader.told
        broke += 1
        assert broke < 500
        reader.open(worker, seed=seed, size=SIZE, pace=PACE, offset=len(reader.got))
    return broke


@pytest.mark.parametrize("worker", ["stays", "reads"])
def test_ten_megabytes_arrive_whole_in_each_direction(cluster, dial, worker):
    agent = dial(CALM, "stays")
    reader = Reader(cluster, CALM).open(worker, seed=1, size=10 * MEGABYTE)
    assert reader.read() == {"end": {"exitCode": 0}, "pid": cluster.processes[worker].pid}
    assert bytes(reader.got) == content(1, 10 * MEGABYTE)
    answer = cluster.get(worker, f"/test/echo/{CALM}/{10 * MEGABYTE}", 60)
    assert (answer["same"], answer["end"], answer["over"]) == (True, {"exitCode": 0}, True)
    until(lambda: not agent.live, 10, "nothing is left at the agent")
    assert agent.resets == []


def test_a_plain_process_reads_and_writes_a_stream_on_its_own_event_loop(cluster, dial):
    dial(CALM, "stays")
    code = f"""
import asyncio
from servers import nodes
from servers.models import Server
server = Server.objects.get(agent_id={CALM!r})
async def talk():
    async with await nodes.open_stream(server, "test", "echo") as stream:
        await stream.write(b"a word")
        await stream.write_end()
        return await stream.read_all(100), stream.end_detail
print(asyncio.run(talk()))
"""
    assert cluster.python(code).splitlines()[-1] == "(b'a word', {'exitCode': 0})"


def test_readers_that_do_not_read_hold_the_node_back_and_end_it_when_they_leave(cluster, dial):
    agent = dial(CALM, "stays")
    readers = [
        Reader(cluster, CALM).open(worker, seed=2, size=64 * MEGABYTE) for worker in ("stays", "reads")
    ]
    sent = -1
    while sent != agent.sent:  # until it stands still
        sent = agent.sent
        time.sleep(1.0)
    assert sent < 2 * HELD
    for reader in readers:
        reader.read(2 * HELD)
        assert bytes(reader.got) == content(2, 64 * MEGABYTE)[: len(reader.got)]
        reader.close()
    until(lambda: not agent.live, 15, "the streams are over at the agent")
    assert agent.resets == [Code.CANCELLED] * 2


def test_a_restarted_redis_costs_the_reader_no_byte(cluster, dial, seen):
    agent = dial(CALM, "stays")
    far = Reader(cluster, CALM).open("reads", seed=5, size=SIZE, pace=PACE)
    near = Reader(cluster, CALM).open("stays", seed=6, size=SIZE, pace=PACE)
    for number in range(TIMES):
        far.read((number + 1) * SIZE // (TIMES + 2))
        cluster.kill("redis")
        cluster.start_redis()
    seen("Redis restarted under a stream: opened again", read_on(far, "reads", 5), "times")
    assert bytes(far.got) == content(5, SIZE)
    near.read()
    assert bytes(near.got) == content(6, SIZE), "the holder's own reader notices nothing"
    until(lambda: not agent.live, NOTICED + 5, "nothing is left at the agent")


def test_a_killed_owner_leaves_nothing_at_the_agent(cluster, dial, again, seen):
    agent = dial(CALM, "stays")
    longest = 0.0
    for _ in range(TIMES):
        lost = Reader(cluster, CALM).open("dies", seed=3, size=SIZE, pace=100)
        other = Reader(cluster, CALM).open("reads", seed=4, size=SIZE, pace=PACE)
        lost.read(1)
        cluster.kill("dies")
        began = time.monotonic()
        until(lambda: agent.resets, NOTICED, "the holder has missed the owner")
        longest = max(longest, time.monotonic() - began)
        assert agent.resets == [Code.RELAY_LOST]
        agent.resets.clear()
        assert other.read()["end"] == {"exitCode": 0}
        assert bytes(other.got) == content(4, SIZE), "others go on"
        again("dies")
    assert agent.live == ()
    seen("owner killed: its stream is over at the agent", longest, "s", most=NOTICED)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_a_holder_that_goes_costs_the_reader_no_byte(cluster, dial, again, seen, number):
    longest = 0.0
    for _ in range(TIMES):
        agent = dial(MOVES, "dies", "stays")
        reader = Reader(cluster, MOVES).open("reads", seed=7, size=SIZE, pace=PACE)
        reader.read(SIZE // 4)
        cluster.kill("dies", number)
        began = time.monotonic()
        assert reader.read()["lost"] in ("disconnected", "relay_lost")
        longest = max(longest, time.monotonic() - began)
        until(lambda agent=agent: agent.url == cluster.url("stays"), 15, "the agent is back elsewhere")
        read_on(reader, "reads", 7)
        assert bytes(reader.got) == content(7, SIZE)
        agent.stop()
        again("dies")
    seen(f"holder gone ({number.name}): its reader is told", longest, "s", most=NOTICED)


def test_a_suspended_node_ends_its_streams_at_once(cluster, dial):
    dial(CALM, "stays")
    readers = [
        Reader(cluster, CALM).open(worker, seed=3, size=MEGABYTE, pace=100) for worker in ("stays", "reads")
    ]
    code = "from servers import identity; from servers.models import Server; "
    code += f"identity.suspend(Server.objects.get(agent_id={CALM!r}))"
    cluster.python(code)
    began = time.monotonic()
    assert [reader.read()["lost"] for reader in readers] == ["revoked"] * 2
    assert time.monotonic() - began < 10
    assert Reader(cluster, CALM).open("reads").read()["code"] == "forbidden"
