"""The holder's side of one agent: every command is answered once, however the socket ends."""

import asyncio
import time
import uuid

import pytest

from agent_client.protocol import CloseCode, Code
from agent_client.protocol.agent import FIRST_REPORT
from agent_client.protocol.messages import Command
from tests.tunnel.nodes import Node, Sockets, silent
from tests.tunnel.waiting import until
from tunnel import connection as connection_module
from tunnel.connection import AgentConnection
from tunnel.handshake import Admission
from tunnel.models import CloseReason
from tunnel.outcomes import Outcome
from tunnel.sessions import Welcome
from tunnel.streams import OwnedStream


@pytest.fixture
def sockets():
    return Sockets()


@pytest.fixture
async def node(sockets):
    made = Node(sockets, handler=silent)
    yield made
    made.connection.lost(1006)


def ask(node: Node, *, timeout: float = 10.0) -> list[Outcome]:
    outcomes: list[Outcome] = []
    command = Command(str(uuid.uuid4()), "system", "exec", time.time())
    node.connection.command(command, timeout=timeout, on_outcome=outcomes.append)
    return outcomes


async def test_hello_and_figures_reach_the_worker(node, sockets):
    await until(lambda: sockets.hellos)
    node.agent.heartbeat({"cpu": 1.0})
    node.flush()
    assert sockets.usages == [{"cpu": 1.0}]
    assert sockets.hellos[0].version == "1.2.3"


async def test_the_first_round_trip_is_told_without_waiting_for_the_next_figures(node, sockets):
    await until(lambda: sockets.hellos)
    node.agent.heartbeat({"cpu": 1.0})
    node.flush()
    assert sockets.usages == [{"cpu": 1.0}]
    await until(lambda: node.agent.rtt is not None)
    node.agent.tick(time.monotonic() + FIRST_REPORT)
    node.flush()
    assert sockets.usages == [{"cpu": 1.0}] * 2
    assert node.connection.rtt == pytest.approx(node.agent.rtt, abs=0.001)


@pytest.mark.parametrize(
    ("code", "reason", "outcome"),
    [
        (CloseCode.REVOKED, CloseReason.REVOKED, Code.REVOKED),
        (CloseCode.REPLACED, CloseReason.REPLACED, Code.DISCONNECTED),
        (CloseCode.WORKER_RESTART, CloseReason.WORKER_RESTART, Code.DISCONNECTED),
        (CloseCode.RUBBISH, CloseReason.RUBBISH, Code.DISCONNECTED),
    ],
)
async def test_closing_tells_the_agent_its_callers_and_the_worker_once(node, sockets, code, reason, outcome):
    outcomes = ask(node)
    await until(lambda: node.commands)
    node.connection.close(code, "because")
    node.connection.close(code, "again")
    node.connection.lost(1000)
    await node.connection.closed()
    assert node.closed_with == code
    assert [one.code for one in outcomes] == [outcome]
    assert sockets.endings == [(reason, "because")]


async def test_a_command_after_the_end_is_certainly_not_sent(node):
    node.connection.lost(1006)
    assert [one.code for one in ask(node)] == [Code.NOT_SENT]


async def test_a_socket_that_takes_nothing_is_closed_all_the_same(sockets, monkeypatch):
    monkeypatch.setattr(connection_module, "CLOSE_WAIT", 0.1)
    stuck = asyncio.Event()

    async def never(message):
        await stuck.wait()

    made = AgentConnection(
        uuid.uuid4(), Admission(Welcome(1, "web-01", 1), False, "127.0.0.1"), never, sockets
    )
    await asyncio.sleep(0)
    made.close(CloseCode.REVOKED, "suspended")
    async with asyncio.timeout(2):
        await made.closed()
    assert sockets.endings == [(CloseReason.REVOKED, "suspended")]


async def test_a_send_that_fails_ends_the_session(sockets):
    async def broken(message):
        raise OSError("gone")

    AgentConnection(uuid.uuid4(), Admission(Welcome(1, "web-01", 1), False, "127.0.0.1"), broken, sockets)
    await until(lambda: sockets.endings)
    assert sockets.endings[0][0] is CloseReason.NETWORK_LOST


async def test_a_silent_agent_is_closed_and_a_late_command_lapses(node, sockets):
    outcomes = ask(node, timeout=5)
    node.connection.tick(time.monotonic() + 6)
    assert [one.code for one in outcomes] == [Code.NO_REPLY]
    node.connection.tick(time.monotonic() + 19)
    assert sockets.endings[0][0] is CloseReason.SILENT
    await until(lambda: node.closed_with == CloseCode.NORMAL)


async def test_an_event_of_a_node_is_logged_without_its_control_characters(node, caplog):
    caplog.set_level("INFO")
    node.agent.event("evil\nINFO forged line")
    node.flush()
    assert "evil\\nINFO forged line" in caplog.text


async def test_a_flood_of_events_is_a_few_lines_of_the_log(node, caplog):
    caplog.set_level("INFO")
    for _ in range(1000):
        node.agent.event("disk-full")
        node.flush()
    told = [line for line in caplog.messages if "the node reports disk-full" in line]
    assert 0 < len(told) <= connection_module.MAX_EVENTS_TOLD + 2


async def test_a_basic_agent_is_not_asked_for_a_stream(sockets):
    sent, outcomes = [], []

    async def send(message):
        sent.append(message)

    welcome = Admission(Welcome(1, "web-01", 1), True, "127.0.0.1")
    made = AgentConnection(uuid.uuid4(), welcome, send, sockets)
    command = Command(str(uuid.uuid4()), "system", "exec", time.time())
    made.command(command, timeout=1.0, on_outcome=outcomes.append, stream_owner=OwnedStream("system.exec"))
    await until(lambda: sent)  # the greeting
    made.lost(1006)
    assert [one.code for one in outcomes] == [Code.NOT_SENT]
    assert "opens no streams" in outcomes[0].error
    assert len(sent) == 1
