"""How soon a real agent is back when its line was gone for a moment."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.figures import Figure
from bench.panel import Panel
from bench.relay import HOST, Relay
from tests.e2e.cluster import until
from tests.e2e.real_agent import RealAgent

AGENTS = 15  # each draws its own pauses, so that one outage is as many runs
OUTAGE = 0.3  # seconds
BACK_WITHIN = 30.0  # seconds
GOAL, LIMIT = 0.7, 1.1  # seconds from the beginning of the outage
OPENED = re.compile(r"^(\S+ \S+) INFO agent\.link tunnel open", re.MULTILINE)


def measure(panel: Panel) -> Iterator[Figure]:
    """Cut all of them off at once, and read in their logs when each was back."""
    relay = Relay(panel.cluster.ports["a"])
    with TemporaryDirectory(prefix="yumna-bench-") as folder:
        url = f"ws://{HOST}:{relay.port}/tunnel"
        identities = panel.identities([f"outage-{number:02d}" for number in range(AGENTS)], "a")
        agents = [
            RealAgent(Path(folder) / one.agent_id, [url], one.agent_id, one.secret) for one in identities
        ]
        try:
            _opened(agents, 1)
            began = time.time()
            relay.cut(OUTAGE)
            back = _opened(agents, 2)
        finally:
            for agent in agents:
                agent.process.terminate()
            for agent in agents:
                agent.stop()
            relay.stop()
    values = tuple(at - began for at in back)
    yield Figure(f"agent back after an outage of {OUTAGE:g} s", "s", values, LIMIT, goal=GOAL)


def _opened(agents: list[RealAgent], times: int) -> list[float]:
    """Wait until each has opened its tunnel so many times, and return when it last did, in unix seconds."""
    for agent in agents:
        until(partial(_has_opened, agent, times), BACK_WITHIN, "an agent connects")
    logged = [OPENED.findall(agent.log)[times - 1] for agent in agents]
    return [datetime.strptime(at, "%Y-%m-%d %H:%M:%S,%f").timestamp() for at in logged]


def _has_opened(agent: RealAgent, times: int) -> bool:
    return len(OPENED.findall(agent.log)) >= times
