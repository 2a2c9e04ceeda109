"""PostgreSQL as the panel's database: the store tests pass on it, and its restart ends no tunnel and no session."""

import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.e2e.cluster import ROOT, SERVERS, Cluster
from tests.faults import postgres
from tests.faults.counts import count
from tests.faults.outage import Fleet, survive

pytestmark = [pytest.mark.e2e, pytest.mark.postgres, pytest.mark.timeout(900)]

# What stands on rows, locks and constraints: sessions, leases, claims, identity, records.
STORE_TESTS = [
    "tests/tunnel/test_sessions.py",
    "tests/tunnel/test_background.py",
    "tests/tunnel/test_worker.py",
    "tests/tunnel/test_history.py",
    "tests/servers/test_identity.py",
    "tests/servers/test_records.py",
    "tests/servers/test_nodes.py",
    "tests/servers/test_models.py",
    "tests/api/test_commands.py",
    "tests/faults/test_one_route.py",
]
AT_LEAST = 190  # tests; a file that was renamed or left out is missed
FAULTS = count(["stopped"], ["stopped", "hung"])


@pytest.fixture(scope="module")
def database():
    with postgres.running() as made:
        yield made


@pytest.fixture(params=count(["serve"], list(SERVERS)))
def cluster(request, tmp_path, database):
    url = database.make(f"panel-{uuid.uuid4().hex}")  # the faults of a soak come one after another
    made = Cluster(tmp_path, request.param, TUNNEL_HEARTBEAT="5", DATABASE_URL=url)
    try:
        made.start("a", "b").start_background()
        yield made
    finally:
        made.stop()


@contextmanager
def stopped(database: postgres.Postgres) -> Iterator[None]:
    database.stop()
    try:
        yield
    finally:
        database.start()


@contextmanager
def hung(database: postgres.Postgres) -> Iterator[None]:
    database.pause()
    try:
        yield
    finally:
        database.resume()


def test_every_store_test_passes_on_postgresql(database, seen):
    environment = {**os.environ, "DATABASE_URL": database.make("stores")}
    # The threads of the panel keep their connections, so that the test database could not be dropped at the end.
    options = ["-q", "-p", "no:xdist", "-p", "no:cacheprovider", "--reuse-db", "--create-db"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *STORE_TESTS],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    told = re.fullmatch(r"(\d+) passed in .*", done.stdout.splitlines()[-1])
    assert told, f"not all were run: {done.stdout[-1000:]}"
    assert int(told[1]) >= AT_LEAST
    with psycopg.connect(database.url("test_stores")) as connection:
        ((tables,),) = connection.execute("SELECT COUNT(*) FROM pg_tables WHERE tablename = 'tunnel_session'")
    assert tables == 1, "they ran on another database"
    seen("store tests passed on PostgreSQL", int(told[1]), "tests")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_database_that_is_away_ends_no_tunnel_and_no_session(cluster, database, seen, fault):
    fleet = Fleet(cluster)
    try:
        survive(cluster, fleet, fault, lambda: {"stopped": stopped, "hung": hung}[fault](database), seen)
    finally:
        fleet.stop()
