"""Is the demo up: the panel answers, and the agents' tunnels are active."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from servers.models import Server
from tunnel import presence
from yumna_panel.demo.site import LOOPBACK, Site

READY_TIMEOUT = 60.0  # seconds; a small machine takes about ten
REQUEST_TIMEOUT = 5.0  # seconds for one page
POLL_INTERVAL = 0.25  # seconds


@dataclass(frozen=True)
class Missing:
    """What is not there, and the log that may say why."""

    what: str
    log: str


def wait(site: Site, names: list[str], gave_up: Callable[[], bool], authority: Path) -> Missing | None:
    """Wait for the panel and for the tunnels of the named servers; return what is missing at the deadline."""
    deadline = time.monotonic() + READY_TIMEOUT
    while (missing := _look(site, names, authority)) and time.monotonic() < deadline and not gave_up():
        time.sleep(POLL_INTERVAL)
    return missing


def _look(site: Site, names: list[str], authority: Path) -> Missing | None:
    if not _web_answers(site, authority):
        return Missing(f"the panel does not answer at {site.url}", "web_0.log")
    inactive = _inactive(names)
    if inactive:
        return Missing(
            f"the panel answers at {site.url}, but {inactive[0]} has no active tunnel", "agent.log"
        )
    return None


def _web_answers(site: Site, authority: Path) -> bool:
    connection: http.client.HTTPConnection
    if site.host:
        context = ssl.create_default_context(cafile=str(authority))
        connection = http.client.HTTPSConnection(
            LOOPBACK, site.port, timeout=REQUEST_TIMEOUT, context=context
        )
    else:
        connection = http.client.HTTPConnection(LOOPBACK, site.port, timeout=REQUEST_TIMEOUT)
    try:
        connection.request("GET", "/admin/login/")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _inactive(names: list[str]) -> list[str]:
    servers = list(Server.objects.filter(name__in=names))
    states = presence.of(servers)
    active = {server.name for server in servers if states[server.pk].state is presence.State.ACTIVE}
    return [name for name in names if name not in active]


def tunnels() -> tuple[int, int]:
    """Return how many tunnels are active, of how many servers."""
    states = presence.of(Server.objects.all()).values()
    return sum(presence_.state is presence.State.ACTIVE for presence_ in states), len(states)
