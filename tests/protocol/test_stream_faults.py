"""Whatever is delayed, cut or lost: bytes arrive as they were sent or a RESET says why, and nothing is left behind."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_client.protocol import Code, Stream
from agent_client.protocol.errors import StreamBroken
from agent_client.protocol.events import CloseRequired, FrameReceived, StreamData
from agent_client.protocol.frames import Frame, Kind, encode
from agent_client.protocol.limits import MAX_WINDOW
from tests.faults.counts import count
from tests.protocol.ends import Ends
from tests.protocol.world import World

WORK = [
    World.ask,
    World.answer,
    World.node_sends,
    World.node_takes,
    World.node_ends,
    World.owner_sends,
    World.owner_takes,
    World.owner_ends,
    World.carry_down,
    World.carry_up,
    World.carry_to_owner,
    World.carry_to_holder,
]
STREAM_FAULTS = [World.refuse, World.node_resets, World.owner_resets, World.owner_cancels, World.lapse]
WORLD_FAULTS = [World.cut, World.lose_letter, World.kill_owners]


def steps(*kinds: object) -> st.SearchStrategy:
    step = st.tuples(st.sampled_from(kinds), st.integers(0, 7), st.integers(0, 3_000))
    return st.lists(step, min_size=5, max_size=60)


def lived(done: list, opened: int) -> World:
    """Return a world after these steps, of which `opened` streams were open before, and after all went on."""
    world = World()
    for number in range(opened):
        world.ask(number, 3_000 - 500 * number)
    if opened:
        world.open_all()
    world.ask(1, 700)
    for step, index, size in done:
        step(world, index, size)
        held(world)
    world.settle()
    held(world)
    return world


def held(world: World) -> None:
    """Nobody keeps more than the windows say."""
    windows = sum(
        owner.stream.granted - owner.stream.received for owner in world.owners.values() if owner.stream
    )
    assert windows <= len(world.owners) * MAX_WINDOW
    for owner in world.owners.values():
        if owner.stream is not None:
            assert owner.end.held <= max(owner.stream._size, owner.stream.most)
    assert world.agent.queued_frames <= 7 * 20_000
    assert world.master.queued_frames <= 7 * 20_000


def nothing_is_left(world: World) -> None:
    assert world.master.live_streams == {}
    assert not world.connected or world.agent.live_streams == ()
    assert not world.master._openings
    assert not world.connected or not (world.master._allotment._held or world.agent._allotment._held)
    assert world.master.queued_frames == world.agent.queued_frames == 0
    for owner in world.owners.values():
        assert owner.answered
        assert not owner.alive or owner.stream is None or owner.stream.over


def whole_or_told_why(world: World) -> None:
    for owner in world.owners.values():
        for end, sent in ((owner.end, owner.node.sends), (owner.node, owner.end.sends)):
            if not owner.alive and end is owner.end:
                continue
            if end.code is None and end.said_end:
                assert (end.whole, end.got) == (True, sent)
            elif end.code is not None:
                assert end.code in world.faults


@pytest.mark.timeout(3600)
@settings(max_examples=count(60, 5_000), deadline=None)
@given(steps(*WORK), st.integers(0, 3))
def test_without_a_fault_every_stream_arrives_whole_in_whatever_order_things_happen(done, opened):
    world = lived(done, opened)
    nothing_is_left(world)
    whole_or_told_why(world)
    assert not world.faults
    assert all(owner.end.over and owner.node.over for owner in world.owners.values())


@pytest.mark.timeout(3600)
@settings(max_examples=count(60, 5_000), deadline=None)
@given(steps(*WORK, *WORK, *STREAM_FAULTS), st.integers(0, 3))
def test_a_stream_that_is_given_up_says_why_and_the_others_arrive_whole(done, opened):
    world = lived(done, opened)
    nothing_is_left(world)
    whole_or_told_why(world)


@pytest.mark.timeout(3600)
@settings(max_examples=count(120, 10_000), deadline=None)
@given(steps(*WORK, *WORK, *STREAM_FAULTS, *WORLD_FAULTS), st.integers(0, 3))
def test_whatever_dies_and_when_no_side_keeps_an_orphan(done, opened):
    world = lived(done, opened)
    nothing_is_left(world)
    whole_or_told_why(world)


WHEN = [
    "before it is asked",
    "while it is asked",
    "while it is answered",
    "after",
    "in mid-data",
    "at the end",
]


@pytest.mark.parametrize("fault", [World.cut, World.lose_letter, World.kill_owners, World.owner_cancels])
@pytest.mark.parametrize("when", WHEN)
def test_a_death_at_each_point_of_an_opening_leaves_no_orphan(fault, when):
    world, point = World(), WHEN.index(when)
    stages = [
        lambda: world.ask(0, 700),
        lambda: (world.carry_to_holder(9, 0), world.settle_socket()),
        lambda: (world.answer(0, 500), world.carry_up(9, 0)),
        lambda: world.carry_to_owner(9, 0),
        lambda: (world.owner_sends(0, 90), world.node_sends(0, 90), world.carry_up(9, 999)),
        lambda: [world._round() for _ in range(3)],
    ]
    for number, stage in enumerate(stages):
        if number == point:
            fault(world, 1 if fault is World.lose_letter else 0, 0)
            fault(world, 0, 0)
        stage()
    world.settle()
    nothing_is_left(world)
    whole_or_told_why(world)


OFFSETS = st.none() | st.integers(0, 300) | st.integers(0, 2**64 - 1)  # None is where the bytes so far end
FRAMES = st.tuples(st.sampled_from(Kind), OFFSETS, st.binary(max_size=60))


@pytest.mark.timeout(3600)
@settings(max_examples=count(150, 20_000), deadline=None)
@given(st.lists(FRAMES, max_size=20), st.integers(0, 200))
def test_whatever_frames_come_a_stream_takes_no_byte_beyond_its_window_nor_one_twice(frames, window):
    stream, taken, codes = Stream(1, may_send=50, grants=window), 0, set()
    for kind, offset, payload in frames:
        try:
            events = stream.receive(Frame(kind, 1, stream.received if offset is None else offset, payload))
        except StreamBroken as exc:
            codes.add(exc.code)
            assert stream.received == taken
            continue
        for event in events:
            taken += len(getattr(event, "payload", b""))
        assert stream.received == taken <= window
        assert stream.sendable <= MAX_WINDOW
    assert codes <= {Code.GAP, Code.WINDOW, Code.PROTOCOL}


@pytest.mark.timeout(3600)
@settings(max_examples=count(60, 5_000), deadline=None)
@given(st.lists(FRAMES, max_size=20), st.sampled_from(["to_agent", "to_master"]))
def test_whatever_frames_come_on_one_stream_the_others_know_nothing_of_it(frames, side):
    ends = Ends().join()
    attacked, other, came = ends.open("c-1"), ends.open("c-2"), 0
    for kind, offset, payload in frames:
        body = b"" if kind is Kind.WINDOW else payload
        wrong = Frame(kind, attacked.number, came if offset is None else offset, body)
        came += len(body) if kind is Kind.DATA and wrong.offset == came else 0
        for event in getattr(ends, side)(encode(wrong)):
            assert not isinstance(event, CloseRequired)
            if isinstance(event, FrameReceived):
                attacked.take(event.data)
        ends.join()
    other.give(other.stream.data(b"down"))
    ends.agent.send_data(other.number, b"up")
    ends.join()
    assert other.data == b"up"
    assert [event for event in ends.at_agent if event == StreamData(other.number, b"down")]
