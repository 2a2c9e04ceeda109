"""Our own agent and our own master, each as it is shipped: commands, faults, and coming back."""

import signal
import time
import uuid

import psutil
import pytest

from tests.e2e.cluster import Cluster, until
from tests.e2e.real_agent import RealAgent
from tests.faults.nodes import start_on_both_servers

pytestmark = pytest.mark.e2e
WORKERS = {"uvicorn": "a", "serve": "b"}
# `first` is the worker that is dialled first.
everywhere = pytest.mark.parametrize("first", WORKERS.values(), ids=WORKERS)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    # An agent must not give up a worker that the test holds still: no test here waits for silence.
    made = Cluster(tmp_path_factory.mktemp("real"), "uvicorn", TUNNEL_SILENCE="120")
    try:
        start_on_both_servers(made, WORKERS)
        made.stock(30)
        yield made
    finally:
        made.stop()


@pytest.fixture
def node(cluster):
    return new_node(cluster)


def new_node(cluster) -> tuple[str, str]:
    name = f"node-{uuid.uuid4().hex[:8]}"
    return name, cluster.add(name)


@pytest.fixture
def agents(cluster, tmp_path):
    """Start agents that dial `first` and then the other worker; each is stopped at the end of the test."""
    started = []

    def start(node, first: str) -> RealAgent:
        urls = [cluster.url(worker) for worker in sorted(WORKERS.values(), key=lambda name: name != first)]
        agent = RealAgent(tmp_path / f"agent-{len(started)}", urls, *node)
        started.append(agent)
        until(lambda: "tunnel open" in agent.log, 15, f"the agent is in: {agent.log}")
        return agent

    yield start
    for agent in started:
        agent.stop()


def run(cluster, node, *command, options=()):
    return cluster.manage("tunnel", "run", *options, node[0], "--", *command, check=False)


def holder(cluster, node) -> str:
    """The name of the worker that holds the agent's socket."""
    rows = cluster.sql(
        "SELECT pid FROM tunnel_worker JOIN tunnel_session s ON s.worker_id = tunnel_worker.id JOIN servers"
        f" ON servers.id = s.server_id WHERE agent_id='{node[0]}' AND closed_at IS NULL"
    )
    pids = {process.pid: name for name, process in cluster.processes.items()}
    return pids.get(rows[0][0], "") if rows else ""


def lapsed(cluster, name) -> bool:
    """Tell whether a worker's lease has run out."""
    until_then = (
        f"SELECT lease_until < datetime('now') FROM tunnel_worker WHERE pid={cluster.processes[name].pid}"
    )
    return all(past for (past,) in cluster.sql(until_then))


def lapsed_since(cluster, moment: str) -> bool:
    """Tell whether a lease that ended at `moment` would have run out by now."""
    return bool(cluster.sql(f"SELECT datetime('{moment}') < datetime('now')")[0][0])


@everywhere
def test_a_command_gives_its_output_its_errors_and_its_exit_code(cluster, node, agents, first):
    agents(node, first)
    assert until(lambda: holder(cluster, node), 15) == first
    done = run(cluster, node, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")


@everywhere
def test_what_the_agent_says_of_itself_is_kept(cluster, node, agents, first):
    agents(node, first)
    row = f"SELECT agent_version, capabilities, host_facts, status FROM servers WHERE agent_id='{node[0]}'"
    version, capabilities, facts, status = until(
        lambda: next((found for found in cluster.sql(row) if found[0]), None), 5
    )
    assert version
    assert '"system"' in capabilities
    assert '"hostname"' in facts
    assert status == "active"


@everywhere
@pytest.mark.parametrize("signals", ["-", "''"], ids=["obedient", "stubborn"])
def test_a_command_past_its_time_is_killed_on_the_node_and_says_so(cluster, node, agents, first, signals):
    agents(node, first)
    mark = f"600.{uuid.uuid4().int}"
    script = f"trap {signals} TERM; sleep {mark} & sleep {mark}"
    done = run(cluster, node, "sh", "-c", script, options=("--timeout", "1"))
    assert done.returncode == 255
    assert "stopped after 1 s" in done.stderr
    until(lambda: not any(mark in (one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])))


@everywhere
def test_an_agent_moves_to_another_worker_when_its_own_stops(cluster, node, agents, first):
    agent = agents(node, first)
    assert until(lambda: holder(cluster, node), 15) == first
    other = "b" if first == "a" else "a"
    stopped = time.monotonic()
    cluster.kill(first, signal.SIGTERM)
    until(lambda: holder(cluster, node) == other, 15, agent.log)
    assert time.monotonic() - stopped < 12
    assert run(cluster, node, "echo", "here").stdout == "here\n"
    cluster.start_worker(first)
    until(lambda: cluster._answers(cluster.ports[first]), 30)


@everywhere
def test_an_agent_is_back_within_ten_seconds_of_the_death_of_its_worker(cluster, node, agents, first):
    agent = agents(node, first)
    assert until(lambda: holder(cluster, node), 15) == first
    killed = time.monotonic()
    cluster.kill(first)
    other = "b" if first == "a" else "a"
    until(lambda: holder(cluster, node) == other, 10, agent.log)
    assert time.monotonic() - killed < 10
    cluster.start_worker(first)
    until(lambda: cluster._answers(cluster.ports[first]), 30)


@everywhere
def test_of_two_agents_with_one_id_the_older_leaves_and_says_why(cluster, node, agents, first):
    older = agents(node, first)
    newer = agents(node, "b" if first == "a" else "a")
    until(lambda: "4001" in older.log or "replaced" in older.log.lower(), 5, older.log)
    assert run(cluster, node, "echo", "ok").stdout == "ok\n"
    assert newer.log.count("tunnel open") == 1
    assert older.process.poll() is None


@everywhere
def test_a_suspended_agent_says_what_to_check_and_survives(cluster, node, agents, first):
    agent = agents(node, first)
    cluster.manage("tunnel", "suspend", node[0])
    until(lambda: "suspend" in agent.log, 10, agent.log)
    assert run(cluster, node, "true").returncode == 255
    assert agent.process.poll() is None
    assert node[1] not in agent.log


@everywhere
def test_sigterm_ends_an_agent_cleanly_and_the_panel_knows(cluster, node, agents, first):
    agent = agents(node, first)
    until(lambda: "tunnel open" in agent.log, 15)  # the session's row is there before its socket
    assert agent.stop() == 0
    reason = f"SELECT close_reason FROM tunnel_session JOIN servers ON servers.id = server_id WHERE agent_id='{node[0]}'"
    until(lambda: cluster.sql(reason) == [("agent_stopped",)], 15)


# These two wait for a lease to run out: a node on each server, beside each other.


@pytest.fixture
def pair(cluster, agents):
    """A node and its agent for each worker, all in."""
    made = {}
    for worker in WORKERS.values():
        node = new_node(cluster)
        made[worker] = node, agents(node, worker)
        assert until(lambda node=node: holder(cluster, node), 15) == worker
    return made


def test_a_worker_that_slept_past_its_lease_takes_its_agents_back(cluster, pair):
    for worker in pair:
        cluster.freeze(worker)
    try:
        for worker in pair:
            until(lambda worker=worker: lapsed(cluster, worker), 15, "the lease has run out")
        ended = cluster.python("from tunnel.sessions import end_lost; print(end_lost())")
        for node, _ in pair.values():
            assert node[0] in ended
            assert holder(cluster, node) == ""
    finally:
        for worker in pair:
            cluster.kill(worker, signal.SIGCONT)
    for worker, (node, agent) in pair.items():
        until(
            lambda node=node, worker=worker: holder(cluster, node) == worker,
            10,
            cluster.log(worker)[-2000:],
        )
        assert run(cluster, node, "echo", "back").stdout == "back\n"
        assert agent.log.count("tunnel open") == 1, "the socket itself was never lost"


def test_a_redis_that_is_gone_for_longer_than_a_lease_costs_no_worker_its_lease(cluster, pair):
    cluster.kill("redis")
    leases = {
        worker: f"SELECT lease_until FROM tunnel_worker WHERE pid={cluster.processes[worker].pid}"
        for worker in pair
    }
    began = {worker: cluster.sql(lease)[0][0] for worker, lease in leases.items()}
    try:
        for worker, lease in leases.items():
            until(
                lambda worker=worker, lease=lease: (
                    cluster.sql(lease)[0][0] > began[worker] and lapsed_since(cluster, began[worker])
                ),
                30,
            )
        for worker, (node, _) in pair.items():
            assert not lapsed(cluster, worker)
            assert holder(cluster, node) == worker
    finally:
        cluster.start_redis()
    for _, agent in pair.values():
        assert agent.log.count("tunnel open") == 1
