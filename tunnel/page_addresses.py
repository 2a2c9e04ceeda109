"""Which addresses of the tunnel's URLs does a panel really give to the tunnel?"""

import sys
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, Final

from django.urls import (
    NoReverseMatch,
    URLPattern,
    URLResolver,
    get_resolver,
    get_script_prefix,
    get_urlconf,
    resolve,
    reverse,
)
from django.urls.converters import IntConverter, UUIDConverter
from django.urls.exceptions import Resolver404

MAX_DEPTH: Final = 10  # includes inside each other
SHOWN: Final = 3  # addresses a check names; one line of urls.py is behind all of them


def included() -> bool:
    """Tell whether the panel's URLs include `tunnel.urls`."""
    entries = list(_resolvers())  # walking loads all URLs of the panel, and ours if they are among them
    ours = sys.modules.get("tunnel.urls")
    return ours is not None and any(entry.urlconf_module is ours for entry in entries)


def shadowed() -> list[tuple[str, str]]:
    """Return addresses of ours that lead elsewhere, with what they lead to."""
    found = []
    for name, pattern in _named(sys.modules["tunnel.urls"].urlpatterns, "tunnel"):
        try:
            address = reverse(name, kwargs=_examples(pattern))
        except NoReverseMatch:
            continue
        taker = _taker(address, pattern)
        if taker:
            found.append((address, taker))
    return found[:SHOWN]


def _taker(address: str, pattern: URLPattern) -> str:
    try:
        match = resolve("/" + address.removeprefix(get_script_prefix()))
    except Resolver404:
        return "nothing"
    return "" if match.func is pattern.callback else f"`{match.view_name}`"


def _examples(pattern: URLPattern) -> dict[str, Any]:
    """Return values for the parameters of a route."""
    return {name: _example(converter) for name, converter in pattern.pattern.converters.items()}


def _example(converter: object) -> object:
    if isinstance(converter, IntConverter):
        return 1
    return uuid.UUID(int=1) if isinstance(converter, UUIDConverter) else "example"


def _named(entries: Iterable[Any], namespace: str) -> Iterator[tuple[str, URLPattern]]:
    for entry in entries:
        if isinstance(entry, URLResolver):
            inner = f"{namespace}:{entry.namespace}" if entry.namespace else namespace
            yield from _named(entry.url_patterns, inner)
        elif entry.name:
            yield f"{namespace}:{entry.name}", entry


def _resolvers() -> Iterator[URLResolver]:
    waiting = [(get_resolver(get_urlconf()), 0)]
    while waiting:
        resolver, depth = waiting.pop()
        yield resolver
        if depth < MAX_DEPTH:
            inner = [entry for entry in resolver.url_patterns if isinstance(entry, URLResolver)]
            waiting.extend((entry, depth + 1) for entry in inner)
