"""Many agents in one thread: they speak the protocol with the agent's own session and dial again by its own rules.

    with Fleet(enrol(cluster, 200), [cluster.url(name) for name in "abc"]) as fleet:
        fleet.wait_held(200)

A command's `key` parameter is written down in `records.ran`, once for each time it would have run; its `hold`
parameter is how many seconds pass before the answer.
"""

import asyncio
import json
import threading
from collections.abc import Coroutine, Iterable
from typing import Any

from tests.e2e.cluster import Cluster, until
from tests.faults.fleet_agent import FleetAgent, Records


def enrol(cluster: Cluster, number: int, prefix: str = "fleet") -> dict[str, str]:
    """Make so many servers and return their secrets by agent id."""
    code = "import json; from servers import identity; "
    code += f"names = [{prefix!r} + f'-{{n:05}}' for n in range({number})]; "
    code += "print(json.dumps({name: identity.create(name)[1] for name in names}))"
    return dict(json.loads(cluster.python(code, seconds=300).splitlines()[-1]))


def peak(times: Iterable[float], span: float = 1.0) -> int:
    """Return the most of `times` that lie within any `span` seconds."""
    ordered = sorted(times)
    most = first = 0
    for last, at in enumerate(ordered):
        while ordered[first] <= at - span:
            first += 1
        most = max(most, last - first + 1)
    return most


class Fleet:
    """Agents by id. Each takes the masters of `urls` in turn, as an agent does; their first ones are dealt round."""

    def __init__(self, secrets: dict[str, str], urls: list[str]) -> None:
        self.records = Records()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fleet", daemon=True)
        self._agents = {
            name: FleetAgent(
                name, secret, urls[place % len(urls) :] + urls[: place % len(urls)], self.records
            )
            for place, (name, secret) in enumerate(secrets.items())
        }
        self._lives: dict[str, asyncio.Task[None]] = {}

    def __enter__(self) -> "Fleet":
        self._thread.start()
        self.call(self._agents)
        return self

    def __exit__(self, *_: object) -> None:
        self.dismiss(self._agents)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def names(self) -> list[str]:
        """The ids of all agents."""
        return list(self._agents)

    def held(self, url: str | None = None) -> set[str]:
        """Return the agents whose session is open, with this master or any."""
        return {
            name for name, agent in self._agents.items() if agent.url is not None and url in (None, agent.url)
        }

    def wait_held(self, number: int, seconds: float = 30.0) -> None:
        """Wait until at least so many sessions are open."""
        until(lambda: len(self.held()) >= number, seconds, f"{number} agents are connected")

    def back(self, agents: Iterable[str], since: float) -> dict[str, float]:
        """Return how many seconds after `since` each of these agents opened its next session, those that did."""
        wanted, found = set(agents), {}
        for opening in list(self.records.openings):
            if opening.agent in wanted and opening.at >= since:
                found.setdefault(opening.agent, opening.at - since)
        return found

    def call(self, agents: Iterable[str]) -> None:
        """Let agents dial, and dial again whenever they lose their session."""
        self._run(self._call(list(agents)))

    def dismiss(self, agents: Iterable[str]) -> None:
        """Let agents close their sessions properly and stay away."""
        self._run(self._dismiss(list(agents)))

    def forget(self, agents: Iterable[str]) -> None:
        """Let agents keep the session they have, and stay away once it has ended."""
        for name in agents:
            self._agents[name].last = True

    def cut(self, agents: Iterable[str]) -> None:
        """Break the connections of agents as a network does; they come back by their rules."""
        self._run(self._cut(list(agents)))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _call(self, agents: list[str]) -> None:
        for name in agents:
            life = self._lives.get(name)
            if life is None or life.done():
                self._agents[name].last = False
                self._lives[name] = asyncio.create_task(self._agents[name].live(), name=name)

    async def _dismiss(self, agents: list[str]) -> None:
        lives = [self._lives.pop(name) for name in agents if name in self._lives]
        for life in lives:
            life.cancel()
        for ended in await asyncio.gather(*lives, return_exceptions=True):
            if isinstance(ended, Exception):  # a fault of the fleet itself
                raise ended

    async def _cut(self, agents: list[str]) -> None:
        for name in agents:
            self._agents[name].cut()
