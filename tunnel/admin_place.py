"""Where the panel mounts its admin site: the tunnel's pages live below it, whatever it is called there."""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final
from weakref import WeakKeyDictionary

from django.apps import apps
from django.core.checks import CheckMessage
from django.urls import URLPattern, URLResolver, get_resolver, get_urlconf

MAX_DEPTH: Final = 10  # includes inside each other; a cycle must not hang the first request
NOWHERE: Final = "(?!)"  # matches nothing, so that no address of a page can be made
_LITERAL: Final = re.compile(r"[^<>()\[\]{}\\*+?$|^]*")  # a route that stands for itself

_chains: WeakKeyDictionary[URLResolver, tuple[Any, ...] | None] = WeakKeyDictionary()


class AdminPrefix:
    """A URL pattern: matches the path below which `admin.site` is mounted, nothing where it is not.

    The path is looked up when it is used: while the URLs load it is not known yet, and inside `i18n_patterns` it
    depends on the language of the request.
    """

    def __init__(self) -> None:
        self.converters: dict[str, Any] = {}

    @property
    def regex(self) -> re.Pattern[str]:
        """What `reverse` makes addresses of."""
        found = prefix()
        return re.compile(NOWHERE if found is None else re.escape(found))

    def match(self, path: str) -> tuple[str, tuple[Any, ...], dict[str, Any]] | None:
        """Cut the prefix off."""
        found = prefix()
        return None if found is None or not path.startswith(found) else (path.removeprefix(found), (), {})

    def check(self) -> list[CheckMessage]:
        """Say nothing: `tunnel.checks` looks whether the pages are found."""
        return []

    def describe(self) -> str:
        """Return how Django's own messages name it."""
        return f"'{self}'"

    def __str__(self) -> str:
        return prefix() or ""


def below_admin(pages: Callable[[], list[URLPattern]]) -> list[URLResolver]:
    """Put pages below the admin site; a panel without `django.contrib.admin` has none of them."""
    pattern: Any = AdminPrefix()  # Django lists its own patterns only
    return [URLResolver(pattern, pages())] if apps.is_installed("django.contrib.admin") else []


def prefix() -> str | None:
    """Return the path of `admin.site` without its leading slash, like `admin/`; None where it is not mounted."""
    root = get_resolver(get_urlconf())
    if root not in _chains:
        _chains[root] = next(_ways(root, (), MAX_DEPTH), None)
    chain = _chains[root]
    if chain is None:
        return None
    routes = [str(pattern).removeprefix("^") for pattern in chain]
    return "".join(routes) if all(_LITERAL.fullmatch(route) for route in routes) else None


def _ways(resolver: URLResolver, chain: tuple[Any, ...], depth: int) -> Iterator[tuple[Any, ...]]:
    """Yield the patterns one passes on the way to the admin site."""
    from django.contrib import admin

    for entry in resolver.url_patterns:
        if not isinstance(entry, URLResolver) or isinstance(entry.pattern, AdminPrefix):
            continue
        way = (*chain, entry.pattern)
        if entry.app_name == "admin" and entry.namespace == admin.site.name:
            yield way
        elif depth:
            yield from _ways(entry, way, depth - 1)
