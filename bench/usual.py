"""The usual way to reach a consumer of another worker, on both channel layers that channels_redis has."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

from bench import bare, dispatch
from bench.dispatch import WHERE
from bench.figures import Figure

LAYERS = ("pubsub", "core")
RUNS = 3  # they take longer than all of ours
ONE_BY_ONE = 100  # commands of a run, one after another
TOGETHER = {"pubsub": 1_000, "core": 300}  # commands of a run, 64 at a time
APPLICATION = "bench.group_send:application"
COMMANDS = {"uvicorn": bare.uvicorn(APPLICATION), "daphne": bare.daphne(APPLICATION)}


def measure() -> Iterator[Figure]:
    """Time commands by `group_send` as `bench.dispatch` times ours: same agents, same places."""
    for server, command in COMMANDS.items():
        for name in LAYERS:
            yield from layer(command, server, name)


def rates(figures: dict[str, Figure], server: str) -> dict[str, Figure]:
    """Return what the faster layer does a second, by worker."""
    wanted = {worker: _name("group_send at once", server, LAYERS[0], worker) for worker in WHERE}
    return {worker: figures[name] for worker, name in wanted.items() if name in figures}


def layer(command: list[str], server: str, name: str) -> Iterator[Figure]:
    """Time both workers over one layer."""
    environment = {
        "DJANGO_SETTINGS_MODULE": "bench.group_send_site",
        "SECRET_KEY": secrets.token_hex(32),
        "BENCH_LAYER": name,
    }
    lost = dict.fromkeys(WHERE, 0)
    with bare.running(command, *WHERE, environment=environment) as running, running.fleet("a"):

        def ask(worker: str, query: str) -> dict[str, Any]:
            answer = running.ask(worker, f"/?{query}")
            lost[worker] = answer["lost"]
            return answer

        for worker in WHERE:
            values = dispatch.medians(ask, worker, bare.names(), runs=RUNS, count=ONE_BY_ONE)
            yield Figure(_name("group_send", server, name, worker), "ms", values)
        for worker in WHERE:
            values = dispatch.rates(ask, worker, bare.names(), TOGETHER[name], runs=RUNS)
            yield Figure(_name("group_send at once", server, name, worker), "commands/s", values, more=True)
    if any(lost.values()):
        yield Figure(f"group_send on {name}, {server}, lost", "commands", (float(sum(lost.values())),))


def _name(what: str, server: str, layer: str, worker: str) -> str:
    return f"{what} on {layer}, {server}, {WHERE[worker]}"
