"""A master that lives long: with agents that come and go, and with very many that stay."""

import random
import resource
import secrets
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import psutil
import pytest

from tests.e2e.cluster import Cluster, until
from tests.faults.counts import count, soaking
from tests.faults.fleet import Fleet, enrol

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(count(120, 3 * 3600))]

WORKERS = ("a", "b")
HELD = count(120, 5_000)
HELD_SECONDS = count(3.0, 3600.0)
AT_ONCE = 250  # agents that dial together; the kernel's queue of a listener holds some thousands
CHURNING = count(20, 200)
CHURN_SECONDS = count(4.0, 3600.0)
# Pools and caches fill; each connection of SQLite takes 2 MiB for pages, as the history grows into them.
WARM_SECONDS = count(1.0, 1500.0)
LOOK_EVERY = count(2.0, 15.0)  # seconds between looks at the memory, whose line is then drawn
TURN = 1.0  # seconds between two steps of the churn
CUT, AWAY = 0.05, 0.02  # shares of the agents that lose their line, and that leave properly, in each turn
DESCRIPTORS = HELD + 2_000  # what this process and a worker may need
# Under DEBUG Django keeps the last 9,000 statements of each connection; nobody lives long with that.
PRODUCTION = {
    "DEBUG": "0",
    "ALLOWED_HOSTS": "127.0.0.1",
    "TUNNEL_TLS_ONLY": "1",  # TLS would be a proxy's work
    "SECURE_SSL_REDIRECT": "0",
    "LOG_LEVEL": "WARNING",
}
KIBIBYTE, MEBIBYTE = 1024, 1024**2
MOST_KIB_AN_AGENT = 48.0
MOST_MIB_AN_HOUR = 1.0
FLAT = (
    6  # descriptors or threads more at the end than after warming up; pools grow when they are first needed
)


@dataclass(frozen=True)
class Look:
    """A worker at one moment, `at` in seconds; memory in bytes."""

    at: float
    memory: int
    descriptors: int
    threads: int


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard >= DESCRIPTORS, f"this system lets a process open {hard} files, {DESCRIPTORS} are needed"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, DESCRIPTORS), hard))
    key = secrets.token_urlsafe(50)
    made = Cluster(tmp_path_factory.mktemp("long"), "uvicorn", SECRET_KEY=key, **PRODUCTION).start(*WORKERS)
    made.start_background()
    yield made
    made.stop()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def look(cluster: Cluster, worker: str) -> Look:
    process = psutil.Process(cluster.processes[worker].pid)
    return Look(time.monotonic(), process.memory_info().rss, process.num_fds(), process.num_threads())


def slope(looks: list[Look]) -> float:
    """MiB an hour, by least squares."""
    line = statistics.linear_regression([one.at for one in looks], [one.memory for one in looks])
    return line.slope * 3600 / MEBIBYTE


def test_very_many_agents_are_held(cluster, seen):
    url = cluster.url("a")
    secrets = enrol(cluster, HELD, "held")
    names = list(secrets)
    with ExitStack() as stack:
        warm = stack.enter_context(Fleet({name: secrets[name] for name in names[:20]}, [url]))
        warm.wait_held(20)
        before = look(cluster, "a")
        fleets = [warm]
        for first in range(20, HELD, AT_ONCE):
            some = {name: secrets[name] for name in names[first : first + AT_ONCE]}
            fleets.append(stack.enter_context(Fleet(some, [url])))
            fleets[-1].wait_held(len(some), 120)
        dialled = sum(len(fleet.records.openings) for fleet in fleets)
        ends = time.monotonic() + HELD_SECONDS
        while time.monotonic() < ends:
            time.sleep(min(TURN, max(0.0, ends - time.monotonic())))
        lost = sum(len(fleet.records.openings) for fleet in fleets) - dialled
        grown = (look(cluster, "a").memory - before.memory) / KIBIBYTE / (HELD - 20)
        assert sum(len(fleet.held()) for fleet in fleets) == HELD
    seen(f"tunnels lost of {HELD:,} in {HELD_SECONDS:g} s", lost, "", most=0)
    if soaking():  # a few weigh mostly what is loaded once
        seen("memory of a connected agent", grown, "KiB", most=MOST_KIB_AN_AGENT)


def test_an_hour_of_coming_and_going_leaves_nothing_behind(cluster, seen):
    dice = random.Random(20)
    looks: dict[str, list[Look]] = {worker: [] for worker in WORKERS}
    urls = [cluster.url(worker) for worker in WORKERS]
    with Fleet(enrol(cluster, CHURNING, "churn"), urls) as fleet:
        fleet.wait_held(CHURNING)
        churn(cluster, fleet, dice, WARM_SECONDS)
        at_rest = rest(cluster, fleet)
        ends = time.monotonic() + CHURN_SECONDS
        while time.monotonic() < ends:
            churn(cluster, fleet, dice, LOOK_EVERY)
            for worker in WORKERS:
                looks[worker].append(look(cluster, worker))
        after = rest(cluster, fleet)
        answered = [ask(cluster, worker, name) for name in fleet.names[:10] for worker in WORKERS]
    assert all("data" in answer for answer in answered)
    for worker in WORKERS:
        if soaking():  # seconds say nothing of an hour
            seen(f"memory of worker {worker}", slope(looks[worker]), "MiB/h", most=MOST_MIB_AN_HOUR)
        more = after[worker].descriptors - at_rest[worker].descriptors
        seen(f"more descriptors of worker {worker} at the end", more, "", most=FLAT)
        threads = after[worker].threads - at_rest[worker].threads
        seen(f"more threads of worker {worker} at the end", threads, "", most=FLAT)


def churn(cluster: Cluster, fleet: Fleet, dice: random.Random, seconds: float) -> None:
    """Let agents lose their lines, leave and come, and command some meanwhile."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        fleet.cut(dice.sample(fleet.names, max(1, int(CUT * len(fleet.names)))))
        away = dice.sample(fleet.names, max(1, int(AWAY * len(fleet.names))))
        fleet.dismiss(away)
        for worker in WORKERS:
            ask(cluster, worker, dice.choice(fleet.names))
        time.sleep(TURN)
        fleet.call(away)


def ask(cluster: Cluster, worker: str, name: str) -> dict:
    return cluster.get(worker, f"/test/loop/{name}/system.getUsage")


def rest(cluster: Cluster, fleet: Fleet) -> dict[str, Look]:
    """Wait until every agent is connected and every worker serves as many as it holds; look at the workers then.

    Where an agent lives is chance, so that each worker's sockets are taken off its descriptors.
    """
    fleet.wait_held(len(fleet.names), 120)
    found = {}
    for worker in WORKERS:
        url = cluster.url(worker)
        until(lambda url=url: sockets(cluster, url) <= len(fleet.held(url)), 30, f"sockets of {worker}")
        now = look(cluster, worker)
        found[worker] = Look(now.at, now.memory, now.descriptors - len(fleet.held(url)), now.threads)
    return found


def sockets(cluster: Cluster, url: str) -> int:
    """How many connections a worker has with its agents."""
    worker = next(name for name in WORKERS if cluster.url(name) == url)
    made = psutil.Process(cluster.processes[worker].pid).net_connections("tcp")
    return sum(one.status == psutil.CONN_ESTABLISHED for one in made)
