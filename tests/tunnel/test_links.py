"""Outgoing letters are gathered and numbered; incoming ones are judged by their numbers."""

import asyncio
import time

import pytest

from tunnel import links
from tunnel.letters import MAX_ENVELOPES, Letter, unseal
from tunnel.links import Arrival, Fate, IncomingLinks, Outlet, OutletFull


class Layer:
    """A channel layer that holds letters until told to let them go."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def publish(self, address: str, data: bytes) -> None:
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.letters.append(unseal(data, address))


@pytest.fixture
def layer():
    return Layer()


@pytest.fixture
def outlet(layer):
    return Outlet("me", "there", layer.publish)


def soon() -> float:
    return time.time() + 10


async def test_what_comes_while_a_letter_is_under_way_shares_the_next_one(layer, outlet):
    first = outlet.put({"n": 0}, send_by=soon())
    await asyncio.sleep(0)
    assert first.fate is Fate.UNDER_WAY
    for number in range(1, 4):
        outlet.put({"n": number}, send_by=soon())
    layer.gate.set()
    await outlet.flush()
    assert [[e["n"] for e in letter.envelopes] for letter in layer.letters] == [[0], [1, 2, 3]]
    assert [letter.number for letter in layer.letters] == [1, 2]


async def test_a_letter_holds_a_bounded_number_of_envelopes(layer, outlet):
    layer.gate.set()
    for number in range(MAX_ENVELOPES + 1):
        outlet.put({"n": number}, send_by=soon())
    await outlet.flush()
    assert [len(letter.envelopes) for letter in layer.letters] == [MAX_ENVELOPES, 1]


async def test_an_envelope_past_its_time_is_never_sent(layer, outlet):
    outlet.put({"n": 0}, send_by=soon())
    await asyncio.sleep(0)
    late = outlet.put({"n": 1}, send_by=time.time() - 1)
    withdrawn = outlet.put({"n": 2}, send_by=soon())
    assert withdrawn.withdraw()
    layer.gate.set()
    await outlet.flush()
    assert [e["n"] for letter in layer.letters for e in letter.envelopes] == [0]
    assert late.fate is withdrawn.fate is Fate.WITHDRAWN


async def test_what_was_not_sent_in_time_is_told_but_what_was_taken_back_is_not(layer, outlet):
    told = []
    outlet.put({"n": 0}, send_by=soon())
    await asyncio.sleep(0)
    outlet.put({"n": 1}, send_by=time.time() - 1, on_failure=lambda: told.append("late"))
    outlet.put({"n": 2}, send_by=soon(), on_failure=lambda: told.append("taken back")).withdraw()
    layer.gate.set()
    await outlet.flush()
    assert told == ["late"]


async def test_bulk_waits_for_everything_else_and_goes_a_little_at_a_time(layer, outlet):
    outlet.put({"n": 0}, send_by=soon())
    await asyncio.sleep(0)
    for number in range(4):
        outlet.put({"frame": bytes([number]) * (links.BULK_LETTER // 2)}, send_by=soon(), bulk=True)
    outlet.put({"n": 1}, send_by=soon())
    layer.gate.set()
    await outlet.flush()
    sent = [[e.get("n", e.get("frame", b"")[:1]) for e in letter.envelopes] for letter in layer.letters]
    assert sent[0] == [0]
    assert sent[1][0] == 1, "what is urgent passes what waits already"
    assert [frame for letter in sent[1:] for frame in letter if isinstance(frame, bytes)] == [
        b"\0",
        b"\1",
        b"\2",
        b"\3",
    ]
    assert max(len(letter) for letter in sent) <= 3


async def test_bulk_gets_on_however_much_else_there_is(layer, outlet):
    outlet.put({"n": 0}, send_by=soon())
    await asyncio.sleep(0)
    for _ in range(3):
        outlet.put({"data": "y" * (links.MAX_LETTER // 2)}, send_by=soon())
    outlet.put({"frame": b"bulk"}, send_by=soon(), bulk=True)
    layer.gate.set()
    await outlet.flush()
    assert b"bulk" in [e.get("frame") for e in layer.letters[1].envelopes]


async def test_what_is_under_way_cannot_be_withdrawn(layer, outlet):
    item = outlet.put({"n": 0}, send_by=soon())
    await asyncio.sleep(0)
    assert not item.withdraw()
    layer.gate.set()
    await outlet.flush()
    assert item.fate is Fate.PUBLISHED


async def test_a_failed_letter_is_told_and_a_new_link_begun(layer, outlet):
    told = []
    layer.error = ConnectionError("gone")
    layer.gate.set()
    item = outlet.put({"n": 0}, send_by=soon(), on_failure=lambda: told.append(1))
    await outlet.flush()
    assert (item.fate, told) == (Fate.FAILED, [1])
    layer.error = None
    outlet.put({"n": 1}, send_by=soon())
    await outlet.flush()
    assert layer.letters[0].number == 1


async def test_an_outlet_holds_a_bounded_number_of_envelopes_and_bytes(layer, outlet, monkeypatch):
    monkeypatch.setattr(links, "MAX_WAITING", 3)
    for _ in range(3):
        outlet.put({}, send_by=soon())
    with pytest.raises(OutletFull):
        outlet.put({}, send_by=soon())
    monkeypatch.setattr(links, "MAX_WAITING", 300)
    for envelope in (
        {"x": "y" * links.MAX_WAITING_BYTES},
        {"outcome": {"data": {"stdout": "y" * links.MAX_WAITING_BYTES}}},
        {"params": {"argv": ["é" * (links.MAX_WAITING_BYTES // 6)]}},
    ):
        with pytest.raises(OutletFull):
            outlet.put(envelope, send_by=soon())
    outlet.stop()


async def test_large_envelopes_share_no_letter(layer, outlet):
    layer.gate.set()
    for _ in range(3):
        outlet.put({"outcome": {"data": "y" * (links.MAX_LETTER // 2)}}, send_by=soon())
    await outlet.flush()
    assert [len(letter.envelopes) for letter in layer.letters] == [1, 1, 1]


async def test_a_clock_set_back_does_not_make_new_links_look_old(layer, monkeypatch):
    layer.gate.set()
    monkeypatch.setattr(links.time, "time_ns", lambda: 1)  # an hour earlier than anything before
    incoming = IncomingLinks()
    for _ in range(2):  # an idle outlet is forgotten, the next letter makes a new one
        outlet = Outlet("me", "there", layer.publish)
        outlet.put({}, send_by=soon())
        await outlet.flush()
    outlet.start_new_link()
    outlet.put({}, send_by=soon())
    await outlet.flush()
    arrivals = [incoming.judge(letter, "there", from_start=True) for letter in layer.letters]
    assert arrivals == [Arrival.NEXT] * 3


def judge(incoming: IncomingLinks, epoch: int, number: int, *, from_start: bool = True) -> Arrival:
    return incoming.judge(Letter("a", epoch, number, []), "me", from_start=from_start)


def test_letters_in_order_are_taken_once():
    incoming = IncomingLinks()
    assert [judge(incoming, 1, number) for number in (1, 2, 2, 1, 3)] == [
        Arrival.NEXT,
        Arrival.NEXT,
        Arrival.REPEATED,
        Arrival.REPEATED,
        Arrival.NEXT,
    ]


def test_a_gap_breaks_the_link_until_a_new_one_begins():
    incoming = IncomingLinks()
    assert judge(incoming, 1, 1) is Arrival.NEXT
    assert judge(incoming, 1, 3) is Arrival.GAP
    assert judge(incoming, 1, 4) is Arrival.BROKEN
    assert judge(incoming, 2, 1) is Arrival.NEXT
    assert judge(incoming, 1, 5) is Arrival.REPEATED


def test_a_link_whose_beginning_was_missed_is_a_gap_but_announcements_may_be_joined_late():
    assert judge(IncomingLinks(), 1, 2) is Arrival.GAP
    announcements = IncomingLinks()
    assert judge(announcements, 1, 5, from_start=False) is Arrival.NEXT
    assert judge(announcements, 1, 7, from_start=False) is Arrival.GAP
    assert judge(announcements, 1, 8, from_start=False) is Arrival.NEXT
