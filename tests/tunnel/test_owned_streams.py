"""A stream in the hands of its owner: what it does with wrong frames, lost ways, and calls that come too late."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agent_client.protocol import Code, InvalidState
from agent_client.protocol.frames import Frame, Kind, decode
from agent_client.protocol.frames import encode as encoded
from agent_client.protocol.streams import Stream
from servers.errors import StreamLost
from tests.tunnel.waiting import until
from tunnel.outcomes import Opened, Outcome
from tunnel.streams import OwnedStream

WINDOW = 1024
OPENED = Outcome(data={"handle": "h1"}, opened=Opened(7, may_send=WINDOW, grants=WINDOW, most=WINDOW))


class Way:
    """Keeps the frames that go to the agent."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.forgotten = 0

    def send(self, frame: bytes) -> None:
        self.frames.append(decode(frame))

    def forget(self) -> None:
        self.forgotten += 1

    @property
    def kinds(self) -> list[Kind]:
        return [frame.kind for frame in self.frames]


class Ends:
    """An owner's stream, and the agent's end of it."""

    def __init__(self) -> None:
        self.way = Way()
        self.owned = OwnedStream("system.exec")
        self.owned.opened(OPENED, self.way)
        self.agent = Stream(7, may_send=WINDOW, grants=WINDOW)

    def says(self, frame: Frame) -> None:
        self.owned.frame(encoded(frame))


@pytest.fixture
def ends() -> Ends:
    return Ends()


async def test_a_success_without_a_number_opens_no_stream():
    with pytest.raises(InvalidState, match="without a number"):
        OwnedStream("system.exec").opened(Outcome(data={}), Way())


async def test_who_gave_up_before_it_was_opened_ends_it_at_once():
    stream, way = OwnedStream("system.exec"), Way()
    stream.frame(encoded(Frame(Kind.DATA, 7, 0, b"too early")))
    stream.consumed(10)
    stream.calm(True)
    stream.lost(Code.DISCONNECTED)
    await stream.write_end()
    stream.give_up()
    assert not stream.over
    stream.opened(OPENED, way)
    assert (way.kinds, way.forgotten, stream.over) == ([Kind.RESET], 1, True)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (encoded(Frame(Kind.DATA, 7, 5, b"a gap before it")), Code.PROTOCOL),
        (encoded(Frame(Kind.DATA, 7, 0, b"x" * (WINDOW + 1))), Code.PROTOCOL),
        (b"\xff", Code.PROTOCOL),
    ],
    ids=["a gap", "beyond the window", "no frame"],
)
async def test_a_frame_against_the_rules_ends_this_stream_and_its_reader_hears_why(ends, frame, code):
    ends.says(ends.agent.data(b"before"))
    ends.owned.frame(frame)
    assert (ends.way.kinds, ends.way.forgotten) == ([Kind.RESET], 1)
    assert await ends.owned.read() == b"before"
    with pytest.raises(StreamLost) as caught:
        await ends.owned.read()
    assert caught.value.code == code.value
    ends.says(ends.agent.data(b"after"))
    ends.owned.consumed(6)
    ends.owned.lost(Code.DISCONNECTED)
    await ends.owned.reset()
    assert (ends.way.kinds, ends.way.forgotten) == ([Kind.RESET], 1)


async def test_a_way_that_is_lost_wakes_its_reader_and_its_writer(ends):
    reading = asyncio.create_task(ends.owned.read())
    writing = asyncio.create_task(ends.owned.write(b"x" * (2 * WINDOW)))
    await asyncio.sleep(0)
    ends.owned.lost(Code.RELAY_LOST, "the way broke")
    for waiting in (reading, writing, ends.owned.write_end()):
        with pytest.raises(StreamLost, match="the way broke"):
            await asyncio.wait_for(waiting, 5)
    assert ends.way.kinds == [Kind.DATA]


async def test_a_writer_waits_for_room_and_goes_on_when_there_is_some(ends):
    writing = asyncio.create_task(ends.owned.write(b"x" * (WINDOW + 10)))
    await asyncio.sleep(0)
    assert sum(len(frame.payload) for frame in ends.way.frames) == WINDOW
    for frame in ends.way.frames:
        ends.agent.receive(frame)
    ends.says(ends.agent.consumed(WINDOW))
    await asyncio.wait_for(writing, 5)
    assert sum(len(frame.payload) for frame in ends.way.frames) == WINDOW + 10


async def test_more_than_a_reader_takes_ends_the_stream(ends):
    ends.says(ends.agent.data(b"x" * 100))
    with pytest.raises(StreamLost, match="more than 99 bytes came") as caught:
        await ends.owned.read_all(99)
    assert caught.value.code == Code.TOO_LARGE.value
    assert ends.way.kinds[-1] is Kind.RESET


async def test_an_agent_that_said_its_end_is_told_ours_when_the_reader_leaves(ends):
    ends.says(ends.agent.data(b"all"))
    ends.says(ends.agent.end({"exitCode": 0}))
    async with ends.owned as stream:
        assert await stream.read_all(10) == b"all"
    assert ends.way.kinds[-1] is Kind.END
    assert ends.owned.over
    assert ends.way.forgotten == 1
    await ends.owned.write_end()
    with pytest.raises(StreamLost, match="nothing more can be written"):
        await ends.owned.write(b"too late")


async def test_an_agent_that_said_its_end_and_takes_no_more_holds_no_reader_that_leaves(ends):
    async with ends.owned as stream:
        writing = asyncio.create_task(stream.write(b"x" * (WINDOW + 1)))
        await until(lambda: ends.way.kinds)
        ends.says(ends.agent.end())
        assert await stream.read() == b""
    with pytest.raises(StreamLost) as lost:
        await writing
    assert lost.value.code == Code.CANCELLED.value
    assert (ends.way.kinds, stream.over) == ([Kind.DATA, Kind.RESET], True)


async def test_a_reader_that_leaves_early_or_in_trouble_ends_both_directions(ends):
    async def leave(trouble: Exception | None) -> Any:
        made = Ends()
        made.says(made.agent.end()) if trouble else None
        try:
            async with made.owned:
                if trouble:
                    raise trouble
        except LookupError:
            pass
        return made.way.kinds

    assert await leave(None) == [Kind.RESET]
    assert await leave(LookupError()) == [Kind.RESET]


async def test_an_agent_that_gives_up_is_heard_with_its_own_reason_and_counted_once(ends):
    ends.says(ends.agent.reset(Code.NOT_FOUND, "the file is gone"))
    with pytest.raises(StreamLost, match="the file is gone") as caught:
        await ends.owned.read()
    assert caught.value.code == Code.NOT_FOUND.value
    assert (ends.way.kinds, ends.way.forgotten) == ([], 1)
