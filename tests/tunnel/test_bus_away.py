"""What callers and holders do while Redis is away, slow, or full of what nobody of ours sent."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.db import OperationalError

from agent_client.protocol import Code
from servers.errors import StreamLost
from tests.tunnel.nodes import Node, Sockets, bare, silent
from tests.tunnel.waiting import until
from tunnel import asking, bus, links, routes
from tunnel import switchboard as switchboard_module
from tunnel.bus import GROUP, Bus
from tunnel.letters import Letter
from tunnel.links import IncomingLinks, Outlet, OutletFull
from tunnel.outcomes import Outcome
from tunnel.redis_layers import redis_host
from tunnel.requests import Request
from tunnel.routes import Route, RouteCache
from tunnel.switchboard import Switchboard
from yumna_panel.embedded_redis import EmbeddedRedis, find_binary
from yumna_panel.redis_keeper import ensure_running, stop

SOON = 10.0  # seconds; what is looked for here happens within some tenths of one


class Redis:
    """A Redis of this test's own, which is there when the test wants it."""

    def __init__(self, folder: Path) -> None:
        self.place = EmbeddedRedis(find_binary(), folder)
        self.process: Any = None

    def start(self) -> None:
        self.process = ensure_running(self.place)

    def stop(self) -> None:
        if self.process is not None:
            stop(self.process)
            self.process = None

    def layer(self) -> RedisPubSubChannelLayer:
        """A layer that gives up at once, where the panel's own tries for some seconds."""
        return RedisPubSubChannelLayer(hosts=[{**redis_host(self.place.url), "retry": None}])


@pytest.fixture
def own_redis(tmp_path_factory) -> Iterator[Redis]:
    made = Redis(tmp_path_factory.mktemp("r"))
    yield made
    made.stop()


@pytest.fixture
async def pair(redis_url):
    """A caller and a holder with one node, joined by the Redis of all tests."""
    sockets = Sockets()
    holder, caller = Switchboard(sockets), Switchboard()
    await asyncio.gather(holder.start(), caller.start())
    node = Node(sockets)
    caller.routes.put("web-01", Route(holder.bus.inbox, str(node.connection.id)))
    yield caller, holder, node
    await asyncio.gather(holder.stop(), caller.stop())


def request(**options: Any) -> Request:
    return Request("system", "echo", {"a": 1}, **options)


class Stuck:
    """The channel layer of one switchboard, which takes letters and lets none go until told to."""

    def __init__(self, switchboard: Switchboard, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate, self.taken = asyncio.Event(), asyncio.Event()
        self._layer = switchboard.bus._layer
        monkeypatch.setattr(switchboard.bus, "_layer", self)

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        self.taken.set()
        await self.gate.wait()
        await self._layer.send(channel, message)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)


# Redis that is not there ----------------------------------------------------------------------------------------


async def test_a_process_that_starts_before_redis_joins_once_it_is_there(own_redis, monkeypatch, caplog):
    monkeypatch.setattr(bus, "JOIN_AGAIN", 0.05)
    made, joined = Switchboard(), []
    monkeypatch.setattr(made.bus, "_layer", own_redis.layer())
    monkeypatch.setattr(switchboard_module, "JOIN_PATIENCE", 0.1)
    await made.start(joined.append)
    assert "the channel layer does not answer" in caplog.text
    assert not joined
    made.announce("state", server=1)  # nobody is told, and nobody fails
    await made.announced()
    made.cut("somewhere", "session", 4001)
    made.routes.put("web-01", Route("somewhere", "session"))
    outcome = await made.ask("web-01", request())
    assert outcome.code is Code.BUS_UNAVAILABLE
    own_redis.start()
    await until(lambda: made.bus.joined, SOON)
    assert joined == [made.bus.inbox]
    await made.stop()


async def test_a_switchboard_that_never_started_can_be_stopped():
    await Switchboard().stop()


async def test_a_stranger_who_writes_no_letters_stops_no_reader_and_fills_no_log(pair, redis_url, caplog):
    caller, holder, _ = pair
    with redis.Redis.from_url(redis_url) as stranger:
        for number in range(20):
            assert stranger.publish(holder.bus.inbox, b"\xc1" + bytes([number])) == 1
    await until(lambda: holder.bus.counts["unreadable"] == 20, SOON)
    assert (await caller.ask("web-01", request())).code is None
    assert caplog.text.count("something unreadable came over the channel layer") == 1


async def test_an_envelope_that_nobody_understands_harms_nothing_that_comes_after_it(pair, caplog):
    caller, holder, node = pair
    caller.bus.put(holder.bus.inbox, {"kind": "ask"})  # of another version: its members are elsewhere
    caller.bus.put(holder.bus.inbox, {"kind": "from the future"})
    assert (await caller.ask("web-01", request())).code is None
    assert "an envelope was not understood" in caplog.text
    assert len(node.commands) == 1


# Redis that is slow ---------------------------------------------------------------------------------------------


async def test_a_question_that_the_layer_took_too_late_is_never_run(pair, monkeypatch):
    caller, holder, node = pair
    monkeypatch.setattr(asking, "SEND_WITHIN", 0.2)
    stuck = Stuck(caller, monkeypatch)
    first = asyncio.create_task(caller.ask("web-01", request()))
    await asyncio.wait_for(stuck.taken.wait(), SOON)
    second = await caller.ask("web-01", request())
    assert second.code is Code.BUS_UNAVAILABLE
    # What the layer has taken may still arrive, so that its caller is not told that it did not run.
    assert (await first).code is Code.RELAY_LOST
    stuck.gate.set()
    await until(lambda: holder.bus.silent_for(caller.bus.inbox, 0.0) < SOON, SOON)
    caller.routes.put("web-01", Route(holder.bus.inbox, str(node.connection.id)))
    assert (await caller.ask("web-01", request())).code is None
    assert len(node.commands) == 1, "the one that was asked now"


async def test_a_caller_that_leaves_before_its_question_is_out_takes_it_back(pair, monkeypatch):
    caller, _, node = pair
    stuck = Stuck(caller, monkeypatch)
    node.handler = silent
    first = asyncio.create_task(caller.ask("web-01", request()))
    await asyncio.wait_for(stuck.taken.wait(), SOON)
    second = asyncio.create_task(caller.ask("web-01", request()))
    await until(lambda: len(caller._calls) == 2, SOON)
    await asyncio.sleep(0)
    second.cancel()
    stuck.gate.set()
    await until(lambda: node.commands, SOON)
    first.cancel()
    await until(lambda: node.cancelled == [node.commands[0].id], SOON)
    assert len(node.commands) == 1
    assert not caller.asking


async def test_a_local_caller_that_leaves_stops_its_command(pair):
    _, holder, node = pair
    node.handler = silent
    task = asyncio.create_task(holder.ask("web-01", request()))
    await until(lambda: node.commands, SOON)
    task.cancel()
    await until(lambda: node.cancelled == [node.commands[0].id], SOON)


async def test_with_no_room_for_its_question_a_caller_is_told_at_once(pair, monkeypatch):
    caller, holder, node = pair
    with monkeypatch.context() as no_room:
        no_room.setattr(links, "MAX_WAITING", 0)
        began = time.monotonic()
        assert (await caller.ask("web-01", request())).code is Code.BUS_UNAVAILABLE
        assert time.monotonic() - began < 1
        caller.announce("state", server=1)  # lost, and nobody fails
        caller.cut(holder.bus.inbox, "session", 4001)
        caller._tick()
    assert node.commands == []


async def test_an_answer_for_which_there_is_no_room_is_said_in_the_log_and_its_caller_ends_in_time(
    pair, monkeypatch, caplog
):
    caller, holder, node = pair

    def full(*_: Any, **__: Any) -> None:
        raise OutletFull("there")

    def answer_late(node: Node, command: Any) -> None:
        with monkeypatch.context() as no_room:
            no_room.setattr(holder.bus, "put", full)
            node.reply(command.id, "nobody hears this")

    node.handler = answer_late
    assert (await caller.ask("web-01", request(timeout=0.2))).code is Code.NO_REPLY
    assert f"an answer was dropped, {caller.bus.inbox} takes none" in caplog.text


# Callers and holders that are gone ------------------------------------------------------------------------------


async def test_what_a_dead_caller_asked_is_stopped_and_what_others_asked_goes_on(pair, monkeypatch):
    caller, holder, node = pair
    other = Switchboard()
    await other.start()
    other.routes.put("web-01", caller.routes.get("web-01"))
    node.handler = silent
    dead, alive = (asyncio.create_task(one.ask("web-01", request(timeout=30))) for one in (caller, other))
    await until(lambda: len(node.commands) == 2, SOON)
    monkeypatch.setattr(switchboard_module, "LINK_SILENCE", 1.5)
    caller._ticker.cancel()  # it gives no sign of life any more
    asked = {command.id for command in node.commands}
    await until(lambda: node.cancelled, SOON)
    await until(lambda: len(holder._holding.callers) == 1, SOON)
    assert holder._holding.callers == {other.bus.inbox}
    (still,) = asked - set(node.cancelled)
    node.reply(still, "done")
    assert (await asyncio.wait_for(alive, SOON)).data == "done"
    dead.cancel()
    await other.stop()


async def test_only_who_asked_can_have_a_command_stopped_or_a_call_answered(pair):
    caller, holder, node = pair
    stranger = Switchboard()
    await stranger.start()
    node.handler = silent
    task = asyncio.create_task(caller.ask("web-01", request()))
    await until(lambda: node.commands, SOON)
    ((key, _),) = caller._calls._calls.items()
    stranger.bus.put(holder.bus.inbox, {"kind": "cancel", "call": key})
    stranger.bus.put(holder.bus.inbox, {"kind": "cancel", "call": "no such call"})
    lie = {"kind": "answer", "call": key, "outcome": Outcome(data="a lie").to_members()}
    stranger.bus.put(caller.bus.inbox, lie)
    stranger.bus.put(caller.bus.inbox, {"kind": "not_here", "call": key})
    stranger.bus.put(holder.bus.inbox, {"kind": "cut", "session": str(uuid.uuid4()), "code": 4001})
    for inbox in (holder.bus.inbox, caller.bus.inbox):
        await stranger.bus.flush(inbox)
    await until(lambda: stranger.bus.inbox in {sender for sender, _ in holder.bus._incoming._links}, SOON)
    await until(lambda: stranger.bus.inbox in {sender for sender, _ in caller.bus._incoming._links}, SOON)
    assert node.cancelled == []
    node.reply(node.commands[0].id, "the truth")
    assert (await asyncio.wait_for(task, SOON)).data == "the truth"
    assert node.closed_with is None
    await stranger.stop()


@pytest.mark.django_db(transaction=True)
async def test_a_process_without_sockets_says_so_and_closes_nothing(pair):
    caller, holder, node = pair
    holder.routes.put("web-02", Route(caller.bus.inbox, str(uuid.uuid4())))
    holder.cut(caller.bus.inbox, str(node.connection.id), 4001)
    assert (await holder.ask("web-02", request())).code is Code.NOT_CONNECTED
    assert node.closed_with is None


async def test_an_answer_that_comes_twice_or_too_late_changes_nothing(pair):
    caller, holder, _ = pair
    future = asyncio.get_running_loop().create_future()
    asking.settle(future, Outcome(data="first"))
    asking.settle(future, Outcome(data="second"))
    assert future.result().data == "first"
    caller._calls.answered({"call": "long over", "outcome": {"data": 1}}, holder.bus.inbox)
    assert not caller.asking


async def test_a_command_that_lost_its_letter_ends_and_those_on_other_links_go_on(pair, redis_url):
    caller, holder, node = pair
    sockets = Sockets()
    second = Switchboard(sockets)
    await second.start()
    other = Node(sockets, "web-02")
    caller.routes.put("web-02", Route(second.bus.inbox, str(other.connection.id)))
    node.handler = other.handler = silent
    tasks = [asyncio.create_task(caller.ask(name, request())) for name in ("web-01", "web-02")]
    await until(lambda: node.commands and other.commands, SOON)
    holder.link_broken(caller.bus.inbox, caller.bus.epoch(holder.bus.inbox))
    assert (await asyncio.wait_for(tasks[0], SOON)).code is Code.RELAY_LOST
    other.reply(other.commands[0].id, "done")
    assert (await asyncio.wait_for(tasks[1], SOON)).data == "done"
    await until(lambda: node.cancelled == [node.commands[0].id], SOON)
    assert other.cancelled == []
    await second.stop()


# The database ---------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
async def test_a_database_that_is_away_sends_nothing_and_says_so(pair, monkeypatch, caplog):
    caller, _, node = pair

    def away(_agent_id: str) -> Route:
        raise OperationalError("the server closed the connection unexpectedly")

    caller.routes.clear()
    monkeypatch.setattr(routes, "read", away)
    outcome = await caller.ask("web-01", request())
    assert (outcome.code, outcome.error) == (
        Code.NOT_SENT,
        "the database is away, the command was not sent",
    )
    assert "the server closed the connection unexpectedly agent=web-01" in caplog.text
    assert node.commands == []


@pytest.mark.django_db(transaction=True)
async def test_a_hundred_callers_of_one_agent_read_its_row_once(pair, monkeypatch):
    caller, *_ = pair
    route, read = caller.routes.get("web-01"), []
    caller.routes.clear()
    monkeypatch.setattr(routes, "read", lambda agent_id: read.append(agent_id) or route)
    outcomes = await asyncio.gather(*(caller.ask("web-01", request()) for _ in range(100)))
    assert {outcome.code for outcome in outcomes} == {None}
    assert read == ["web-01"]


@pytest.mark.django_db(transaction=True)
async def test_an_agent_that_two_workers_deny_is_not_connected(pair, monkeypatch):
    caller, _, node = pair
    stale = Route(caller.routes.get("web-01").inbox, str(uuid.uuid4()))
    caller.routes.put("web-01", stale)
    monkeypatch.setattr(routes, "read", lambda _: stale)
    assert (await caller.ask("web-01", request())).code is Code.NOT_CONNECTED
    assert node.commands == []
    assert caller.routes.get("web-01") is None


def program() -> Request:
    return Request("system", "exec", {"window": 1024}, SOON, streamed=True)


@pytest.mark.django_db(transaction=True)
async def test_a_database_that_is_away_ends_no_stream_when_there_is_news_of_its_agent(pair, monkeypatch):
    caller, holder, node = pair
    node.handler = bare
    outcome, stream = await caller.open_stream("web-01", program())
    assert outcome.code is None
    looked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def away(_agent_id: str) -> Route:
        loop.call_soon_threadsafe(looked.set)
        raise OperationalError("away")

    monkeypatch.setattr(routes, "read", away)
    holder.announce("state", server=1, agent="web-01")
    await asyncio.wait_for(looked.wait(), SOON)
    await until(lambda: not caller._looking, SOON)
    node.write(stream.number, b"still here")
    assert await asyncio.wait_for(stream.read(), SOON) == b"still here"


async def test_an_agent_that_comes_to_the_streams_own_worker_ends_those_through_another(pair):
    caller, _, node = pair
    node.handler = bare
    sockets = Sockets()
    owner = Switchboard(sockets)
    await owner.start()
    owner.routes.put("web-01", caller.routes.get("web-01"))
    outcome, stream = await owner.open_stream("web-01", program())
    assert outcome.code is None
    newer = Node(sockets, handler=bare)
    owner.announce("state", server=1, agent="web-01")
    with pytest.raises(StreamLost):
        await asyncio.wait_for(stream.read(), SOON)
    assert (await owner.open_stream("web-01", program()))[0].code is None
    assert [len(one.commands) for one in (node, newer)] == [1, 1]
    await owner.stop()


async def test_a_stream_that_opens_after_its_caller_is_gone_is_given_up_at_the_agent(pair):
    caller, holder, node = pair
    node.handler = silent
    asking = asyncio.create_task(caller.open_stream("web-01", program()))
    await until(lambda: node.commands, SOON)
    holder._holding.stop_serving(caller.bus.inbox)
    number = node.open(node.commands[0])
    await until(lambda: node.ends[number].reset is Code.CANCELLED, SOON)
    asking.cancel()


# What is remembered is bounded ----------------------------------------------------------------------------------


async def test_what_everybody_hears_needs_no_agent_and_a_lost_one_is_told(pair):
    told: list[str] = []
    listener = Switchboard(None, None, lambda: told.append("gap"))
    listener.routes.put("web-01", Route("somewhere", "session"))
    listener.heard({"kind": "news", "news": "figures", "rows": []}, "another")
    assert listener.routes.get("web-01") is not None
    listener.missed_announcement()
    assert listener.routes.get("web-01") is None
    assert told == ["gap"]


async def test_of_the_workers_that_left_only_so_many_are_remembered(pair, monkeypatch):
    caller, *_ = pair
    monkeypatch.setattr(switchboard_module, "MAX_GONE", 2)
    for inbox in ("a", "b", "c"):
        caller.heard({"kind": "leaves", "read": {}}, inbox)
    assert list(caller._gone) == ["b", "c"]


def test_the_routes_and_links_of_the_longest_ago_are_forgotten_first(monkeypatch):
    monkeypatch.setattr(routes, "MAX_ROUTES", 2)
    cache = RouteCache()
    for name in ("a", "b", "a", "c"):
        cache.put(name, Route("inbox", name))
    assert [cache.get(name) is not None for name in "abc"] == [True, False, True]
    monkeypatch.setattr(links, "MAX_SENDERS", 2)
    incoming = IncomingLinks()
    for sender in ("a", "b", "a", "c"):
        number = 2 if incoming.heard(sender, "me") else 1
        incoming.judge(Letter(sender, 1, number, []), "me", from_start=True)
    assert [incoming.heard(sender, "me") > 0 for sender in "abc"] == [True, False, True]


async def test_an_outlet_that_was_used_long_ago_is_forgotten_and_one_that_waits_is_not(pair, monkeypatch):
    caller, holder, _ = pair
    assert (await caller.ask("web-01", request())).code is None
    first = caller.bus.epoch(holder.bus.inbox)
    caller.bus.prune()
    assert caller.bus.epoch(holder.bus.inbox) == first
    monkeypatch.setattr(bus, "OUTLET_KEPT", -1.0)
    caller.bus.prune()
    assert caller.bus.epoch(holder.bus.inbox) > first
    assert (await caller.ask("web-01", request())).code is None


async def test_an_outlet_that_sent_nothing_can_be_stopped_and_flushed():
    outlet = Outlet("me", GROUP, lambda *_: None)
    await outlet.flush()
    outlet.stop()
    assert outlet.idle_for() < SOON


class Nobody:
    """A listener for a bus that is not listened to."""


async def test_a_bus_that_never_started_can_be_stopped():
    made = Bus(Nobody())
    await made.stop({"kind": "leaves", "read": {}})
    assert not made.joined
