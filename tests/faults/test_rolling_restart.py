"""All workers restarted one after the other by SIGTERM: a GOODBYE to each agent, an answer to each command, no rush."""

import signal
import time
from dataclasses import dataclass

import pytest

from agent_client.protocol import CloseCode
from tests.e2e.cluster import SERVERS, Cluster, until
from tests.faults.callers import Callers
from tests.faults.counts import count, soaking
from tests.faults.fleet import Fleet, enrol, peak

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

WORKERS = ("a", "b", "c")
AGENTS = count(60, 200)
ROUNDS = count(1, 3)  # each restarts all workers
HOLD = 1.5  # seconds that commands under way at the SIGTERM still take; a worker waits for 5 at most
# Seconds; the silence of a worker that says nothing of its leaving ends a command after 5 to 6. HTTP and a machine that
# is busy with other things count too.
SOON = 5.0 if soaking() else 20.0
ON = list(SERVERS) if soaking() else ["serve"]


@pytest.fixture(scope="module", params=ON)
def cluster(request, tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp(f"rolling-{request.param}"), request.param)
    try:
        yield made.start(*WORKERS)
    finally:
        made.stop()


@dataclass(frozen=True)
class Rush:
    """The connect attempts of all agents from one worker's close frames until the last of its agents is back."""

    attempts: int
    seconds: float
    peak: int  # the most within any one second

    @property
    def mean(self) -> float:
        """Attempts a second."""
        return self.attempts / self.seconds


def restart(cluster: Cluster, fleet: Fleet, callers: Callers, name: str) -> tuple[float, set[str]]:
    """Restart one worker as a deployment does, while commands are asked and under way.

    Returns when it closed its sessions, and the agents it held.
    """
    others = [one for one in WORKERS if one != name]
    callers.ask_all_the_while(2, others, fleet.names)
    held = sorted(fleet.held(cluster.url(name)))
    # Where workers start slowly all agents may have gathered at the last one.
    elsewhere = [*sorted(fleet.held() - set(held)), *held[3:]]
    ways = [(name, held[0]), (others[0], held[1]), (others[1], held[2]), (name, elsewhere[0])]
    callers.first_right(
        [*ways, (name, elsewhere[1])]
    )  # a worker answers HTTP before it has joined the others
    under_way = [callers.begin(worker, agent, hold=HOLD) for worker, agent in ways]
    # Its own caller is waited for too, when all that its agents had to answer is answered.
    ways.append((name, elsewhere[1]))
    under_way.append(callers.begin(*ways[-1], hold=2 * HOLD))
    until(lambda: len(busy(callers) & set(fleet.records.ran)) >= len(ways), 10, "the agents are busy")
    left = fleet.held(cluster.url(name))
    since = time.monotonic()
    cluster.kill(name, signal.SIGTERM)
    for way, one in zip(ways, under_way, strict=True):
        assert one.result().outcome == "ok", f"{way}: {one.result()}"
    told = {one.agent for one in fleet.records.goodbyes if one.at >= since}
    closings = [one for one in fleet.records.closings if one.at >= since and one.agent in left]
    assert told >= left, f"without a GOODBYE: {sorted(left - told)[:5]}"
    assert {one.code for one in closings} == {CloseCode.WORKER_RESTART}
    cluster.start_worker(name)
    cluster.wait_for(name)
    callers.rest()
    return min(one.at for one in closings), left


def rush(fleet: Fleet, since: float, agents: set[str]) -> Rush:
    """Judge how agents of a restarted worker came back."""
    until(lambda: len(fleet.back(agents, since)) == len(agents), 60, "its agents are back")
    seconds = max(fleet.back(agents, since).values())
    times = [one.at for one in fleet.records.attempts if since <= one.at <= since + seconds]
    return Rush(len(times), seconds, peak(times))


def busy(callers: Callers) -> set[str]:
    """The keys of commands without an answer."""
    return {key for key, one in list(callers.history.operations.items()) if one.end is None}


def test_a_rolling_restart_says_goodbye_loses_no_answer_and_makes_no_rush(cluster, seen):
    """A rush is judged for each worker: from its first close frame until the last of its agents has a session again.

    The mean is the number of connect attempts of all agents in that time, by its seconds; the peak is the most
    attempts within any one second of it. An agent that finds its worker gone and dials the next one makes two. While
    a worker waits for commands, and between two restarts, nobody dials; such pauses would make the mean as small as
    one likes, so they do not count.
    """
    secrets = enrol(cluster, AGENTS)
    with Fleet(secrets, [cluster.url(name) for name in WORKERS]) as fleet, Callers(cluster) as callers:
        rushes = []
        for _ in range(ROUNDS):
            fleet.wait_held(AGENTS)
            # Against the order in which agents dial: along with it all would gather at the last worker.
            restarts = [restart(cluster, fleet, callers, name) for name in reversed(WORKERS)]
            rushes += [rush(fleet, since, agents) for since, agents in restarts]
            fleet.wait_held(AGENTS)
        callers.history.check(fleet.records.ran)
        outcomes = callers.history.outcomes()
        failed = [one for one in callers.asked if one.operation.outcome != "ok"]
        strange = [one for one in failed if one.operation.outcome == "unknown" or one.operation.seconds > 1.0]
        print(*rushes, *strange, sep="\n")
    worst = max(rushes, key=lambda one: one.peak / one.mean)
    seen("workers restarted", len(rushes), "times")
    seen("commands asked meanwhile", outcomes.total(), "commands")
    seen("commands of unknown outcome", outcomes["unknown"], "commands", most=outcomes.total() / 100)
    slowest = max((one.operation.seconds for one in failed), default=0.0)
    seen("a command that failed did so after", slowest, "s", most=SOON)
    seen("all agents of a worker back", max(one.seconds for one in rushes), "s")
    seen("most connect attempts", max(one.peak for one in rushes), "in a second")
    seen("peak of attempts by their mean", worst.peak / worst.mean, "times", most=count(6, 3))
