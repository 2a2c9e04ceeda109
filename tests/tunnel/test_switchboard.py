"""Two switchboards over a real Redis: every command ends in a truthful state, and only sealed letters count."""

import asyncio
import time

import pytest
from channels.layers import get_channel_layer

from agent_client.protocol import Code
from tests.tunnel.nodes import Node, Sockets, silent
from tests.tunnel.waiting import until
from tunnel import routes
from tunnel import switchboard as switchboard_module
from tunnel.letters import Letter, seal
from tunnel.links import Fate, Item
from tunnel.requests import Request
from tunnel.routes import Route
from tunnel.switchboard import Switchboard


class Pair:
    """A holder with one node, and a caller in another process as far as the bus can tell."""

    def __init__(self) -> None:
        self.sockets = Sockets()
        self.news: list[dict] = []
        self.holder = Switchboard(self.sockets)
        self.caller = Switchboard(None, self.news.append)

    async def start(self) -> "Pair":
        await asyncio.gather(self.holder.start(), self.caller.start())
        self.node = Node(self.sockets)
        self.route()
        return self

    def route(self, session: str | None = None) -> None:
        self.caller.routes.put(
            "web-01", Route(self.holder.bus.inbox, session or str(self.node.connection.id))
        )

    async def ask(self, **options) -> object:
        return await self.caller.ask("web-01", Request("system", "echo", {"a": 1}, **options))

    async def stop(self) -> None:
        await asyncio.gather(self.holder.stop(), self.caller.stop())


@pytest.fixture
async def pair(redis_url):
    made = await Pair().start()
    yield made
    await made.stop()


async def test_an_agent_answers_a_caller_in_another_process(pair):
    outcome = await pair.ask()
    assert outcome.data == {"action": "echo", "params": {"a": 1}}
    assert outcome.code is None


async def test_an_agent_answers_its_own_worker_without_the_bus(pair):
    outcome = await pair.holder.ask("web-01", Request("system", "echo"))
    assert outcome.data == {"action": "echo", "params": {}}


async def test_many_commands_at_once_are_each_answered_with_their_own_reply(pair):
    requests = [Request("system", "echo", {"n": number}) for number in range(200)]
    outcomes = await asyncio.gather(*(pair.caller.ask("web-01", request) for request in requests))
    assert [outcome.data["params"]["n"] for outcome in outcomes] == list(range(200))
    assert len({command.id for command in pair.node.commands}) == 200


@pytest.mark.django_db(transaction=True)
async def test_a_stale_route_is_read_again_and_nothing_was_sent(pair):
    pair.route(session="another-session")
    outcome = await pair.ask()
    assert outcome.code is Code.NOT_CONNECTED
    assert pair.node.commands == []


async def test_a_route_that_no_database_tells_in_time_sends_nothing(pair, monkeypatch):
    answers = asyncio.Event()

    async def hung(*_: object) -> None:
        await answers.wait()

    monkeypatch.setattr(switchboard_module, "in_thread", hung)
    pair.caller.routes.clear()
    async with asyncio.timeout(5):
        outcome = await pair.ask(timeout=0.1)
    answers.set()
    assert outcome.code is Code.NOT_SENT
    assert pair.node.commands == []


async def test_an_agent_that_says_nothing_ends_as_no_reply_and_is_told_to_stop(pair):
    pair.node.handler = silent
    started = time.monotonic()
    outcome = await pair.ask(timeout=0.3)
    assert outcome.code is Code.NO_REPLY
    assert time.monotonic() - started < 2
    await until(lambda: pair.node.cancelled)


async def test_a_cancelled_caller_cancels_the_command(pair):
    pair.node.handler = silent
    task = asyncio.create_task(pair.ask())
    await until(lambda: pair.node.commands)
    task.cancel()
    await until(lambda: pair.node.cancelled == [pair.node.commands[0].id])


async def test_a_socket_lost_on_the_way_ends_as_disconnected(pair):
    pair.node.handler = silent
    task = asyncio.create_task(pair.ask())
    await until(lambda: pair.node.commands)
    pair.node.connection.lost(1006)
    assert (await task).code is Code.DISCONNECTED


async def test_a_cut_by_another_worker_reaches_the_agent_with_its_code(pair):
    pair.caller.cut(pair.holder.bus.inbox, str(pair.node.connection.id), 4001)
    await until(lambda: pair.node.closed_with == 4001)
    assert pair.sockets.endings[0][0].value == "replaced"


async def test_an_envelope_that_arrives_too_late_is_refused_and_not_run(pair, monkeypatch):
    put = pair.caller.bus.put

    def put_with_the_past(address, envelope, **options):
        past = {"send_by": time.time() - 1} if envelope["kind"] == "ask" else {}
        return put(address, envelope | past, **options)

    monkeypatch.setattr(pair.caller.bus, "put", put_with_the_past)
    outcome = await pair.ask()
    assert outcome.code is Code.NOT_SENT
    assert pair.node.commands == []


async def test_a_lost_letter_ends_the_calls_on_its_link_and_the_next_call_works(pair):
    pair.node.handler = silent
    task = asyncio.create_task(pair.ask())
    await until(lambda: pair.node.commands)
    pair.caller.bus._outlet(pair.holder.bus.inbox)._number += 1  # as if Redis had dropped one
    assert (await asyncio.wait_for(task, 3)).code is Code.RELAY_LOST
    pair.node.handler = Node.__init__.__defaults__[1]
    pair.route()  # it is read again, and is the same
    assert (await pair.ask()).code is None


async def test_letters_lost_both_ways_at_once_silence_nobody(pair):
    assert (await pair.ask()).code is None
    pair.caller.bus._outlet(pair.holder.bus.inbox)._number += 1
    pair.holder.bus._outlet(pair.caller.bus.inbox)._number += 1
    pair.holder.cut(pair.caller.bus.inbox, "any", 4001)
    assert (await pair.ask()).code is Code.RELAY_LOST
    pair.route()
    assert (await pair.ask()).code is None


async def test_a_sender_that_did_not_hear_of_its_lost_letter_is_told_again(pair, monkeypatch):
    assert (await pair.ask()).code is None
    pair.caller.bus._outlet(pair.holder.bus.inbox)._number += 1
    with monkeypatch.context() as deaf:
        deaf.setattr(pair.holder._holding, "say", lambda *_: None)
        task = asyncio.create_task(pair.ask())
        await until(lambda: pair.holder.bus.counts["gap"])
    pair.caller.bus.put(pair.holder.bus.inbox, {"kind": "alive"})
    assert (await asyncio.wait_for(task, 3)).code is Code.RELAY_LOST
    pair.route()
    assert (await pair.ask()).code is None


async def test_a_holder_that_falls_silent_ends_its_calls(pair, monkeypatch):
    monkeypatch.setattr(switchboard_module, "LINK_SILENCE", 1.5)
    pair.node.handler = silent
    task = asyncio.create_task(pair.ask(timeout=30))
    await until(lambda: pair.node.commands)
    pair.holder._ticker.cancel()
    assert (await asyncio.wait_for(task, 5)).code is Code.RELAY_LOST
    assert pair.caller.routes.get("web-01") is None, "the next command would go the same way"


async def test_nothing_written_to_redis_by_others_runs(pair):
    layer, inbox = get_channel_layer(), pair.holder.bus.inbox
    ask = {"kind": "ask", "call": "c", "agent": "web-01", "session": str(pair.node.connection.id)}
    ask |= {"send_by": time.time() + 9, "timeout": 9, "id": "i", "service": "system", "action": "exec"}
    ask |= {"params": {}, "short": False}
    honest = seal(Letter("evil", 1, 1, [ask]), "another-inbox")
    for message in (
        {"type": "tunnel.letter", "to": inbox, "letter": honest},
        {"type": "tunnel.letter", "to": inbox, "letter": b"\0" * 100},
        {"type": "tunnel.letter", "to": "another-inbox", "letter": honest},
        {"type": "tunnel.letter", "to": inbox},
        {"type": "tunnel.letter"},
        {"nothing": 1},
    ):
        await layer.send(inbox, message)
    await until(lambda: pair.holder.bus.counts["forged"] == 6)
    assert pair.node.commands == []
    assert (await pair.ask()).code is None


async def test_a_repeated_letter_is_dropped(pair, monkeypatch):
    sent = []
    publish = pair.caller.bus._publish

    async def twice(address, letter):
        sent.append(letter)
        await publish(address, letter)
        await publish(address, letter)

    pair.caller.bus._outlet(pair.holder.bus.inbox)._publish = twice
    assert (await pair.ask()).code is None
    await until(lambda: pair.holder.bus.counts["repeated"] >= 1)
    assert len(pair.node.commands) == 1


async def test_news_reaches_the_other_processes_and_drops_their_route(pair):
    pair.holder.announce("state", server=1, agent="web-01")
    await until(lambda: pair.news)
    assert pair.news[0]["server"] == 1
    assert pair.caller.routes.get("web-01") is None


async def test_a_missed_announcement_clears_every_route(pair):
    pair.holder.announce("state", server=1, agent="web-02")
    await until(lambda: pair.news)
    pair.holder.bus._outlet(switchboard_module.GROUP)._number += 1
    pair.holder.announce("state", server=1, agent="web-02")
    await until(lambda: pair.caller.routes.get("web-01") is None)


@pytest.mark.django_db(transaction=True)
async def test_a_worker_without_an_inbox_is_not_asked_and_not_remembered(pair, monkeypatch):
    route = pair.caller.routes.get("web-01")
    pair.caller.routes.drop("web-01")
    monkeypatch.setattr(routes, "read", lambda _: Route(f"{routes.JOINING}1", route.session))
    assert (await pair.ask()).code is Code.BUS_UNAVAILABLE
    monkeypatch.setattr(routes, "read", lambda _: route)
    assert (await pair.ask()).code is None


@pytest.mark.django_db(transaction=True)
async def test_news_that_comes_while_a_route_is_read_is_not_overwritten(pair, monkeypatch):
    old = pair.caller.routes.get("web-01")
    pair.caller.routes.drop("web-01")
    loop = asyncio.get_running_loop()

    def read_and_be_told(_agent_id: str) -> Route:
        asyncio.run_coroutine_threadsafe(told(), loop).result(5)
        return old

    async def told() -> None:
        pair.caller.heard({"kind": "news", "news": "state", "server": 1, "agent": "web-01"}, "another")

    monkeypatch.setattr(routes, "read", read_and_be_told)
    assert (await pair.ask()).code is None
    assert pair.caller.routes.get("web-01") is None


async def test_an_agent_that_does_not_read_gets_no_more_commands(pair):
    from tunnel import connection

    pair.node.connection._session.queued = connection.MAX_QUEUED + 1
    outcome = await pair.ask()
    assert outcome.code is Code.NOT_SENT
    assert "too slowly" in outcome.error


def lead_to(monkeypatch, switchboard: Switchboard, session: object) -> None:
    """Have the database tell this route of every agent."""
    monkeypatch.setattr(routes, "read", lambda _: Route(switchboard.bus.inbox, str(session)))


def first_item(switchboard: Switchboard) -> Item:
    return next(iter(switchboard._calls._calls.values())).item


@pytest.mark.django_db(transaction=True)
async def test_what_a_leaving_worker_has_not_read_is_asked_of_the_next_one(pair, monkeypatch):
    pair.holder.bus._reader.cancel()  # as one that has left in this moment
    task = asyncio.create_task(pair.ask())
    await until(lambda: pair.caller.asking and first_item(pair.caller).fate is Fate.PUBLISHED)
    sockets = Sockets()
    node, successor = Node(sockets), Switchboard(sockets)
    await successor.start()
    lead_to(monkeypatch, successor, node.connection.id)
    await pair.holder.stop()
    assert (await asyncio.wait_for(task, 3)).code is None
    assert (len(pair.node.commands), len(node.commands)) == (0, 1)
    await successor.stop()


async def test_what_a_leaving_worker_has_taken_is_asked_of_nobody_else(pair):
    pair.node.handler = silent
    task = asyncio.create_task(pair.ask(timeout=30))
    await until(lambda: pair.node.commands)
    await pair.holder.stop()
    assert (await asyncio.wait_for(task, 3)).code is Code.RELAY_LOST
    assert len(pair.node.commands) == 1


@pytest.mark.django_db(transaction=True)
async def test_what_waits_for_redis_is_not_sent_to_a_worker_that_has_left(pair, monkeypatch):
    gate, outlet = asyncio.Event(), pair.caller.bus._outlet(pair.holder.bus.inbox)
    publish = outlet._publish

    async def slowly(address: str, letter: bytes) -> None:
        await gate.wait()
        await publish(address, letter)

    outlet._publish = slowly
    lead_to(monkeypatch, pair.holder, pair.node.connection.id)
    tasks = [asyncio.create_task(pair.ask()) for _ in range(2)]
    await until(lambda: len(pair.caller._calls) == 2 and first_item(pair.caller).fate is Fate.UNDER_WAY)
    await pair.holder.stop()
    await until(lambda: all(task.done() for task in tasks), 3)
    gate.set()
    await outlet.flush()
    assert {task.result().code for task in tasks} == {Code.NOT_CONNECTED}
    assert outlet._number == 1


@pytest.mark.django_db(transaction=True)
async def test_a_worker_that_has_left_is_asked_nothing_although_its_row_is_open(pair, monkeypatch):
    await pair.holder.stop()
    await until(lambda: pair.caller._gone)
    lead_to(monkeypatch, pair.holder, pair.node.connection.id)
    assert (await asyncio.wait_for(pair.ask(), 3)).code is Code.NOT_CONNECTED


@pytest.mark.django_db(transaction=True)
async def test_an_agent_at_the_door_of_the_asking_worker_is_not_there_yet(pair, monkeypatch):
    lead_to(monkeypatch, pair.holder, "claimed-and-not-accepted")
    asking = pair.holder.ask("web-02", Request("system", "echo"))
    assert (await asyncio.wait_for(asking, 3)).code is Code.NOT_CONNECTED
