"""A stream through the switchboard, from the worker that holds the agent's socket or from another one over Redis."""

import asyncio
import os
import uuid

import pytest

from agent_client.protocol import CloseCode, Code
from servers.errors import StreamLost
from tests.tunnel.nodes import Node, Sockets, bare, silent
from tests.tunnel.waiting import until
from tunnel import links, metrics, relaying, routes
from tunnel import switchboard as switchboard_module
from tunnel.outcomes import Outcome
from tunnel.requests import Request
from tunnel.routes import Route
from tunnel.streams import OwnedStream
from tunnel.switchboard import Switchboard

WINDOW = 64 * 1024
MUCH = os.urandom(1024) * 2048


class Pair:
    """A holder with one node, and an owner in another process as far as the bus can tell; or in the same."""

    def __init__(self, *, relayed: bool) -> None:
        self.sockets = Sockets()
        self.holder = Switchboard(self.sockets)
        self.owner = Switchboard() if relayed else self.holder
        self.boards = {self.holder, self.owner}

    async def start(self) -> "Pair":
        await asyncio.gather(*(board.start() for board in self.boards))
        self.node = Node(self.sockets, handler=bare)
        self.route()
        return self

    def route(self) -> None:
        self.owner.routes.put("web-01", Route(self.holder.bus.inbox, str(self.node.connection.id)))

    async def try_to_open(self, service: str = "system", timeout: float = 5.0) -> tuple[Outcome, OwnedStream]:
        request = Request(service, "exec", {"window": WINDOW}, timeout, streamed=True)
        return await self.owner.open_stream("web-01", request)

    async def open(self, service: str = "system") -> OwnedStream:
        outcome, stream = await self.try_to_open(service)
        assert outcome.code is None, outcome
        return stream

    def orphans(self) -> list[object]:
        """What is left of streams on any side."""
        left: list[object] = [*self.node.agent.live_streams, *self.node.connection._session.live_streams]
        for board in self.boards:
            left += [*board._streams._owned, *board._relays._relays]
        return left

    async def stop(self) -> None:
        await asyncio.gather(*(board.stop() for board in self.boards))


@pytest.fixture(params=[False, True], ids=["same worker", "relayed"])
async def pair(request, redis_url):
    made = await Pair(relayed=request.param).start()
    yield made
    await made.stop()


@pytest.fixture
async def relayed(redis_url):
    made = await Pair(relayed=True).start()
    yield made
    await made.stop()


async def test_bytes_arrive_whole_in_both_directions_and_both_ends_finish_it(pair):
    stream = await pair.open()
    reading = asyncio.create_task(stream.read_all(len(MUCH)))
    pair.node.write(stream.number, MUCH)
    await stream.write(MUCH)
    await stream.write_end({"sha256": "x"})
    await until(lambda: not pair.node.ends[stream.number].rest)
    pair.node.end(stream.number, {"exitCode": 3})
    assert await reading == MUCH
    assert stream.end_detail == {"exitCode": 3}
    await until(lambda: pair.node.ends[stream.number].ended)
    assert bytes(pair.node.ends[stream.number].taken) == MUCH
    assert pair.node.ends[stream.number].detail == {"sha256": "x"}
    assert stream.over
    await until(lambda: not pair.orphans())


async def test_what_an_agent_sends_with_its_answer_is_not_lost(pair):
    def greet(node, command):
        node.write(node.open(command, {"handle": "h1"}), b"welcome")

    pair.node.handler = greet
    stream = await pair.open("shell")
    assert stream.data["handle"] == "h1"
    assert await stream.read() == b"welcome"


async def test_a_reader_that_takes_nothing_holds_the_agent_back(pair):
    stream = await pair.open("shell")
    pair.node.write(stream.number, MUCH)
    sent = len(MUCH) - len(pair.node.ends[stream.number].rest)
    assert sent == WINDOW
    await until(lambda: sum(map(len, stream._waiting)) == WINDOW)
    got = bytearray(await stream.read())
    stream.consumed(len(got))
    got += await stream.read_all(len(MUCH)) if False else b""
    await until(lambda: len(MUCH) - len(pair.node.ends[stream.number].rest) > sent)
    await stream.reset()


async def test_a_writer_waits_while_the_agent_takes_nothing(pair):
    stream = await pair.open()
    pair.node.ends[stream.number].takes = False
    writing = asyncio.create_task(stream.write(MUCH))
    window = 128 * 1024
    await until(lambda: len(pair.node.ends[stream.number].taken) == window)
    assert not writing.done()
    pair.node.ends[stream.number].takes = True
    pair.node.agent.consumed(stream.number, window)
    pair.node.flush()
    await asyncio.wait_for(writing, 5)
    await until(lambda: bytes(pair.node.ends[stream.number].taken) == MUCH)


async def test_leaving_the_block_ends_the_stream_at_the_agent(pair):
    async with await pair.open() as stream:
        pair.node.write(stream.number, b"something")
    await until(lambda: pair.node.ends[stream.number].reset is Code.CANCELLED)
    with pytest.raises(StreamLost, match="its reader left"):
        await stream.write(b"more")
    await until(lambda: not pair.orphans())


async def test_leaving_after_the_agents_end_is_an_end_and_no_reset(pair):
    async with await pair.open() as stream:
        pair.node.end(stream.number, {"exitCode": 0})
        assert await stream.read_all(0) == b""
    await until(lambda: pair.node.ends[stream.number].ended)
    assert pair.node.ends[stream.number].reset is None
    await until(lambda: not pair.orphans())


async def test_an_agent_that_resets_ends_it_after_what_it_had_sent(pair):
    stream = await pair.open()
    writing = asyncio.create_task(stream.write(MUCH))
    pair.node.ends[stream.number].takes = False
    pair.node.write(stream.number, b"last words")
    pair.node.agent.reset_stream(stream.number, Code.NO_SPACE, "the disk is full")
    pair.node.flush()
    assert await stream.read() == b"last words"
    with pytest.raises(StreamLost, match="the disk is full") as lost:
        await stream.read()
    assert lost.value.code == "no_space"
    with pytest.raises(StreamLost):
        await writing
    await until(lambda: not pair.orphans())


@pytest.mark.parametrize(
    ("code", "told"),
    [(CloseCode.REVOKED, "revoked"), (CloseCode.REPLACED, "disconnected"), (None, "disconnected")],
)
async def test_the_end_of_the_session_ends_its_streams(pair, code, told):
    stream = await pair.open()
    pair.node.connection.lost(1006) if code is None else pair.node.connection.close(code)
    with pytest.raises(StreamLost) as lost:
        await asyncio.wait_for(stream.read(), 3)
    assert lost.value.code == told
    assert pair.node.connection._session.live_streams == {}


async def test_an_error_opens_nothing(pair):
    pair.node.handler = lambda node, command: (
        node.agent.fail(command.id, Code.FORBIDDEN, "no shells here"),
        node.flush(),
    )
    outcome, _ = await pair.try_to_open()
    assert (outcome.code, outcome.error) == (Code.FORBIDDEN, "no shells here")
    assert not pair.orphans()


async def test_a_stream_that_is_opened_too_late_is_ended_at_once(pair):
    pair.node.handler = silent
    opening = asyncio.create_task(pair.try_to_open())
    await until(lambda: pair.node.commands)
    opening.cancel()
    await until(lambda: pair.node.cancelled)
    number = pair.node.open(pair.node.commands[0])  # the agent had done it already
    await until(lambda: pair.node.ends[number].reset is Code.CANCELLED)
    await until(lambda: not pair.orphans())


async def test_an_agent_that_sends_beyond_its_window_is_stopped_and_the_owner_told(pair, monkeypatch):
    stream = await pair.open("shell")
    other = await pair.open("shell")
    held = pair.node.agent._live[stream.number].stream._account.out
    held.window += 10 * WINDOW
    pair.node.write(stream.number, bytes(2 * WINDOW))
    await until(lambda: pair.node.ends[stream.number].reset is Code.WINDOW)
    with pytest.raises(StreamLost) as lost:
        await asyncio.wait_for(stream.read_all(10 * WINDOW), 3)
    assert lost.value.code == "window"
    pair.node.write(other.number, b"untouched")
    assert await other.read() == b"untouched"


async def test_many_streams_at_once_keep_their_bytes_apart(pair):
    streams = await asyncio.gather(*(pair.open() for _ in range(20)))
    texts = {stream.number: os.urandom(100) * 2000 for stream in streams}
    for number, text in texts.items():
        pair.node.write(number, text)

    async def read(stream):
        got = bytearray()
        async for piece in stream:
            got += piece
            if len(got) == len(texts[stream.number]):
                return got
        return got

    assert dict(zip(texts, await asyncio.gather(*map(read, streams)), strict=True)) == texts


async def test_a_lost_letter_ends_the_streams_on_both_sides(relayed):
    stream, quiet = await relayed.open(), await relayed.open()
    relayed.holder.bus._outlet(relayed.owner.bus.inbox)._number += 1  # as if Redis had dropped one
    relayed.node.write(stream.number, b"after the gap")
    for one in (stream, quiet):
        with pytest.raises(StreamLost) as lost:
            await asyncio.wait_for(one.read(), 5)
        assert lost.value.code == "relay_lost"
    for one in (stream, quiet):
        await until(lambda one=one: relayed.node.ends[one.number].reset)
    await until(lambda: not relayed.orphans())
    relayed.route()
    again = await relayed.open()
    relayed.node.write(again.number, b"goes on")
    assert await again.read() == b"goes on"


async def test_a_lost_letter_to_the_holder_ends_the_streams_on_both_sides(relayed):
    stream = await relayed.open()
    relayed.owner.bus._outlet(relayed.holder.bus.inbox)._number += 1
    await stream.write(b"into the gap")
    with pytest.raises(StreamLost) as lost:
        await asyncio.wait_for(stream.read(), 5)
    assert lost.value.code == "relay_lost"
    await until(lambda: not relayed.orphans())
    assert bytes(relayed.node.ends[stream.number].taken) == b""


async def test_a_letter_that_is_not_published_ends_its_streams_and_no_others(relayed, monkeypatch):
    monkeypatch.setattr(relaying, "SETTLED", 1.0)
    stream, other = await relayed.open(), await relayed.open()
    outlet = relayed.holder.bus._outlet(relayed.owner.bus.inbox)
    await outlet.flush()
    with monkeypatch.context() as away:

        async def fail(*_):
            raise ConnectionError("gone")

        away.setattr(outlet, "_publish", fail)
        relayed.node.write(stream.number, b"lost")
        await until(lambda: relayed.node.ends[stream.number].reset is Code.RELAY_LOST)
    with pytest.raises(StreamLost) as lost:
        await asyncio.wait_for(stream.read(), 15)
    assert lost.value.code == "relay_lost"
    relayed.node.write(other.number, b"untouched")
    assert await other.read() == b"untouched"


async def test_an_owner_that_falls_silent_loses_its_streams_at_the_agent(relayed, monkeypatch):
    monkeypatch.setattr(switchboard_module, "LINK_SILENCE", 1.5)
    stream = await relayed.open()
    relayed.owner._ticker.cancel()
    await until(lambda: relayed.node.ends[stream.number].reset is Code.RELAY_LOST or None, 6)
    await until(lambda: not relayed.orphans())


async def test_a_holder_that_falls_silent_ends_its_owners_streams(relayed, monkeypatch):
    monkeypatch.setattr(switchboard_module, "LINK_SILENCE", 1.5)
    stream = await relayed.open()
    relayed.holder._ticker.cancel()
    with pytest.raises(StreamLost) as lost:
        await asyncio.wait_for(stream.read(), 6)
    assert lost.value.code == "relay_lost"


async def test_a_process_that_was_held_up_does_not_miss_the_others_before_it_has_read(relayed, monkeypatch):
    stream = await relayed.open()
    monkeypatch.setattr(switchboard_module, "LINK_SILENCE", 0.0)
    relayed.owner._tick(late=True)
    relayed.holder._tick(late=True)
    assert not stream.over
    relayed.owner._tick()
    assert stream.over


async def test_an_idle_stream_lives_as_long_as_both_sides_say_so(relayed, monkeypatch):
    monkeypatch.setattr(switchboard_module, "LINK_SILENCE", 1.5)
    monkeypatch.setattr(relaying, "SETTLED", 0.5)
    stream = await relayed.open()
    ticks = relayed.holder.bus._outlet(relayed.owner.bus.inbox)
    number = ticks._number
    await until(lambda: ticks._number >= number + 3, 6)
    relayed.node.write(stream.number, b"still here")
    assert await stream.read() == b"still here"


@pytest.mark.parametrize("side", ["owner", "holder"])
async def test_a_stream_that_only_one_side_knows_is_ended(relayed, monkeypatch, side):
    monkeypatch.setattr(relaying, "SETTLED", 0.0)
    stream, other = await relayed.open(), await relayed.open()
    known = relayed.holder._relays._relays if side == "owner" else relayed.owner._streams._owned
    del known[next(iter(known))]
    await until(lambda: stream.over if side == "owner" else relayed.node.ends[stream.number].reset)
    relayed.node.write(other.number, b"untouched")
    assert await other.read() == b"untouched"


@pytest.mark.django_db(transaction=True)
async def test_a_newer_session_of_the_agent_elsewhere_ends_the_streams_of_a_killed_holder(
    relayed, monkeypatch
):
    stream = await relayed.open()
    monkeypatch.setattr(routes, "read", lambda _: Route("another-inbox", str(uuid.uuid4())))
    relayed.holder.announce("state", server=1, agent="web-01")
    with pytest.raises(StreamLost) as lost:
        await asyncio.wait_for(stream.read(), 3)
    assert lost.value.code == "disconnected"


async def test_the_windows_of_many_streams_fit_into_what_waits_for_redis(relayed):
    streams = [await relayed.open() for _ in range(60)]
    assert sum(stream._stream.most for stream in streams) < links.MAX_WAITING_BYTES
    assert streams[0]._stream.most > streams[-1]._stream.most >= WINDOW


async def test_a_keystroke_passes_the_bulk_that_waits(relayed):
    bulk, shell = await relayed.open(), await relayed.open("shell")
    outlet = relayed.holder.bus._outlet(relayed.owner.bus.inbox)
    gate, publish = asyncio.Event(), outlet._publish

    async def slow(address, letter):
        await gate.wait()
        await publish(address, letter)

    outlet._publish = slow
    for _ in range(4):
        relayed.node.write(bulk.number, bytes(WINDOW // 4))
    relayed.node.write(shell.number, b"x")
    assert len(outlet._waiting) >= 1
    assert len(outlet._bulk) >= 1
    gate.set()
    assert await shell.read() == b"x"


async def test_a_crowded_line_stops_windows_from_growing(pair):
    stream = await pair.open()
    await until(lambda: stream._stream is not None)
    most = stream._stream.most
    session = pair.node.connection._session
    for rtt in (0.01, 1.0):
        for event in session._measured(rtt):
            pair.node.connection._on_rtt(event)
    await until(lambda: stream._stream.most < most)
    for event in session._measured(0.01):
        pair.node.connection._on_rtt(event)
    await until(lambda: stream._stream.most == most)


async def test_streams_and_their_bytes_are_counted(pair):
    def counted(name: str) -> float:
        text = metrics.exposition()[0].decode()
        lines = [line for line in text.splitlines() if line.startswith(f"yumna_tunnel_{name}")]
        return float(lines[0].split()[-1]) if lines else 0.0

    into = 'stream_bytes_total{direction="from_node",kind="exec"}'
    out = 'stream_bytes_total{direction="to_node",kind="exec"}'
    opened = counted('streams_open{kind="exec"}')
    before = counted(into), counted(out)
    stream = await pair.open()
    assert counted('streams_open{kind="exec"}') == opened + 1
    pair.node.write(stream.number, bytes(1000))
    await stream.write(bytes(10))
    assert await stream.read() == bytes(1000)
    await stream.reset()
    assert (counted(into) - before[0], counted(out) - before[1]) == (1000, 10)
    assert counted('streams_open{kind="exec"}') == opened
