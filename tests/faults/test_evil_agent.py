"""An agent that breaks the rules of the WebSocket loses its own tunnel, and disturbs nobody."""

import itertools
import time
import uuid

import psutil
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from tests.e2e.basic_agent import BasicAgent
from tests.e2e.cluster import SERVERS, Cluster

pytestmark = pytest.mark.e2e

MAX_GROWTH = 32  # MiB of the worker
PATIENCE = 30.0  # seconds until the worker has ended what never ends
PIECE = b"x" * 4096


@pytest.fixture(scope="module", params=list(SERVERS))
def cluster(request, tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp(request.param), request.param)
    try:
        yield made.start("a")
    finally:
        made.stop()


@pytest.fixture(scope="module")
def bystander(cluster):
    agent = dial(cluster)
    yield agent
    agent[1].stop()


def dial(cluster) -> tuple[str, BasicAgent]:
    name = f"node-{uuid.uuid4().hex[:8]}"
    agent = BasicAgent(cluster.url("a"), name, cluster.add(name))
    agent.wait_for("HANDSHAKE_ACK")
    return name, agent


def endless_fragments():
    yield Frame(Opcode.TEXT, PIECE, fin=False)
    yield from itertools.repeat(Frame(Opcode.CONT, PIECE, fin=False))


def bytes_that_are_no_text():
    yield Frame(Opcode.TEXT, b'{"type": "\xff\xfe"}')


def a_message_of_two_mebibytes():
    yield Frame(Opcode.TEXT, b" " * (2 * 1024 * 1024))


@pytest.mark.parametrize("evil", [endless_fragments, bytes_that_are_no_text, a_message_of_two_mebibytes])
def test_what_no_agent_may_send_ends_its_tunnel_and_nobody_elses(cluster, bystander, evil, seen):
    worker = psutil.Process(cluster.processes["a"].pid)
    name, agent = dial(cluster)
    before, started = worker.memory_info().rss, time.monotonic()
    raw = agent.socket.socket
    try:
        for frame in evil():
            raw.sendall(frame.serialize(mask=True))
            assert time.monotonic() - started < PATIENCE, "the worker takes it for ever"
    except (ConnectionClosed, OSError):
        pass  # the worker hung up while we were sending, as it should
    agent.closed(PATIENCE)
    assert cluster.get("a", f"/test/thread/{name}/GET_STATS")["code"] == "not_connected"
    assert cluster.get("a", f"/test/thread/{bystander[0]}/GET_STATS")["data"] == {"cpu": 1.5, "ram": 64}
    growth = (worker.memory_info().rss - before) / 2**20
    seen(f"growth of the worker by {evil.__name__}", growth, "MiB", most=MAX_GROWTH)
