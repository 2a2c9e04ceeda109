"""SQLite's file is held by another process for longer than a lease: no tunnel ends, nobody's session does."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import cycle

import pytest

from tests.e2e.cluster import SERVERS, Cluster
from tests.faults.counts import count
from tests.faults.history import History
from tests.faults.outage import PAUSE, Fleet, Node, ask, knock, make_nodes, sessions, survive

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

CROWD = 12  # agents at one door, thrice as many as a process has threads for the database

# A backup, an operator's shell, a full disk: somebody else holds the file.
HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
connection.rollback()
"""


@pytest.fixture(scope="module", params=count(["uvicorn"], list(SERVERS)))
def cluster(request, tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp(request.param), request.param, TUNNEL_HEARTBEAT="5")
    try:
        made.start("a", "b").start_background()
        yield made
    finally:
        made.stop()


@contextmanager
def locked(cluster: Cluster) -> Iterator[None]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(cluster.folder / "db.sqlite3")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    try:
        yield
    finally:
        holder.communicate(timeout=20)


def crowd(cluster: Cluster, nodes: list[Node], unasked: list[Node], history: History) -> None:
    """Have all of `nodes` knock at a worker at once, as many commands recorded, and want other things until they end.

    Nobody has asked `unasked` before, so that the way to them is read of the database, which can be read.
    """
    pause = threading.Event()
    recorded = f"/test/recorded/{unasked[0][0]}/system.getUsage"
    with ThreadPoolExecutor(2 * len(nodes)) as pool:
        knocking = [pool.submit(knock, cluster, "a", node) for node in nodes]
        writing = [pool.submit(cluster.get, "a", recorded, 120) for _ in nodes]
        for node in cycle(unasked):
            pause.wait(PAUSE)
            assert cluster.get("a", "/tunnel/readyz", seconds=5)["database"] == "ok"
            ask(cluster, "a", node, history)
            if all(one.done() for one in knocking):
                break
        assert {one.result().get("code", "ok") for one in writing} <= {"ok", "not_sent"}
    assert {one.result().status for one in knocking} <= {500, 503}


def test_a_locked_database_ends_no_tunnel_and_no_session(cluster, seen):
    fleet = Fleet(cluster)
    nodes, unasked = make_nodes(cluster, CROWD), make_nodes(cluster, 4)
    strangers = [fleet.dial("b", node) for node in unasked]
    try:
        meanwhile = partial(crowd, cluster, nodes, unasked)
        survive(cluster, fleet, "locked", lambda: locked(cluster), seen, meanwhile)
        assert sessions(cluster, nodes) == []
    finally:
        for agent in [*strangers, fleet]:
            agent.stop()
