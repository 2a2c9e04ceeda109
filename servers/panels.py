"""What other apps add to a server's pages in the admin: tabs, and the panel that waits for a new agent.

An app registers in its `AppConfig.ready()`; the pages of this app ask, and show nothing where nobody registered.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.safestring import SafeString

from servers.models import Server

FIRST: Final = 0
MIDDLE: Final = 50
LAST: Final = 100


@dataclass(frozen=True)
class Tab:
    """One tab of a server's pages; `name` tells which one is open, `place` where it stands: FIRST to LAST."""

    name: str
    label: str | Promise
    url: str
    place: int = MIDDLE


TabSource = Callable[[HttpRequest, Server], Iterable[Tab]]
Renderer = Callable[[HttpRequest, Server], SafeString]

_sources: list[TabSource] = []
_waiting: list[Renderer] = []


def register_tabs(source: TabSource) -> None:
    """Have `source` say which tabs a person sees on the pages of a server."""
    if source not in _sources:
        _sources.append(source)


def tabs(request: HttpRequest, server: Server) -> list[Tab]:
    """Return the tabs this person sees, by place and then in the order of registration."""
    return sorted((tab for source in _sources for tab in source(request, server)), key=lambda tab: tab.place)


def register_waiting(renderer: Renderer) -> None:
    """Have `renderer` make the panel that waits, live, for the first connection of a server's agent."""
    if renderer not in _waiting:
        _waiting.append(renderer)


def waiting(request: HttpRequest, server: Server) -> list[SafeString]:
    """Return the panels that wait for this server's agent, as safe HTML."""
    return [renderer(request, server) for renderer in _waiting]
