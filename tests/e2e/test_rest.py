"""REST against real workers and agents: what the tunnel feels, and who is told what."""

import http.client
import json
import threading

import pytest

from tests.bench_rest import MAKE_TOKEN, Caller
from tests.e2e.basic_agent import BasicAgent
from tests.e2e.cluster import SERVERS, Cluster, until

pytestmark = pytest.mark.e2e
COMMAND = {"service": "system", "action": "getUsage"}


@pytest.fixture(scope="module", params=list(SERVERS))
def cluster(request, tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp(request.param), request.param, TUNNEL_METRICS_ALLOW="127.0.0.1")
    try:
        yield made.start("a", "b")
    finally:
        made.stop()


@pytest.fixture(scope="module")
def callers(cluster):
    token = cluster.python(MAKE_TOKEN).splitlines()[-1]
    return {name: Caller(cluster.ports[name], token) for name in ("a", "b")}


@pytest.fixture
def node(cluster, callers, request):
    """A server that REST made, and its agent on worker a."""
    name = f"node-{abs(hash(request.node.name)) % 10**8}"
    status, made = callers["b"]("POST", "servers/", {"name": name})
    assert status == 201, made
    agent = BasicAgent(cluster.url("a"), made["agent_id"], made["secret"])
    agent.wait_for("HANDSHAKE_ACK")
    yield made["agent_id"], agent
    agent.stop()


def test_a_command_is_answered_through_any_worker(callers, node):
    for caller in callers.values():
        status, body = caller("POST", f"servers/{node[0]}/commands/", COMMAND)
        assert (status, body["data"]) == (200, {"cpu": 1.5, "ram": 64})
        _, server = caller("GET", f"servers/{node[0]}/")
        assert (server["state"], server["address"], server["status"]) == ("active", "127.0.0.1", "active")
        assert server["lease_until"] > server["since"]


@pytest.mark.parametrize("worker", ["a", "b"])
def test_disconnect_cuts_the_tunnel_and_the_agent_stays_welcome(cluster, callers, node, worker):
    agent_id, agent = node
    caller = callers[worker]
    status, body = caller("POST", f"servers/{agent_id}/disconnect/")
    assert (status, body) == (
        200,
        {"agent_id": agent_id, "status": "active", "changed": True, "tunnel": "cut"},
    )
    assert agent.closed() == 1000
    _, server = caller("GET", f"servers/{agent_id}/")
    assert (server["state"], server["reason"]) == ("reconnecting", "disconnected")
    assert caller("POST", f"servers/{agent_id}/disconnect/")[1]["tunnel"] == "none"
    status, body = caller("POST", f"servers/{agent_id}/commands/", COMMAND)
    assert (status, body["code"], body["ran"]) == (409, "not_connected", "no")
    _, events = caller("GET", f"events/?server={agent_id}")
    assert [event["kind"] for event in events["results"]] == ["closed", "opened"]


def test_suspend_and_rotate_cut_the_tunnel_and_say_so(cluster, callers, node):
    agent_id, agent = node
    caller = callers["b"]
    _, body = caller("POST", f"servers/{agent_id}/suspend/", {})
    assert body == {"agent_id": agent_id, "status": "suspended", "changed": True, "tunnel": "cut"}
    assert agent.closed() == 4003
    assert caller("POST", f"servers/{agent_id}/suspend/")[1]["changed"] is False
    assert caller("POST", f"servers/{agent_id}/activate/")[1]["status"] == "active"
    _, body = caller("POST", f"servers/{agent_id}/rotate-secret/")
    assert body["tunnel"] == "none"
    assert body["master_url"] == f"ws://127.0.0.1:{cluster.ports['b']}"
    again = BasicAgent(cluster.url("b"), agent_id, body["secret"])
    again.wait_for("HANDSHAKE_ACK")
    _, body = caller("POST", f"servers/{agent_id}/rotate-secret/")
    assert body["tunnel"] == "cut"
    assert again.closed() == 4003


def test_a_caller_that_goes_away_cancels_its_command(cluster, callers, node):
    agent_id, agent = node
    agent._answer = lambda message: None
    caller = callers["a"]
    connection = http.client.HTTPConnection("127.0.0.1", cluster.ports["a"], timeout=30)
    body = json.dumps(COMMAND | {"timeout": 30})
    connection.request("POST", f"/api/tunnel/v1/servers/{agent_id}/commands/", body, caller.headers)
    command = agent.wait_for("EXEC_COMMAND")
    connection.close()
    assert agent.wait_for("CANCEL", 10)["id"] == command["id"]
    until(lambda: caller("GET", f"commands/{command['id']}/")[1]["state"] == "unknown")


def test_many_slow_commands_leave_the_worker_free_for_others(cluster, callers, node):
    agent_id, agent = node
    agent._answer = lambda message: None

    statuses = []

    def slow() -> None:
        caller = Caller(cluster.ports["a"], callers["a"].headers["Authorization"].split()[1])
        statuses.append(caller("POST", f"servers/{agent_id}/commands/", COMMAND | {"timeout": 30})[0])

    threads = [threading.Thread(target=slow) for _ in range(40)]
    for thread in threads:
        thread.start()
    commands = until(lambda: len(found := _commands(agent)) == 40 and found, 30)
    assert callers["a"]("GET", "me/")[0] == 200
    for command in commands:
        agent.send({"requestId": command["id"], "status": "success", "data": None, "error": None})
    for thread in threads:
        thread.join(30)
    assert statuses == [200] * 40


def _commands(agent: BasicAgent) -> list[dict]:
    return [message for message in agent.seen if message["type"] == "EXEC_COMMAND"]


def test_probes_and_scrapers_are_answered(cluster, callers, node):
    port = cluster.ports["a"]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    answers = {}
    for path in ("healthz", "readyz", "metrics"):
        connection.request("GET", f"/tunnel/{path}")
        response = connection.getresponse()
        answers[path] = (response.status, response.read().decode())
    assert answers["healthz"] == (200, "ok\n")
    assert json.loads(answers["readyz"][1]) == {"database": "ok", "layer": "ok", "worker": "ok"}
    text = answers["metrics"][1]
    assert "yumna_tunnel_agents_connected 1.0" in text
    assert 'yumna_tunnel_handshakes_total{result="accepted"}' in text
    assert 'yumna_tunnel_commands_total{status="success",type="system.getUsage"}' in text
    assert 'yumna_tunnel_sessions_closed_total{reason="disconnected"}' in text
    connection.close()
