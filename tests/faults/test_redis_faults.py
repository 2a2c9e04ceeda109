"""Redis killed, restarted, paused, full, absent, or written to by a stranger: tunnels stand, and no command lies."""

import random
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import msgpack
import pytest
import redis

from tests.e2e.cluster import SERVERS, Cluster, until
from tests.faults.callers import Callers, Way
from tests.faults.counts import count, soaking
from tests.faults.fleet import Fleet, enrol
from tests.faults.history import Operation
from tunnel import sessions, worker
from tunnel.switchboard import LINK_SILENCE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

WORKERS = ("a", "b")
AGENTS = count(10, 60)
AWAY = count(3.0, 10.0)  # seconds
PROMISED = 2.0  # seconds until a command fails, and until the first one is right after Redis' return
MOST = count(2 * PROMISED, PROMISED + 0.25)  # HTTP takes its time too, much of it on a busy machine


@contextmanager
def killed(cluster: Cluster) -> Iterator[None]:
    cluster.kill("redis")
    yield
    cluster.start_redis()


@contextmanager
def paused(cluster: Cluster) -> Iterator[None]:
    cluster.kill("redis", signal.SIGSTOP)
    yield
    cluster.kill("redis", signal.SIGCONT)


FAULTS = {"killed": killed, "paused": paused}


everywhere = pytest.mark.parametrize("cluster", list(SERVERS), indirect=True)
somewhere = pytest.mark.parametrize(
    "cluster", list(SERVERS) if soaking() else ["uvicorn"], indirect=True
)  # the servers differ in nothing that these are about


@pytest.fixture(scope="module")
def cluster(request, tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp(f"redis-{request.param}"), request.param)
    try:
        yield made.start(*WORKERS)
    finally:
        made.stop()


@pytest.fixture(scope="module")
def fleet(cluster):
    """Agents that keep their tunnels through all that happens to Redis here."""
    with Fleet(enrol(cluster, AGENTS), [cluster.url(name) for name in WORKERS]) as made:
        made.wait_held(AGENTS)
        yield made


@pytest.fixture
def callers(cluster, fleet):
    """Callers whose history is true in the end, on workers of which no tunnel ends."""
    before = len(fleet.records.ran)
    with Callers(cluster, threads=64) as made:
        yield made
    made.history.check(fleet.records.ran[before:])
    assert fleet.records.closings == []


def there(cluster: Cluster, fleet: Fleet, worker: str) -> str:
    """Return an agent whose socket this worker holds."""
    return random.choice(sorted(fleet.held(cluster.url(worker))))


def both_ways(cluster: Cluster, fleet: Fleet, *, other: bool) -> list[Way]:
    """Return the ways from each worker to an agent of the other one, or to one of its own."""
    holders = reversed(WORKERS) if other else WORKERS
    return [(worker, there(cluster, fleet, holder)) for worker, holder in zip(WORKERS, holders, strict=True)]


def ask(callers: Callers, ways: list[Way], **options: float) -> list[Operation]:
    """Ask on all ways at once and wait for how it ended."""
    return [one.result() for one in [callers.begin(*way, **options) for way in ways]]


@everywhere
@pytest.mark.parametrize("fault", FAULTS)
def test_no_tunnel_ends_and_no_command_runs_late(cluster, fleet, callers, seen, fault):
    assert outcomes(ask(callers, both_ways(cluster, fleet, other=True))) == {"ok"}
    here: list[Operation] = []
    across: list[Operation] = []
    with FAULTS[fault](cluster):
        until_then = time.monotonic() + AWAY
        while time.monotonic() < until_then:
            here += ask(callers, both_ways(cluster, fleet, other=False))
            across += ask(callers, both_ways(cluster, fleet, other=True))
        ran = len(fleet.records.ran)
    back = callers.first_right(both_ways(cluster, fleet, other=True))
    assert outcomes(here) == {"ok"}
    assert "ok" not in outcomes(across)
    assert not {one.key for one in across} & set(fleet.records.ran[ran:]), "what had failed ran later"
    seen(f"Redis {fault}: commands to another worker end", slowest(across), "s", most=MOST)
    seen(f"Redis {fault}: first right one after its return", back, "s", most=MOST)


@somewhere
def test_a_redis_that_restarts_and_restarts_makes_no_history_a_lie(cluster, fleet, callers, seen):
    callers.ask_all_the_while(4, WORKERS, fleet.names)
    back = []
    for _ in range(count(2, 20)):
        cluster.kill("redis", signal.SIGTERM)
        cluster.start_redis()
        back.append(callers.first_right(both_ways(cluster, fleet, other=True)))
    callers.rest()
    seen("Redis restarted: first right one after its return", max(back), "s", most=MOST)
    seen("commands asked meanwhile", len(callers.asked), "commands")


@somewhere
def test_a_redis_without_memory_ends_no_tunnel_and_no_command_late(cluster, fleet, callers, seen):
    with stranger(cluster) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        try:
            with pytest.raises(redis.exceptions.OutOfMemoryError):
                client.set("anything", "anything")
            until_then = time.monotonic() + sessions.RENEWAL * worker.TICKS_A_NUDGE * count(0.3, 3)
            across: list[Operation] = []
            while time.monotonic() < until_then:  # meanwhile the job layer is written to, which fails
                across += ask(callers, both_ways(cluster, fleet, other=True))
                assert outcomes(ask(callers, both_ways(cluster, fleet, other=False))) == {"ok"}
        finally:
            client.config_set("maxmemory", 0)
    seen("Redis full: commands to another worker end", slowest(across), "s", most=MOST)
    assert outcomes(ask(callers, both_ways(cluster, fleet, other=True))) == {"ok"}


@somewhere
def test_a_worker_that_starts_without_redis_takes_agents_and_is_reached_once_it_is_there(
    cluster, fleet, callers, seen
):
    with Fleet(enrol(cluster, 2, "early"), [cluster.new_url("c")]) as early:
        early.records.ran = fleet.records.ran  # one history of both
        with killed(cluster):
            cluster.start_worker("c")
            cluster.wait_for("c")
            early.wait_held(2)
            ways = [("a", early.names[0]), ("c", there(cluster, fleet, "a"))]
            across = ask(callers, ways)
            assert outcomes(ask(callers, [("c", name) for name in early.names])) == {"ok"}
            assert outcomes(across) == {"fail"}
            ran = len(early.records.ran)
        back = callers.first_right(ways)
        assert not {one.key for one in across} & set(early.records.ran[ran:]), "what had failed ran later"
        seen("Redis absent at start: commands to another worker end", slowest(across), "s", most=MOST)
        seen("Redis absent at start: first right one once it is there", back, "s", most=MOST)
        assert early.records.closings == []
    cluster.kill("c", signal.SIGTERM)


@somewhere
def test_nothing_that_a_stranger_publishes_runs_or_ends_anything(cluster, fleet, callers):
    with stranger(cluster) as client:
        letters = overheard(client, lambda: ask(callers, both_ways(cluster, fleet, other=True)))
        channels = client.pubsub_channels()
        assert (
            len({channel for channel, _ in letters}) >= 2
        )  # each way; a question and an answer may share one
        for channel, letter in letters:
            for _ in range(count(3, 100)):
                client.publish(channel, letter)
            for other in channels:
                client.publish(other, letter)
            for place in range(0, len(letter), count(16, 1)):
                client.publish(channel, letter[:place] + bytes([letter[place] ^ 1]) + letter[place + 1 :])
                client.publish(channel, letter[:place])
        for channel in channels:
            to = channel.decode()
            for wrong in ({"type": "tunnel.letter", "to": to, "letter": b"x" * 100}, {"to": to}, [], None):
                client.publish(channel, msgpack.packb(wrong))
    # What is published later is read later, so that all of the above has been judged when these are answered.
    for _ in range(3):
        assert outcomes(ask(callers, both_ways(cluster, fleet, other=True))) == {"ok"}
    for name in WORKERS:
        assert 1 <= cluster.log(name).count("a letter was dropped") <= 5, "a stranger fills the log"


@somewhere
def test_letters_that_redis_drops_leave_nobody_waiting_and_nothing_twice(cluster, fleet, callers, seen):
    told, back = [], []
    for _ in range(count(1, 20)):
        ways = both_ways(cluster, fleet, other=True)
        under_way = [callers.begin(*way, hold=1.0) for way in ways]
        keys = {one.operation.key for one in callers.asked if one.operation.end is None}
        until(lambda keys=keys: keys <= set(fleet.records.ran), 10, "the agents are busy")
        with stranger(cluster) as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        back.append(callers.first_right(ways))
        operations = [one.result() for one in under_way]
        assert outcomes(operations) <= {"ok", "unknown"}
        told.append(slowest(operations))
    seen("Redis drops its subscribers: commands under way end", max(told), "s", most=MOST + LINK_SILENCE)
    seen("Redis drops its subscribers: first right one afterwards", max(back), "s", most=MOST)


@contextmanager
def stranger(cluster: Cluster) -> Iterator[redis.Redis]:
    """A client of Redis that does not know the panel's key."""
    client = redis.Redis(unix_socket_path=cluster.redis_socket, socket_timeout=10)
    try:
        yield client
    finally:
        client.close()


def overheard(client: redis.Redis, act: Callable[[], object]) -> list[tuple[bytes, bytes]]:
    """Return what is published, and where, while `act` runs."""
    with client.pubsub(ignore_subscribe_messages=True) as ear:
        ear.psubscribe("*")
        ear.get_message(ignore_subscribe_messages=False, timeout=5)
        act()
        heard = []
        while message := ear.get_message(timeout=0.2):
            heard.append((message["channel"], message["data"]))
        return heard


def outcomes(operations: Iterable[Operation]) -> set[str]:
    return {one.outcome for one in operations}


def slowest(operations: Iterable[Operation]) -> float:
    return max(one.seconds for one in operations)
