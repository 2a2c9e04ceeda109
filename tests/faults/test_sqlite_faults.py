"""SQLite's file is held by another process for longer than a lease: no tunnel ends, nobody's session does."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.cluster import SERVERS, Cluster
from tests.faults.counts import count
from tests.faults.outage import Fleet, survive

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

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


def test_a_locked_database_ends_no_tunnel_and_no_session(cluster, seen):
    fleet = Fleet(cluster)
    try:
        survive(cluster, fleet, "locked", lambda: locked(cluster), seen)
    finally:
        fleet.stop()
