"""Streams through real workers: whole wherever they are read, and kept by no side when owners, holders or Redis die."""

import asyncio
import contextlib
import itertools
import signal
import time
from collections.abc import AsyncIterator

import pytest

from agent_client.protocol import Code
from servers import programs
from tests.e2e.cluster import Cluster, until
from tests.e2e.real_agent import RealAgent
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
REAL = "streams-00002"  # our own agent, which runs programs and shells
COUNT = "seq 1 1000000"
COUNTED = b"".join(b"%d\n" % number for number in range(1, 1_000_001))
WORKERS = ("stays", "reads", "dies")
SIZE_OF_WINDOW = {"cols": 80, "rows": 24}
BACK = 20.0  # seconds until an agent whose worker was killed has dialled another one, on a busy machine
NOTICED = LINK_SILENCE + 5.0  # seconds until a process that died is missed, and its streams are over


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("stream-faults"), "uvicorn")
    try:
        yield made.start(*WORKERS)
    finally:
        made.stop()


@pytest.fixture(scope="module")
def secrets(cluster):
    return enrol(cluster, 3, "streams")


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


@pytest.fixture(scope="module")
def real(cluster, secrets, tmp_path_factory):
    """Our own agent, at first on the worker that dies."""
    urls = [cluster.url("dies"), cluster.url("stays")]
    made = RealAgent(tmp_path_factory.mktemp("real"), urls, REAL, secrets[REAL])
    try:
        until(lambda: held(cluster, REAL), 15, "the agent is in")
        yield made
    finally:
        made.stop()


def held(cluster: Cluster, name: str) -> bool:
    """Tell whether a worker holds the agent's socket."""
    return bool(cluster.get("stays", f"/test/states?id={name}").get(name) == "active")


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
        other = Reader(cluster, CALM).open("reads", seed=4, size=MEGABYTE, pace=PACE)
        lost.read(1)
        cluster.kill("dies")
        began = time.monotonic()
        until(lambda: agent.resets, NOTICED, "the holder has missed the owner")
        longest = max(longest, time.monotonic() - began)
        assert agent.resets == [Code.RELAY_LOST]
        agent.resets.clear()
        assert other.read()["end"] == {"exitCode": 0}
        assert bytes(other.got) == content(4, MEGABYTE), "others go on"
        again("dies")
    assert agent.live == ()
    seen("owner killed: its stream is over at the agent", longest, "s", most=NOTICED)


@pytest.mark.parametrize("number", count([signal.SIGTERM], [signal.SIGTERM, signal.SIGKILL]))  # killed: below
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


def test_a_running_program_is_read_whole_through_another_worker(cluster, real):
    reader = Reader(cluster, REAL).open("reads", "system.exec", argv=COUNT.split())
    assert reader.read()["end"]["exitCode"] == 0
    came = asyncio.run(whole(bytes(reader.got)))
    assert came == {programs.STDOUT: COUNTED}


async def whole(records: bytes) -> dict[int, bytes]:
    """Put the outputs of a program together."""

    async def once() -> AsyncIterator[bytes]:
        yield records

    came: dict[int, bytes] = {}
    async for output, data in programs.written(once()):
        came[output] = came.get(output, b"") + data
    return came


class Viewer:
    """Looks at one shell through whichever worker is there, and goes on where it was."""

    def __init__(self, cluster: Cluster, typed: str) -> None:
        self.reader = Reader(cluster, REAL).open("reads", "shell.open", typed, **SIZE_OF_WINDOW)
        self.worker = "reads"
        self.again = 0
        self.slowest = 0.0  # seconds from a break until it was attached again
        self._handle = self.reader.data["handle"]
        self._workers = itertools.cycle(WORKERS)

    def read(self, enough: float = float("inf")) -> None:
        """Read until the shell's end, or until so many bytes have come."""
        while len(self.reader.got) < enough and "end" not in self.reader.told:
            try:
                broken = bool(self.reader.read(enough)) and "end" not in self.reader.told
            except OSError:
                broken = True  # the worker it read through
            if broken:
                self._attach()

    def _attach(self) -> None:
        began, here = time.monotonic(), len(self.reader.got)
        wishes = SIZE_OF_WINDOW | {"handle": self._handle, "offset": here, "write": True}
        self.again += 1
        while time.monotonic() - began < BACK:
            self.worker = next(self._workers)
            with contextlib.suppress(OSError):
                self.reader.open(self.worker, "shell.attach", **wishes)
                if self.reader.data is not None:
                    assert self.reader.data["offset"] == here, "a gap"
                    self.slowest = max(self.slowest, time.monotonic() - began)
                    return
        raise AssertionError(f"not attached again within {BACK} s: {self.reader.told}")


def test_a_shell_goes_on_where_it_was_whatever_dies_under_its_output(cluster, real, seen):
    again, slowest = 0, 0.0
    for _ in range(count(1, 5)):  # a new shell each time: sockets and workers hold half of what one counts
        viewer = Viewer(cluster, f"stty -echo; PS1=; echo beg''in; {COUNT}; exit 7\n")
        count_to_a_million(cluster, viewer)
        assert viewer.again >= 2, "both killed workers had a part in it"
        again, slowest = again + viewer.again, max(slowest, viewer.slowest)
    seen("a shell attached again", again, "times")
    seen("the longest until it was", slowest, "s", most=BACK)


def count_to_a_million(cluster: Cluster, viewer: Viewer) -> None:
    """Read to the shell's end while its holder, Redis and its owner die; each byte must come once."""
    for number, victim in enumerate(("holder", "redis", "owner"), 1):
        viewer.read(number * len(COUNTED) / 4)
        if victim == "redis":
            cluster.kill("redis")
            cluster.start_redis()
            continue
        killed = viewer.worker if victim == "owner" else holder(cluster, REAL)
        cluster.kill(killed)
        cluster.start_worker(killed)
        viewer.read(len(viewer.reader.got) + MEGABYTE // 8)  # while it starts
        cluster.wait_for(killed)
    viewer.read()
    assert viewer.reader.told["end"] == {"exitCode": 7}
    output = bytes(viewer.reader.got).split(b"begin\r\n", 1)[1].replace(b"\r\n", b"\n")
    assert output.removesuffix(b"logout\n") == COUNTED, "every byte once"


def holder(cluster: Cluster, name: str) -> str:
    """Return the worker that holds the agent's socket."""
    (row,) = cluster.sql(
        "SELECT w.pid FROM tunnel_session s JOIN servers ON servers.id = s.server_id"
        " JOIN tunnel_worker w ON w.id = s.worker_id"
        f" WHERE agent_id = '{name}' AND closed_at IS NULL"
    )
    return next(worker for worker in WORKERS if cluster.processes[worker].pid == row[0])


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
