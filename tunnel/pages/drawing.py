"""A card made ready for the templates: its words, its bars, its links."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext

from tunnel.conf import settings
from tunnel.pages import words
from tunnel.pages.cards import Card
from tunnel.presence import State

STALE_HEARTBEATS: Final = 3  # figures older than so many heartbeats are shown as old
PLACE: Final = "0"  # stands for a primary key in the pattern of an address

# What leads away from a card: where to, and the permission it needs.
LINKS: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "overview": (("tunnel:server", "admin:servers_server_change"), "view"),
    "terminal": (("tunnel:terminal",), "open_shell"),
    "settings": (("admin:servers_server_change",), "view"),
    "suspend": (("admin:servers_server_suspend",), "change"),
    "reactivate": (("admin:servers_server_reactivate",), "change"),
    "rotate": (("admin:servers_server_rotate",), "rotate_secret"),
}

Pattern = tuple[str, str]  # what stands before a primary key in an address, and after it
May = Mapping[str, frozenset[int]]  # by permission, the servers it counts for


@dataclass(frozen=True)
class Entry:
    """A link in the menu of each card; what stands before a primary key in its address, and after it."""

    name: str
    label: str
    before: str
    after: str

    def url(self, card: Card) -> str:
        """Return the address for a card."""
        return f"{self.before}{card['id']}{self.after}"


@dataclass(frozen=True)
class Bar:
    """One figure of a card, ready to be shown."""

    name: str
    label: str
    percent: float | None
    title: str


def patterns() -> dict[str, Pattern | None]:
    """Return the address of each link; None in a panel that has taken the page out."""
    return {name: _pattern(views) for name, (views, _) in LINKS.items()}


def stale_after() -> float:
    """Return after how many seconds a figure is old."""
    return STALE_HEARTBEATS * float(settings.HEARTBEAT)


def menu() -> list[Entry]:
    """Return what the menu of a card offers at all."""
    labels = {
        "overview": gettext("Overview"),
        "terminal": gettext("Terminal"),
        "settings": gettext("Settings"),
        "suspend": gettext("Suspend…"),
        "reactivate": gettext("Reactivate…"),
        "rotate": gettext("Rotate secret…"),
    }
    return [Entry(name, labels[name], *ends) for name, ends in patterns().items() if ends is not None]


def drawn(card: Card, now: float, entries: list[Entry], may: May) -> dict[str, Any]:
    """Return a card with its words, for the template; `may` says what this person may do."""
    at = card["figures_at"]
    refused = card["refused"]
    links = [
        {"name": one.name, "label": one.label, "url": one.url(card), "hidden": not _offered(one, card, may)}
        for one in entries
    ]
    return {
        **card,
        "pill": words.pill(card),
        "url": next((link["url"] for link in links if link["name"] == "overview"), ""),
        "links": links,
        "actions": gettext("Actions for {name}").format(name=card["name"]),
        "ago": _moment(card["since"], now),
        "reason_words": words.reason(card),
        "advice": words.advice(card),
        "agent_words": words.agent(card),
        "refused_words": "" if refused is None else words.refused(refused),
        "refused_advice": "" if refused is None else words.refused_advice(refused),
        "bars": [
            Bar("cpu", gettext("CPU"), card["cpu"], ""),
            Bar("ram", gettext("RAM"), card["ram"], words.amount(card["ram_used"], card["ram_total"])),
            Bar("disk", gettext("Disk"), card["disk"], words.amount(card["disk_used"], card["disk_total"])),
        ],
        "rtt_words": words.round_trip(card["rtt"]),
        "uptime_words": words.uptime(card["uptime"]),
        "outdated": words.is_old(card["version"]),
        "figures_words": "" if at is None else words.figures(at, now),
        "old": at is not None and now - at > stale_after(),
    }


def _offered(entry: Entry, card: Card, may: May) -> bool:
    if entry.name in ("suspend", "reactivate"):
        suspended = card["state"] == State.SUSPENDED
        if suspended != (entry.name == "reactivate"):
            return False
    permission = LINKS[entry.name][1]
    return permission == "view" or card["id"] in may.get(permission, ())


def _pattern(views: tuple[str, ...]) -> Pattern | None:
    for view in views:
        try:
            before, _, after = reverse(view, args=(PLACE,)).rpartition(f"/{PLACE}/")
        except NoReverseMatch:
            continue
        return f"{before}/", f"/{after}"
    return None


def _moment(at: float | None, now: float) -> dict[str, str] | None:
    if at is None:
        return None
    return {"iso": words.iso(at), "exact": words.exact(at), "ago": words.ago(at, now)}


BLANK: Final = Card(
    id=0,
    name="",
    agent_id="",
    state=State.NEVER.value,
    since=None,
    reason="",
    detail="",
    agent_reason="",
    refused=None,
    os="",
    tags=[],
    version="",
    cpu=None,
    ram=None,
    ram_used=None,
    ram_total=None,
    disk=None,
    disk_used=None,
    disk_total=None,
    uptime=None,
    rtt=None,
    figures_at=None,
)
