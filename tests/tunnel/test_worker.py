"""A worker's sockets and its rows agree, whatever goes wrong between the two."""

import asyncio
import json
import threading
import uuid
from typing import Any

import pytest
from channels.layers import get_channel_layer
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.db import OperationalError

from agent_client.protocol.messages import Hello
from servers import identity
from servers.models import Server
from servers.threads import in_thread
from tests.tunnel.waiting import until
from tunnel import consumers, facts, presence, sessions
from tunnel import worker as worker_module
from tunnel.door import Door
from tunnel.models import Session
from tunnel.presence import State
from tunnel.routing import websocket_urlpatterns
from tunnel.sessions import Welcome

pytestmark = pytest.mark.django_db(transaction=True)
SOON = 3.0  # seconds; what is looked for here happens within some tenths of one


@pytest.fixture
def recheck():
    """Seconds between two looks at the database."""
    return 0.2


without_a_look = pytest.mark.parametrize("recheck", [60.0], ids=["without a look"])


@pytest.fixture
async def worker(redis_url, settings, monkeypatch, recheck):
    settings.TUNNEL_TLS_ONLY = True
    settings.TUNNEL_REFUSAL_DELAY = 0.0
    monkeypatch.setattr(worker_module, "RECHECK", recheck)
    monkeypatch.setattr(worker_module.stopping, "chain", lambda _loop, _stop: None)
    made = await worker_module.current()
    yield made
    await made.stop()
    worker_module._forget()
    await get_channel_layer().flush()


@pytest.fixture
async def node(worker):
    return await in_thread(identity.create, "web-01")


class Socket(WebsocketCommunicator):
    """An agent's socket; the server's `accept` takes as long as `gate` is closed."""

    def __init__(self, server: Server, secret: str) -> None:
        headers = [(b"x-agent-id", server.agent_id.encode()), (b"x-agent-secret", secret.encode())]
        super().__init__(self._application, "/tunnel", headers)
        self.scope |= {"client": ["203.0.113.9", 1], "server": ["panel", 443]}
        self.gate = asyncio.Event()
        self.accepting = asyncio.Event()
        self.closed_with: int | None = None

    async def _application(self, scope: Any, receive: Any, send: Any) -> None:
        async def slowly(message: dict[str, Any]) -> None:
            if message["type"] == "websocket.accept":
                self.accepting.set()
                await self.gate.wait()
            if message["type"] == "websocket.close":
                self.closed_with = message["code"]
            await send(message)

        await URLRouter(websocket_urlpatterns)(scope, receive, slowly)

    async def dial(self) -> "Socket":
        await self.send_input({"type": "websocket.connect"})
        await asyncio.wait_for(self.accepting.wait(), SOON)
        return self


async def state(server: Server) -> State:
    await in_thread(server.refresh_from_db)
    return (await in_thread(presence.of, [server]))[server.pk].state


async def becomes(server: Server, wanted: State) -> None:
    async with asyncio.timeout(SOON):
        while await state(server) is not wanted:
            await asyncio.sleep(0.02)


@without_a_look
async def test_what_changes_before_the_accept_counts_at_once(worker, node):
    socket = await Socket(*node).dial()
    await in_thread(identity.suspend, node[0])
    socket.gate.set()
    await until(lambda: socket.closed_with == 4003, SOON)
    await socket.wait()


async def test_the_first_lease_and_the_first_handshakes_write_one_row_between_them(worker, node, monkeypatch):
    opened, open_worker = [], sessions.open_worker

    def slowly(*arguments: Any) -> None:
        opened.append(arguments)
        open_worker(*arguments)

    monkeypatch.setattr(sessions, "open_worker", slowly)
    worker._registered = False
    sockets = [Socket(*node) for _ in range(2)]
    await asyncio.gather(worker._renew(), *(socket.dial() for socket in sockets))
    assert opened == [(worker.id, worker._inbox)]
    for socket in sockets:
        socket.gate.set()
        await socket.disconnect()


@without_a_look
async def test_of_two_agents_at_the_door_the_newer_one_stays(worker, node):
    older = await Socket(*node).dial()
    newer = await Socket(*node).dial()
    newer.gate.set()
    older.gate.set()
    await until(lambda: older.closed_with == 4001, SOON)
    assert await state(node[0]) is State.ACTIVE
    assert newer.closed_with is None
    await newer.disconnect()


async def test_an_end_that_could_not_be_written_is_written_when_the_database_is_back(
    worker, node, monkeypatch
):
    socket = await Socket(*node).dial()
    socket.gate.set()
    await becomes(node[0], State.ACTIVE)
    with monkeypatch.context() as away:

        def close(*_: Any) -> bool:
            raise OperationalError("away")

        away.setattr(sessions, "close", close)
        await socket.disconnect(code=1000)
        assert await state(node[0]) is State.ACTIVE
    await becomes(node[0], State.RECONNECTING)
    assert (await in_thread(Session.objects.get)).close_reason == "agent_stopped"


async def test_a_worker_that_was_held_up_reads_before_it_judges(worker, node):
    socket = await Socket(*node).dial()
    socket.gate.set()
    await becomes(node[0], State.ACTIVE)
    worker._ticked -= 60
    (held,) = worker._by_session.values()
    held._session.liveness._last -= 3600
    await worker._tick()
    assert not held._over
    await worker._tick()
    assert held._over
    await socket.disconnect()


async def test_what_an_agent_says_last_stays_however_often_it_speaks(worker, node, monkeypatch):
    server, _ = node
    keep, kept, first = facts.keep, [], threading.Event()

    def slowly(pk: int, session: uuid.UUID, hello: Hello) -> None:
        kept.append(hello.version)
        assert first.wait(SOON)
        keep(pk, session, hello)

    monkeypatch.setattr(facts, "keep", slowly)
    socket = Socket(*node)
    socket.gate.set()
    assert (await socket.connect())[0]
    for number in range(100):
        await socket.send_to(json.dumps({"type": "HELLO", "version": f"v{number}"}))
        await until(lambda: kept, SOON)
    await until(lambda: not socket.input_queue.qsize(), SOON)
    first.set()
    row = Server.objects.filter(pk=server.pk)
    await until_in_database(lambda: row.values_list("agent_version", flat=True).get() == "v99")
    assert kept == ["v0", "v99"]
    await socket.disconnect()


async def until_in_database(fact: Any) -> None:
    for _ in range(int(SOON / 0.05)):
        if await in_thread(fact):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the database does not say so")


async def test_a_row_without_a_socket_is_ended(worker, node):
    server, _ = node
    socket = await Socket(*node).dial()  # at the door: its row is open, and stays so
    other, _ = await in_thread(identity.create, "web-02")
    session, welcome = uuid.uuid4(), Welcome(other.pk, other.agent_id, other.secret_version)
    await in_thread(sessions.claim, welcome, session, worker.id, basic=True, address=None)
    await becomes(other, State.RECONNECTING)
    assert await state(server) is State.ACTIVE
    socket.gate.set()
    await socket.disconnect()


async def test_a_handshake_that_the_database_holds_up_is_answered_and_claims_nothing_later(
    worker, node, monkeypatch
):
    monkeypatch.setattr(consumers, "PATIENCE", 0.5)
    monkeypatch.setattr(consumers, "CLAIM_MARGIN", 0.1)
    answered, over = threading.Event(), asyncio.Event()
    loop, claim = asyncio.get_running_loop(), sessions.claim

    def slow_claim(*arguments: Any, **options: Any) -> Any:
        answered.wait(SOON)
        try:
            return claim(*arguments, **options)
        finally:
            loop.call_soon_threadsafe(over.set)

    monkeypatch.setattr(sessions, "claim", slow_claim)
    socket = Socket(*node)
    socket.scope["extensions"] = {consumers.DENIAL: {}}
    await socket.send_input({"type": "websocket.connect"})
    answer = await socket.receive_output(SOON)
    assert (answer["type"], answer["status"]) == (f"{consumers.DENIAL}.start", 503)
    answered.set()
    await asyncio.wait_for(over.wait(), SOON)
    assert not await in_thread(Session.objects.exists)
    await socket.wait()


async def test_a_crowd_that_the_database_holds_up_keeps_nobody_else_waiting(worker, node, monkeypatch):
    monkeypatch.setattr(consumers, "door", Door(at_once=6, waiting=0))
    go, claim = threading.Event(), sessions.claim

    def slow_claim(*arguments: Any, **options: Any) -> Any:
        go.wait(2 * SOON)
        return claim(*arguments, **options)

    monkeypatch.setattr(sessions, "claim", slow_claim)
    crowd = [Socket(*node) for _ in range(6)]
    for socket in crowd:
        await socket.send_input({"type": "websocket.connect"})
        socket.gate.set()
    await until(lambda: len(worker._opening) == 6, SOON)
    assert await asyncio.wait_for(in_thread(sessions.renew, worker.id), SOON)
    late = Socket(*node)
    late.scope["extensions"] = {consumers.DENIAL: {}}
    await late.send_input({"type": "websocket.connect"})
    assert (await late.receive_output(SOON))["status"] == 503
    assert len(worker._opening) == 6
    go.set()
    for socket in crowd:
        await asyncio.wait_for(socket.accepting.wait(), SOON)
        await socket.disconnect()
    await late.wait()


async def test_a_handshake_that_is_cancelled_leaves_no_tunnel_behind(worker, node, monkeypatch):
    claimed, go = asyncio.Event(), asyncio.Event()
    loop, claim = asyncio.get_running_loop(), sessions.claim

    def slow_claim(*arguments: Any, **options: Any) -> Any:
        loop.call_soon_threadsafe(claimed.set)
        asyncio.run_coroutine_threadsafe(go.wait(), loop).result(SOON)
        return claim(*arguments, **options)

    monkeypatch.setattr(sessions, "claim", slow_claim)
    socket = Socket(*node)
    await socket.send_input({"type": "websocket.connect"})
    await asyncio.wait_for(claimed.wait(), SOON)
    socket.future.cancel()
    go.set()
    rows = Session.objects.exclude(closed_at=None)
    async with asyncio.timeout(SOON):
        while not await in_thread(rows.exists):
            await asyncio.sleep(0.02)
    assert await state(node[0]) is State.RECONNECTING
