"""The tunnel through real processes: any worker commands any agent, and no fault of one part ends another."""

import contextlib
import json
import signal
import threading
import time
import uuid

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.e2e.basic_agent import BasicAgent
from tests.e2e.cluster import BY_PROCESS, SERVERS, Cluster, until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module", params=list(SERVERS))
def cluster(request, tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp(request.param), request.param)
    try:
        made.start("a", "b").stock(24)
        yield made
    finally:
        made.stop()


@pytest.fixture
def node(cluster):
    """A server of its own for each test: its agent id and secret."""
    return new_node(cluster)


def new_node(cluster) -> tuple[str, str]:
    name = f"node-{uuid.uuid4().hex[:8]}"
    return name, cluster.add(name)


def dial(cluster, worker, node, **options) -> BasicAgent:
    agent = BasicAgent(cluster.url(worker), *node, **options)
    agent.wait_for("HANDSHAKE_ACK")
    return agent


def state(cluster, agent_id: str) -> str:
    code = "from servers.models import Server; from tunnel import presence; "
    code += f"s = Server.objects.get(agent_id={agent_id!r}); print(presence.of([s])[s.pk].state.value)"
    return cluster.python(code).splitlines()[-1]


def test_every_kind_of_caller_reaches_an_agent_wherever_its_socket_is(cluster, node):
    agent = dial(cluster, "a", node)
    for worker in ("a", "b"):
        for kind in ("thread", "loop"):
            for command in ("GET_STATS", "system.getUsage"):
                answer = cluster.get(worker, f"/test/{kind}/{node[0]}/{command}")
                assert answer["data"] == {"cpu": 1.5, "ram": 64}
                assert answer["pid"] == cluster.processes[worker].pid
    code = f"from tunnel.dispatch import send_command; print(send_command({node[0]!r}, 'GET_STATS'))"
    assert cluster.python(code).endswith("{'cpu': 1.5, 'ram': 64}")
    kinds = {message["type"] for message in agent.seen}
    assert {"GET_STATS", "EXEC_COMMAND"} <= kinds
    agent.stop()


def test_a_basic_agent_is_answered_and_its_figures_are_shown(cluster, node):
    agent = dial(cluster, "b", node)
    agent.ping()
    assert agent.wait_for("PONG")["serverTime"] == pytest.approx(time.time(), abs=5)
    cluster.start_background()
    until(
        lambda: cluster.sql(
            f"SELECT last_usage FROM servers WHERE agent_id='{node[0]}' AND last_usage IS NOT NULL"
        ),
        15,
        "the background worker has written the figures",
    )
    cluster.kill("background", signal.SIGTERM)
    agent.stop()
    until(lambda: state(cluster, node[0]) == "reconnecting", 15, pause=BY_PROCESS)


@pytest.mark.parametrize("where", ["same", "other"])
def test_the_newest_of_two_agents_with_one_id_wins_within_a_second(cluster, node, where):
    first = dial(cluster, "a", node)
    started = time.monotonic()
    second = dial(
        cluster, "a" if where == "same" else "b", node, answer=lambda m: {"id": m["id"], "data": "second"}
    )
    assert first.closed() == 4001
    assert time.monotonic() - started < 1
    first.stop()
    for worker in ("a", "b"):
        assert cluster.get(worker, f"/test/thread/{node[0]}/GET_STATS")["data"] == "second"
    assert state(cluster, node[0]) == "active"
    second.stop()


def test_a_handshake_that_is_only_tried_cuts_nobody(cluster, node):
    agent = dial(cluster, "a", node)
    headers = {"X-Agent-ID": node[0], "X-Agent-Secret": node[1]}
    options = {"subprotocols": ["yumna.tunnel.check.v1"], "proxy": None, "compression": None}
    for worker in ("a", "b"):
        with connect(cluster.url(worker), additional_headers=headers, **options) as trial:
            assert trial.subprotocol == "yumna.tunnel.check.v1"
            assert json.loads(trial.recv(5))["session"] == "check"
            trial.send(json.dumps({"type": "PING", "timestamp": 7.0, "rtt": None}))
            assert json.loads(trial.recv(5))["timestamp"] == 7.0
            with pytest.raises(ConnectionClosed, match="1000"):
                trial.recv(5)
        with (
            pytest.raises(InvalidStatus, match="403"),
            connect(cluster.url(worker), additional_headers=headers | {"X-Agent-Secret": "no"}, **options),
        ):
            pass
    assert cluster.get("b", f"/test/thread/{node[0]}/GET_STATS")["data"] == {"cpu": 1.5, "ram": 64}
    agent.stop()
    rows = f"SELECT count(*) FROM tunnel_session WHERE server_id = (SELECT id FROM servers WHERE agent_id='{node[0]}')"
    assert cluster.sql(rows) == [(1,)]


@pytest.mark.parametrize(
    "change",
    ["identity.suspend(s)", "identity.rotate_secret(s)", "setattr(s, 'connection_type', 'http'); s.save()"],
)
def test_the_panels_own_changes_cut_a_live_socket_within_a_second(cluster, node, change):
    agent = dial(cluster, "a", node)
    code = "import time; from servers import identity; from servers.models import Server; "
    code += f"s = Server.objects.get(agent_id={node[0]!r}); print(time.time()); {change}"
    changed = float(cluster.python(code).splitlines()[-1])
    assert agent.closed() == 4003
    closed = cluster.sql(
        "SELECT (julianday(closed_at) - 2440587.5) * 86400.0 FROM tunnel_session JOIN servers ON servers.id = server_id"
        f" WHERE agent_id='{node[0]}' AND close_reason='revoked'"
    )
    assert closed[0][0] - changed < 1
    with pytest.raises(InvalidStatus, match="403"):
        BasicAgent(cluster.url("b"), *node)


def test_plain_sql_suspends_within_ten_seconds_and_welcomes_at_once(cluster, node):
    agent = dial(cluster, "a", node)
    cluster.sql(f"UPDATE servers SET status='suspended' WHERE agent_id='{node[0]}'")
    assert agent.closed(10) == 4003
    with pytest.raises(InvalidStatus, match="403"):
        BasicAgent(cluster.url("a"), *node)
    cluster.sql(f"UPDATE servers SET status='active', connection_type='ssh' WHERE agent_id='{node[0]}'")
    with pytest.raises(InvalidStatus, match="403"):
        BasicAgent(cluster.url("a"), *node)
    cluster.sql(f"UPDATE servers SET connection_type='tunnel' WHERE agent_id='{node[0]}'")
    dial(cluster, "a", node).stop()


def test_an_agent_that_is_nowhere_is_said_to_be_so(cluster, node):
    assert cluster.get("a", f"/test/thread/{node[0]}/GET_STATS") == {
        "code": "not_connected",
        "ran": "no",
        "pid": cluster.processes["a"].pid,
    }


@pytest.mark.parametrize("size", [300 * 1024, 2 * 1024 * 1024])
def test_an_oversized_message_ends_its_session_and_nothing_else(cluster, node, size):
    bystander = dial(cluster, "a", other := new_node(cluster))
    agent = dial(cluster, "a", node)
    with contextlib.suppress(ConnectionClosed):
        agent.socket.send("x" * size)
    assert agent.closed() in (4008, 1009, 1006)
    assert cluster.get("a", f"/test/thread/{other[0]}/GET_STATS")["data"] == {"cpu": 1.5, "ram": 64}
    bystander.stop()


def test_a_flood_is_closed_within_seconds_and_disturbs_nobody(cluster, node):
    bystander = dial(cluster, "a", other := new_node(cluster))
    agent = dial(cluster, "a", node)
    with contextlib.suppress(ConnectionClosed):
        for _ in range(20_000):
            agent.socket.send('{"type":"EVENT","name":"x"}')
    assert agent.closed() in (
        4008,
        1006,
    )  # what is still sent may reset the connection before its close frame is read
    reason = f"SELECT close_reason FROM tunnel_session JOIN servers ON servers.id = server_id WHERE agent_id='{node[0]}'"
    until(lambda: cluster.sql(reason) == [("rubbish",)])
    assert cluster.get("a", f"/test/thread/{other[0]}/GET_STATS")["data"] == {"cpu": 1.5, "ram": 64}
    bystander.stop()


def test_a_killed_worker_ends_its_calls_and_nobody_elses_tunnel(cluster, node):
    other = new_node(cluster)
    bystander = dial(cluster, "b", other)
    agent = dial(cluster, "a", node, answer=lambda message: None)
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(cluster.get("b", f"/test/thread/{node[0]}/GET_STATS"))
    )
    asking.start()
    agent.wait_for("GET_STATS")
    cluster.kill("a")
    asking.join(12)
    assert answers[0]["ran"] == "unknown"
    assert agent.closed() is not None
    cluster.start_worker("a")
    assert cluster.get("b", f"/test/thread/{other[0]}/GET_STATS")["data"] == {"cpu": 1.5, "ram": 64}
    moved = dial(cluster, "b", node)
    assert cluster.get("b", f"/test/loop/{node[0]}/GET_STATS")["data"] == {"cpu": 1.5, "ram": 64}
    until(lambda: cluster._answers(cluster.ports["a"]), 30)
    bystander.stop()
    moved.stop()


def test_a_stopping_worker_says_goodbye_and_lets_commands_finish(cluster, node):
    release = threading.Event()

    def answer(message):
        release.wait(5)
        return {"id": message["id"], "data": "finished"}

    agent = dial(cluster, "a", node, answer=answer)
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(cluster.get("b", f"/test/thread/{node[0]}/GET_STATS"))
    )
    asking.start()
    agent.wait_for("GET_STATS")
    stopping = threading.Thread(target=cluster.kill, args=("a", signal.SIGTERM))
    stopping.start()
    until(lambda: "say goodbye" in cluster.log("a"), 5)
    release.set()
    assert agent.wait_for("GOODBYE")["retryAfter"] >= 0
    asking.join(10)
    assert answers[0]["data"] == "finished"
    assert agent.closed() == 4012
    stopping.join(15)
    assert cluster.processes["a"].returncode in (0, -signal.SIGTERM)
    cluster.start_worker("a")
    until(lambda: cluster._answers(cluster.ports["a"]), 30)


def test_a_lost_database_ends_no_tunnel_and_answers_no_handshake_with_403(cluster, node):
    agent = dial(cluster, "a", node)
    # Connections stay open for a while, so that a file moved aside would not be missed.
    cluster.sql("ALTER TABLE servers RENAME TO servers_aside")
    try:
        with pytest.raises(InvalidStatus) as failed:
            BasicAgent(cluster.url("a"), *node)
        assert failed.value.response.status_code in (500, 503)
        assert cluster.get("a", f"/test/thread/{node[0]}/GET_STATS")["data"] == {"cpu": 1.5, "ram": 64}
        until(lambda: "the database is away" in cluster.log("a"), 10)
    finally:
        cluster.sql("ALTER TABLE servers_aside RENAME TO servers")
    newer = dial(cluster, "b", node)
    assert agent.closed() == 4001
    newer.stop()


def test_many_threads_of_a_plain_process_and_its_forks_are_answered(cluster, node):
    agent = dial(cluster, "a", node)
    code = f"""
import os
from concurrent.futures import ThreadPoolExecutor
from tunnel.dispatch import send_command
ask = lambda _: send_command({node[0]!r}, "GET_STATS")["cpu"]
with ThreadPoolExecutor(8) as pool:
    print(sum(pool.map(ask, range(160))))
child = os.fork()
if child == 0:
    os._exit(0 if ask(0) == 1.5 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), ask(0))
"""
    assert cluster.python(code).splitlines()[-2:] == ["240.0", "0 1.5"]
    agent.stop()
