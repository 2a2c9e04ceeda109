"""Which servers the Node Orchestration page lists: searched, filtered, trouble first, and cut into pages.

Thousands of servers are judged by a few columns of each; what a page shows is read for its own rows alone.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Self
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.http import QueryDict

from servers.models import Server
from servers.text import visible
from tunnel import presence
from tunnel.pages.cards import TROUBLE
from tunnel.presence import State

WHOLE: Final = 200  # servers of a panel that are shown on one page, and told to one browser
PAGE: Final = 100  # servers on a page of a larger panel

MAX_SEARCH: Final = 100  # characters
MAX_CHOSEN: Final = 20  # tags one may filter by at once
MAX_TAG: Final = 50  # characters; the column has as many
MAX_OFFERED: Final = 16  # tags that are offered, those of most servers; the others are found by searching
MAX_DIGITS: Final = 18  # of a number in an address; a primary key has 64 bits


def wanted(values: Iterable[str]) -> frozenset[int]:
    """Return the servers that `ids=1,2,3` names by primary key.

    Raises:
        ValueError: these are no numbers, or more than WHOLE.
    """
    numbers = [number for value in values for number in value.split(",") if number]
    if len(numbers) > WHOLE or not all(map(_is_number, numbers)):
        raise ValueError(f"ids has to be at most {WHOLE} numbers with commas between them")
    return frozenset(map(int, numbers))


@dataclass(frozen=True)
class Filters:
    """What a person looks for: of the states any, of the tags any, and the text in name, agent ID or a tag."""

    text: str = ""
    states: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    page: int = 1

    @classmethod
    def of(cls, query: QueryDict) -> Self:
        """Read them from an address; what has no meaning there is left out."""
        page = query.get("page", "")
        return cls(
            text=query.get("q", "").strip()[:MAX_SEARCH],
            states=frozenset(query.getlist("state")) & frozenset(State.values),
            tags=frozenset(tag for tag in query.getlist("tag")[:MAX_CHOSEN] if 0 < len(tag) <= MAX_TAG),
            page=max(1, int(page)) if _is_number(page) else 1,
        )

    def __bool__(self) -> bool:
        return bool(self.text or self.states or self.tags)

    def query(self, page: int) -> str:
        """Return the address of a page of the same, from the `?` on."""
        wanted: list[tuple[str, str]] = [("q", self.text)] if self.text else []
        wanted += [("state", state) for state in State.values if state in self.states]
        wanted += [("tag", tag) for tag in sorted(self.tags)]
        return "?" + urlencode([*wanted, ("page", str(page))] if page > 1 else wanted)

    def match(self, row: "Row", tags: Iterable[str]) -> bool:
        """Tell whether a server is looked for."""
        if self.states and row.state not in self.states:
            return False
        names = list(tags)
        if self.tags and self.tags.isdisjoint(names):
            return False
        text = self.text.casefold()
        return not text or any(text in word.casefold() for word in (row.name, row.agent_id, *names))


class Row(NamedTuple):
    """What is read of every server."""

    pk: int
    name: str
    agent_id: str
    state: str


@dataclass(frozen=True)
class Listing:
    """What there is: `shown` are the primary keys of this page, in its order, `found` how many match at all.

    A panel of at most WHOLE servers is on one page, with those that do not match: the page hides them by itself.
    """

    shown: list[int]
    found: int
    total: int
    page: int = 1
    pages: int = 1
    matching: frozenset[int] = frozenset()
    states: Mapping[str, int] = field(default_factory=dict)
    tags: list[tuple[str, int]] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether all servers are on this page."""
        return self.total <= WHOLE

    @property
    def counts(self) -> tuple[int, int]:
        """How many tunnels are active, and of how many; servers the panel dials itself have none."""
        return self.states.get(State.ACTIVE, 0), self.total - self.states.get(State.DIRECT, 0)


def read(servers: QuerySet[Server], filters: Filters) -> Listing:
    """Return which of these servers a page shows, in two queries."""
    light: Any = presence.with_state(servers).order_by()  # its type does not know the annotation
    rows = [Row(*row) for row in light.values_list("pk", "name", "agent_id", "tunnel_state")]
    tags = _tags(servers)
    rows.sort(key=_place)
    found = [row.pk for row in rows if filters.match(row, tags.get(row.pk, ()))]
    whole = len(rows) <= WHOLE
    pages = 1 if whole else max(1, -(-len(found) // PAGE))
    page = min(filters.page, pages)
    return Listing(
        shown=[row.pk for row in rows] if whole else found[(page - 1) * PAGE : page * PAGE],
        found=len(found),
        total=len(rows),
        page=page,
        pages=pages,
        matching=frozenset(found),
        states=Counter(row.state for row in rows),
        tags=_offered(tags.values(), filters.tags),
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS


def _place(row: Row) -> tuple[Any, ...]:
    return (row.state not in TROUBLE, visible(row.name).lower(), row.pk)


def _tags(servers: QuerySet[Server]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    links = Server.tags.through._default_manager.filter(server__in=servers.order_by().values("pk"))
    for server, tag in links.values_list("server_id", "tag__name"):
        found.setdefault(server, []).append(visible(tag))
    return found


def _offered(tags: Iterable[list[str]], chosen: frozenset[str]) -> list[tuple[str, int]]:
    """Return the tags of most servers with their numbers, by name; those chosen are always among them."""
    numbers = Counter(tag for names in tags for tag in names)
    common = sorted(numbers, key=lambda tag: (-numbers[tag], tag))[:MAX_OFFERED]
    return [(tag, numbers[tag]) for tag in sorted(chosen.union(common))]
