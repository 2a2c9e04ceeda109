"""A handshake that is only tried is judged like any other, answers one PING, and leaves no trace of a session."""

import json
from typing import Any

import pytest
from channels.layers import get_channel_layer
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator

from agent_client.protocol.handshake import CHECK_SUBPROTOCOL
from servers import identity
from servers.models import Server
from servers.threads import in_thread
from tests.tunnel.waiting import until
from tunnel import refusals, trials
from tunnel import worker as worker_module
from tunnel.models import Refusal, Session
from tunnel.routing import websocket_urlpatterns

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def node(redis_url, settings, monkeypatch):
    settings.TUNNEL_TLS_ONLY = True
    settings.TUNNEL_REFUSAL_DELAY = 0.0
    monkeypatch.setattr(worker_module.stopping, "chain", lambda _loop, _stop: None)
    made = await worker_module.current()
    yield await in_thread(identity.create, "web-01")
    await made.stop()
    worker_module._forget()
    await get_channel_layer().flush()


def trial(server: Server, secret: str) -> WebsocketCommunicator:
    headers = [(b"x-agent-id", server.agent_id.encode()), (b"x-agent-secret", secret.encode())]
    made = WebsocketCommunicator(URLRouter(websocket_urlpatterns), "/tunnel", headers, [CHECK_SUBPROTOCOL])
    made.scope |= {"client": ["203.0.113.9", 1], "server": ["panel", 443]}
    return made


async def message(socket: WebsocketCommunicator) -> dict[str, Any]:
    return json.loads(await socket.receive_from(3))


async def sessions() -> int:
    return await in_thread(Session.objects.count)


async def test_it_is_greeted_answered_once_and_closed_and_claims_nothing(node):
    socket = trial(*node)
    assert await socket.connect() == (True, CHECK_SUBPROTOCOL)
    assert (await message(socket))["session"] == trials.NAME
    await socket.send_to("no JSON at all")
    await socket.send_to(json.dumps({"type": "PING", "timestamp": 5.0, "rtt": None}))
    pong = await message(socket)
    assert (pong["type"], pong["timestamp"]) == ("PONG", 5.0)
    assert await socket.receive_output(3) == {"type": "websocket.close", "code": 1000}
    await socket.disconnect()
    assert await sessions() == 0
    assert not (await in_thread(Server.objects.get, pk=node[0].pk)).first_seen
    await until(lambda: not trials._under_way, 3)


@pytest.mark.parametrize("standing", ["wrong secret", "suspended"])
async def test_it_is_refused_as_the_agent_itself_would_be(node, standing):
    server, secret = node
    if standing == "suspended":
        await in_thread(identity.suspend, server)
    socket = trial(server, "yts_wrong" if standing == "wrong secret" else secret)
    assert (await socket.connect())[0] is False
    await until(lambda: not refusals._under_way, 3)
    assert (await in_thread(Refusal.objects.get)).reason == standing.replace(" ", "_")


async def test_one_that_says_nothing_is_closed_in_time_and_one_that_leaves_is_forgotten(node, monkeypatch):
    monkeypatch.setattr(trials, "LONGEST", 0.1)
    silent = trial(*node)
    await silent.connect()
    await message(silent)
    assert await silent.receive_output(3) == {"type": "websocket.close", "code": 1000}
    monkeypatch.setattr(trials, "LONGEST", 60.0)
    leaving = trial(*node)
    await leaving.connect()
    await leaving.disconnect()
    await until(lambda: not trials._under_way, 3)


async def test_one_that_sends_rubbish_is_closed(node):
    socket = trial(*node)
    await socket.connect()
    await message(socket)
    for _ in range(40):
        await socket.send_to("rubbish")
    assert await socket.receive_output(3) == {"type": "websocket.close", "code": 1000}
    await socket.disconnect()


async def test_only_so_many_are_tried_at_once(node, monkeypatch):
    monkeypatch.setattr(trials, "MAX_UNDER_WAY", 1)
    first, second = trial(*node), trial(*node)
    second.scope["extensions"] = {"websocket.http.response": {}}
    await first.connect()
    await second.send_input({"type": "websocket.connect"})
    assert (await second.receive_output(3))["status"] == 503
    await first.disconnect()
