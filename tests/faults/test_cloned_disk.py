"""A disk was cloned: two agents with one id. The newest is in, the other one waits, and they take turns slowly."""

import time
import uuid

import pytest

from tests.e2e.cluster import Cluster, until
from tests.e2e.real_agent import RealAgent
from tests.faults.counts import count, soaking

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

WATCHED = count(10.0, 300.0)  # seconds
LOOK = 0.5  # seconds between two looks at the routes
MOST_TURNS = 3  # in five minutes


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path, "uvicorn")
    try:
        yield made.start("a", "b")
    finally:
        made.stop()


def test_a_cloned_disk_makes_two_agents_take_turns_slowly(cluster, tmp_path, seen):
    name = f"node-{uuid.uuid4()}"
    node, urls = (name, cluster.add(name)), [cluster.url("a"), cluster.url("b")]
    agents = []
    try:
        for number in range(2):
            agents.append(RealAgent(tmp_path / f"disk-{number}", urls, *node))
            until(lambda: "tunnel open" in agents[-1].log, 20, "the newest agent is in")
        came = time.monotonic()
        until(lambda: "another agent connected with this id" in agents[0].log, 10, agents[0].log)
        seen("the older agent leaves after", time.monotonic() - came, "s", most=1.0 if soaking() else 5.0)
        routes, turns = watch(cluster, name, came + WATCHED)
    finally:
        for agent in agents:
            agent.stop()
    seen("routes at once", max(routes), "routes", most=1)
    seen(f"turns within {WATCHED:g} s", turns, "turns", most=MOST_TURNS)
    told = "if two machines have this id" in cluster.log("a") + cluster.log("b")
    assert told is (turns >= MOST_TURNS), "an operator is told of it when it goes on"


def watch(cluster: Cluster, name: str, until_then: float) -> tuple[list[int], int]:
    """Return how many routes there were at each look, and how often an agent took over."""
    mine = f"FROM tunnel_session JOIN servers ON servers.id = server_id WHERE agent_id='{name}'"
    routes = []
    while (left := until_then - time.monotonic()) > 0:
        ((number,),) = cluster.sql(f"SELECT COUNT(*) {mine} AND closed_at IS NULL")
        routes.append(number)
        assert "data" in cluster.get("a", f"/test/thread/{name}/agent.ping")
        time.sleep(min(LOOK, left))  # a look, not a wait: it ends with its time
    ((turns,),) = cluster.sql(f"SELECT COUNT(*) {mine} AND close_reason='replaced'")
    return routes, turns
