"""The door of a worker, before which a crowd of agents stands."""

import asyncio

import pytest

from tunnel.door import Crowded, Door

SOON = 5.0  # seconds


class Guests:
    """Handshakes that stay inside until they are told to go."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self.inside: list[str] = []
        self.go = {name: asyncio.Event() for name in "abcd"}

    async def come(self, name: str) -> None:
        async with self._door.turn():
            self.inside.append(name)
            await self.go[name].wait()

    def start(self, name: str) -> "asyncio.Task[None]":
        return asyncio.create_task(self.come(name))


async def passed(tasks: "list[asyncio.Task[None]]") -> None:
    """Let every task go as far as it can."""
    for _ in range(3):
        await asyncio.wait(tasks, timeout=0)
        await asyncio.sleep(0)


async def test_so_many_are_let_in_and_the_others_in_the_order_they_came():
    guests = Guests(Door(at_once=2, waiting=9, within=SOON))
    tasks = [guests.start(name) for name in "abcd"]
    await passed(tasks)
    assert guests.inside == ["a", "b"]
    guests.go["b"].set()
    await passed(tasks)
    assert guests.inside == ["a", "b", "c"]
    for go in guests.go.values():
        go.set()
    await asyncio.wait_for(asyncio.gather(*tasks), SOON)
    assert guests.inside == ["a", "b", "c", "d"]


async def test_who_finds_the_line_full_is_sent_away_at_once():
    guests = Guests(Door(at_once=1, waiting=1, within=60))
    tasks = [guests.start(name) for name in "ab"]
    await passed(tasks)
    with pytest.raises(Crowded):
        await asyncio.wait_for(guests.come("c"), SOON)
    guests.go["a"].set()
    guests.go["b"].set()
    await asyncio.wait_for(asyncio.gather(*tasks), SOON)


async def test_who_would_come_in_too_late_is_sent_away_and_the_next_one_comes_in():
    guests = Guests(Door(at_once=1, waiting=9, within=0.05))
    first = guests.start("a")
    await passed([first])
    with pytest.raises(Crowded):
        await asyncio.wait_for(guests.come("b"), SOON)
    guests.go["a"].set()
    guests.go["c"].set()
    await asyncio.wait_for(first, SOON)
    await asyncio.wait_for(guests.come("c"), SOON)
    assert guests.inside == ["a", "c"]


async def test_who_leaves_the_line_leaves_his_place_to_others():
    guests = Guests(Door(at_once=1, waiting=1, within=60))
    first, second = guests.start("a"), guests.start("b")
    await passed([first, second])
    second.cancel()
    await asyncio.wait([second])
    third = guests.start("c")
    await passed([first, third])
    guests.go["a"].set()
    guests.go["c"].set()
    await asyncio.wait_for(asyncio.gather(first, third), SOON)
    assert guests.inside == ["a", "c"]


async def test_a_handshake_that_fails_inside_gives_its_place_back():
    door = Door(at_once=1, waiting=0)
    with pytest.raises(RuntimeError):
        async with door.turn():
            raise RuntimeError
    async with asyncio.timeout(SOON), door.turn():
        pass
