"""From a tunnel that opens on one worker to the page that is open on the other."""

from __future__ import annotations

import json
import time

from websockets.sync.client import ClientConnection, connect

from bench.figures import Figure
from bench.panel import PATIENCE, Panel
from tests.e2e.basic_agent import BasicAgent

RUNS = 7
MILLI = 1000.0
PROMISED = 1000.0  # milliseconds
NEWEST = """
from servers.models import Server
print(*Server.objects.order_by("-pk").values_list("pk", flat=True)[:100], sep=",")
"""


def measure(panel: Panel, servers: int) -> Figure:
    """Return how long after its handshake an agent is told as active to a page of all servers."""
    name = f"live-{servers}"
    secret = panel.cluster.add(name)
    with _page(panel) as page:
        pk = _snapshot(page, name)
        values = tuple(_once(panel, page, pk, name, secret) for _ in range(RUNS))
    return Figure(f"state change to the open page, {servers:,} servers", "ms", values, PROMISED, always=True)


def _once(panel: Panel, page: ClientConnection, pk: int, name: str, secret: str) -> float:
    agent = BasicAgent(panel.cluster.url("b"), name, secret)
    started = time.perf_counter()
    _until(page, pk, "active")
    seconds = time.perf_counter() - started
    agent.stop()
    _until(page, pk, "reconnecting")
    return seconds * MILLI


def _shown(panel: Panel) -> str:
    """The servers of one page, the newest among them, as a page asks the socket for them."""
    return panel.cluster.python(NEWEST).splitlines()[-1]


def _page(panel: Panel) -> ClientConnection:
    port = panel.cluster.ports["a"]
    return connect(
        f"ws://127.0.0.1:{port}/tunnel/ws/events/?ids={_shown(panel)}",
        additional_headers={"Cookie": f"sessionid={panel.session}", "Origin": f"https://127.0.0.1:{port}"},
        proxy=None,
        open_timeout=PATIENCE,
        max_size=None,
    )


def _snapshot(page: ClientConnection, name: str) -> int:
    """Read all there is, and return the key of this server."""
    found = None
    more = True
    while more or found is None:
        message = json.loads(page.recv(timeout=PATIENCE))
        more = bool(message.get("more"))
        found = next((card["id"] for card in message.get("cards", []) if card.get("agent_id") == name), found)
    return int(found)


def _until(page: ClientConnection, pk: int, state: str) -> None:
    while True:
        message = json.loads(page.recv(timeout=PATIENCE))
        if any(card["id"] == pk and card.get("state") == state for card in message.get("cards", [])):
            return
