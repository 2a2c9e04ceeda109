"""A worker killed with -9: its agents come back, its callers are told, and nobody else notices."""

import random
import statistics
import time

import pytest

from tests.e2e.cluster import SERVERS, Cluster, until
from tests.faults.callers import Callers, seconds_after
from tests.faults.counts import count, soaking
from tests.faults.fleet import Fleet, enrol
from tunnel.sessions import LEASE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

WORKERS = ("a", "b", "c")
AGENTS = count(40, 200)
KILLS = count(1, 20)
AWAY = 3  # agents of the killed worker that do not come back
UNDER_WAY = 6  # commands that its agents are busy with when it dies
LEASE_SECONDS = LEASE.total_seconds()
ON = list(SERVERS) if soaking() else ["serve"]


@pytest.fixture(scope="module", params=ON)
def cluster(request, tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp(f"killed-{request.param}"), request.param)
    try:
        made.start(*WORKERS)
        made.start_background()
        yield made
    finally:
        made.stop()


class Kill:
    """One worker killed under a fleet that has just dialled in, and what came of it."""

    def __init__(self, cluster: Cluster, fleet: Fleet, victim: str) -> None:
        self.cluster, self.fleet, self.victim = cluster, fleet, victim
        self.others = [name for name in WORKERS if name != victim]
        held = sorted(fleet.held(cluster.url(victim)))
        self.away, self.returning = set(held[:AWAY]), set(held[AWAY:])
        self.bystanders = set(fleet.names) - set(held)
        self.at = 0.0
        self.told = self.right = 0.0
        self.back: dict[str, float] = {}

    def happen(self, callers: Callers) -> None:
        """Kill, and wait until everything is as it should be."""
        callers.ask_all_the_while(3, self.others, self.fleet.names)
        busy = sorted(self.away)[:1] + sorted(self.returning)[: UNDER_WAY - 1]
        under_way = [callers.begin(random.choice(self.others), one, hold=60, timeout=60) for one in busy]
        keys = [one.operation.key for one in callers.to(set(busy)) if one.operation.end is None]
        until(lambda: set(keys) <= set(self.fleet.records.ran), 10, "the agents are busy")
        self.fleet.forget(self.away)
        self.at = time.monotonic()
        self.cluster.kill(self.victim)
        until(lambda: self._all_back(), 60, "its agents are back")
        until(lambda: self._shown(), 60, "the states are right")
        self.right = time.monotonic() - self.at
        operations = [one.result() for one in under_way]
        self.told = seconds_after(operations, self.at)
        assert {operation.outcome for operation in operations} == {"unknown"}
        callers.rest()

    def _all_back(self) -> bool:
        self.back = self.fleet.back(self.returning, self.at)
        return len(self.back) == len(self.returning)

    def _shown(self) -> bool:
        states = self.cluster.get(self.others[0], "/test/states")
        there = {name for name, state in states.items() if state == "active"}
        return there == set(self.fleet.names) - self.away


def test_a_killed_worker_costs_its_own_agents_a_moment_and_others_nothing(cluster, seen):
    secrets = enrol(cluster, AGENTS)
    urls = [cluster.url(name) for name in WORKERS]
    kills, operations = [], 0
    for number in range(KILLS):
        with Fleet(secrets, urls) as fleet, Callers(cluster) as callers:
            fleet.wait_held(AGENTS)
            kill = Kill(cluster, fleet, WORKERS[number % len(WORKERS)])
            kill.happen(callers)
            kills.append(kill)
            touched = [one for one in fleet.records.closings if one.agent in kill.bystanders]
            failed = callers.to(kill.bystanders, lambda operation: operation.outcome != "ok")
            callers.history.check(fleet.records.ran)
            operations += len(callers.asked)
            assert not touched, f"tunnels of other workers ended: {touched[:5]}"
            assert not failed, f"commands to agents of other workers failed: {failed[:5]}"
        if number + 1 < KILLS:
            cluster.start_worker(kill.victim)
            cluster.wait_for(kill.victim)
    back = [seconds for kill in kills for seconds in kill.back.values()]
    seen("workers killed", KILLS, "times")
    seen("commands asked meanwhile", operations, "commands")
    seen("agents back, p50", statistics.median(back), "s")
    seen("agents back, p99", statistics.quantiles(back, n=100, method="inclusive")[98], "s", most=10)
    seen("callers under way told", max(kill.told for kill in kills), "s", most=LEASE_SECONDS + 1)
    seen("shown states right", max(kill.right for kill in kills), "s", most=15)
