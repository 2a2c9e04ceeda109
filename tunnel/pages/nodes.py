"""Node Orchestration: every server a person may see, and whether its tunnel stands."""

import time
from dataclasses import dataclass
from typing import Any, Final

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, get_script_prefix, reverse
from django.utils.translation import gettext

from servers import access
from tunnel.conf import settings
from tunnel.pages import cards, messages, words
from tunnel.pages.cards import Card
from tunnel.presence import State

EVENTS_PATH: Final = "tunnel/ws/events/"
POLL: Final = 15  # seconds between two polls while the socket is down
SILENCE: Final = 12  # seconds without a word after which the page gives the socket up; a beat comes each 5
STALE_HEARTBEATS: Final = 3  # figures older than so many heartbeats are shown as old
PLACE: Final = "0"  # stands for a primary key in the pattern of an address


@dataclass(frozen=True)
class Bar:
    """One figure of a card, ready to be shown."""

    name: str
    label: str
    percent: float | None
    title: str

    @property
    def level(self) -> str:
        """How full it is: empty, `amber` or `red`."""
        return words.level(self.percent)


def nodes(request: HttpRequest) -> HttpResponse:
    """Show the page: complete without the script, which then keeps it true."""
    site = admin.site
    request.current_app = site.name
    shown = cards.in_order(cards.read(access.visible(request.user)).values())
    active, total = cards.counts(shown)
    now = time.time()
    context = {
        **site.each_context(request),
        "title": gettext("Node Orchestration"),
        "cards": [view(card, now) for card in shown],
        "blank": view(BLANK, now),
        "active": active,
        "total": total,
        "now": {"iso": words.iso(now), "exact": words.exact(now), "moment": words.moment(now)},
        "may_view": access.allowed(request.user, None, "view"),
        "add_url": _add_url(request),
        "config": _config(shown),
    }
    return TemplateResponse(request, "tunnel/nodes.html", context)


def nodes_data(request: HttpRequest) -> HttpResponse:
    """Answer with what the live socket's snapshot says, for pages whose socket is down."""
    return JsonResponse(messages.snapshot_message(cards.read(access.visible(request.user)).values()))


def view(card: Card, now: float) -> dict[str, Any]:
    """Return a card with its words, for the template."""
    at = card["figures_at"]
    return {
        **card,
        "pill": words.pill(card),
        "url": _change_url(str(card["id"])),
        "ago": _moment(card["since"], now),
        "reason_words": words.reason(card),
        "advice": words.advice(card),
        "bars": [
            Bar("cpu", gettext("CPU"), card["cpu"], ""),
            Bar("ram", gettext("RAM"), card["ram"], words.amount(card["ram_used"], card["ram_total"])),
            Bar("disk", gettext("Disk"), card["disk"], words.amount(card["disk_used"], card["disk_total"])),
        ],
        "rtt_words": words.round_trip(card["rtt"]),
        "uptime_words": words.uptime(card["uptime"]),
        "figures_ago": _moment(at, now),
        "old": at is not None and now - at > _stale_after(),
    }


BLANK: Final = Card(
    id=0,
    name="",
    agent_id="",
    state=State.NEVER.value,
    since=None,
    reason="",
    detail="",
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


def _moment(at: float | None, now: float) -> dict[str, str] | None:
    if at is None:
        return None
    return {"iso": words.iso(at), "exact": words.exact(at), "ago": words.ago(at, now)}


def _stale_after() -> float:
    return STALE_HEARTBEATS * float(settings.HEARTBEAT)


def _config(shown: list[Card]) -> dict[str, Any]:
    return {
        "events": get_script_prefix() + EVENTS_PATH,
        "data": reverse("tunnel:nodes_data"),
        "change": _change_url(PLACE),
        "poll": POLL,
        "silence": SILENCE,
        "stale": _stale_after(),
        "amber": words.AMBER,
        "red": words.RED,
        "words": words.of_script(),
        "snapshot": messages.snapshot_message(shown),
    }


def _change_url(pk: str) -> str:
    """Return the server's page in the admin; empty in a panel that has taken it out."""
    try:
        return reverse("admin:servers_server_change", args=(pk,))
    except NoReverseMatch:
        return ""


def _add_url(request: HttpRequest) -> str:
    has_perm = getattr(request.user, "has_perm", None)
    if has_perm is None or not has_perm("servers.add_server"):
        return ""
    try:
        return reverse("admin:servers_server_add")
    except NoReverseMatch:
        return ""
