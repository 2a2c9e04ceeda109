"""What a page shows of a server: one flat JSON object in no language, so that one reading serves every browser.

Times are unix seconds, the words belong to the page (`tunnel.pages.words`).
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, TypedDict, cast

from servers.models import Server
from servers.text import visible
from tunnel import figures, history, presence
from tunnel.models import Refusal
from tunnel.presence import Presence, State

MAX_OS: Final = 60  # characters; "Debian GNU/Linux 12 (bookworm)" has 30
MAX_TAGS: Final = 12  # a card shows so many

TROUBLE: Final = frozenset({State.OFFLINE, State.RECONNECTING})  # shown first


class Refused(TypedDict):
    """The handshake that was refused last, and how often that happened."""

    reason: str  # a RefusalReason
    address: str
    at: float
    times: int


class Card(TypedDict):
    """One server; what is not known is empty or None."""

    id: int
    name: str
    agent_id: str
    state: str
    since: float | None
    reason: str  # a CloseReason
    detail: str
    agent_reason: str  # what the agent said of the cut before its last session
    refused: Refused | None  # since the last session opened
    os: str
    tags: list[str]
    version: str
    cpu: float | None  # percent, like ram and disk
    ram: float | None
    ram_used: float | None  # MiB, like the following
    ram_total: float | None
    disk: float | None
    disk_used: float | None
    disk_total: float | None
    uptime: float | None  # seconds
    rtt: float | None  # seconds
    figures_at: float | None


# The members that come with fresh figures; the others change when somebody or a session changes them.
FIGURES: Final = (
    "cpu",
    "ram",
    "ram_used",
    "ram_total",
    "disk",
    "disk_used",
    "disk_total",
    "uptime",
    "rtt",
    "figures_at",
)
_COLUMNS: Final = (
    "name",
    "agent_id",
    "connection_type",
    "status",
    "host_facts",
    "agent_version",
    "last_usage",
    "last_usage_at",
    "rtt_seconds",
)


def read(servers: Any) -> dict[int, Card]:
    """Return the cards of a queryset of servers by primary key, in five queries whatever their number."""
    rows = list(servers.only(*_COLUMNS).prefetch_related("tags"))
    there = presence.of(rows)
    refused = history.standing_refusals(there.keys())
    return {
        server.pk: _card(server, there[server.pk], refused.get(server.pk))
        for server in rows
        if server.pk in there
    }


def of_figures(usage: object, rtt: object, at: float | None) -> dict[str, Any]:
    """Return the members that figures bring, cleaned."""
    clean = figures.clean(usage)
    return {
        "cpu": clean.get("cpu"),
        "ram": figures.percent_of(clean, "ramPercent", "ram", "ramTotal"),
        "ram_used": clean.get("ram"),
        "ram_total": clean.get("ramTotal"),
        "disk": figures.percent_of(clean, "disk", "diskUsed", "diskTotal"),
        "disk_used": clean.get("diskUsed"),
        "disk_total": clean.get("diskTotal"),
        "uptime": clean.get("uptime"),
        "rtt": figures.clean_rtt(rtt),
        "figures_at": at,
    }


def in_order(cards: Iterable[Card]) -> list[Card]:
    """Return them as the page shows them: trouble first, then by name."""
    return sorted(cards, key=lambda card: (card["state"] not in TROUBLE, card["name"].lower(), card["id"]))


def _card(server: Server, there: Presence, refusal: Refusal | None) -> Card:
    facts = server.host_facts if isinstance(server.host_facts, dict) else {}
    told = of_figures(server.last_usage, server.rtt_seconds, _seconds(server.last_usage_at))
    card = {
        "id": server.pk,
        "name": visible(server.name),
        "agent_id": visible(server.agent_id),
        "state": there.state.value,
        "since": _seconds(there.since),
        "reason": there.close_reason,
        "detail": visible(there.close_detail),
        "agent_reason": visible(there.agent_reason),
        "refused": None if refusal is None else _refused(refusal),
        "os": visible(facts.get("platform") or "")[:MAX_OS],
        "tags": [visible(tag.name) for tag in server.tags.all()[:MAX_TAGS]],
        "version": visible(server.agent_version),
        **told,
    }
    return cast("Card", card)


def _refused(refusal: Refusal) -> Refused:
    at = round(refusal.last_at.timestamp(), 3)
    return {
        "reason": refusal.reason,
        "address": visible(refusal.address),
        "at": at,
        "times": refusal.times,
    }


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else round(at.timestamp(), 3)
