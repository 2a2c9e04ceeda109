"""Node Orchestration: every server a person may see, and whether its tunnel stands."""

import time
from typing import Any, Final

from django.conf import settings as site
from django.contrib import admin
from django.contrib import messages as notices
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, JsonResponse
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, get_script_prefix, reverse
from django.utils.text import slugify
from django.utils.translation import gettext

from servers import access
from servers.models import Server
from servers.text import visible
from tunnel import presence
from tunnel.models import AlertTrouble
from tunnel.pages import cards, drawing, listing, messages, words
from tunnel.pages.cards import Card
from tunnel.pages.drawing import May
from tunnel.pages.listing import Filters, Listing
from tunnel.presence import State

EVENTS_PATH: Final = "tunnel/ws/events/"
POLL: Final = 15  # seconds between two polls while the socket is down
SILENCE: Final = 12  # seconds without a word after which the page gives the socket up; a beat comes each 5

VIEWS: Final = ("cards", "table")
VIEW_COOKIE: Final = "yt_nodes_view_"  # and who it is for: two people may use one browser
VIEW_KEPT: Final = 365 * 86_400  # seconds


def nodes(request: HttpRequest) -> HttpResponse:
    """Show the page: complete without the script, which then keeps it true."""
    request.current_app = admin.site.name
    _tell_trouble(request)
    servers = access.visible(request.user)
    filters = Filters.of(request.GET)
    found = listing.read(servers, filters)
    shown = _read(servers, found.shown)
    may = _may(request, found.shown)
    view = _view(request, found)
    answer = TemplateResponse(
        request,
        f"tunnel/nodes_{view}.html",
        {
            **admin.site.each_context(request),
            **_page(request, found, filters, view),
            **_drawn(shown, found, may),
            "config": {**_config(), "first": _told(found, shown, may)},
        },
    )
    if request.GET.get("view") == view:
        _keep(answer, request, view)
    return answer


def _tell_trouble(request: HttpRequest) -> None:
    """Tell who sees everything that people are not told of nodes as they should be."""
    if not access.everywhere(request.user, "view"):
        return
    for trouble in AlertTrouble.objects.all():
        sentence = gettext("The last alert by {way} was not taken: {problem}")
        notices.warning(request, sentence.format(way=trouble.way, problem=visible(trouble.problem)))


def nodes_data(request: HttpRequest) -> HttpResponse:
    """Answer what the page is made of, for other filters or pages of it; with `?ids=` only how these servers are."""
    servers = access.visible(request.user)
    if "ids" in request.GET:
        try:
            wanted = listing.wanted(request.GET.getlist("ids"))
        except ValueError as exc:
            return HttpResponseBadRequest(str(exc), content_type="text/plain")
        shown = cards.in_order(_read(servers, list(wanted)))
        return JsonResponse(messages.snapshot_message(shown, _counts(servers)))
    found = listing.read(servers, Filters.of(request.GET))
    return JsonResponse(_told(found, _read(servers, found.shown), _may(request, found.shown)))


def _read(servers: QuerySet[Server], pks: list[int]) -> list[Card]:
    """Return the cards of these servers in this order."""
    found = cards.read(servers.filter(pk__in=pks))
    return [found[pk] for pk in pks if pk in found]


def _counts(servers: QuerySet[Server]) -> tuple[int, int]:
    active = servers.filter(pk__in=presence.active_servers().order_by().values("pk"))
    tunnels = servers.filter(connection_type=Server.ConnectionType.TUNNEL)
    return active.order_by().count(), tunnels.order_by().count()


def _told(found: Listing, shown: list[Card], may: May) -> dict[str, Any]:
    """Return what the script is told: the cards as the live socket says them, and what is around them."""
    return {
        **messages.snapshot_message(shown, found.counts),
        "may": {permission: sorted(pks) for permission, pks in may.items()},
        "listing": {
            "whole": found.whole,
            "shown": found.shown,
            "found": found.found,
            "total": found.total,
            "page": found.page,
            "pages": found.pages,
            "states": dict(found.states),
            "tags": found.tags,
        },
    }


def _may(request: HttpRequest, pks: list[int]) -> May:
    """Return on which of these servers the menu offers more than to look."""
    needed = {permission for _, permission in drawing.LINKS.values()} - {"view"}
    return {
        permission: frozenset(
            access.permitting(request.user, permission)
            .filter(pk__in=pks)
            .order_by()
            .values_list("pk", flat=True)
        )
        for permission in sorted(needed)
    }


def _page(request: HttpRequest, found: Listing, filters: Filters, view: str) -> dict[str, Any]:
    now = time.time()
    active, total = found.counts
    return {
        "title": gettext("Node Orchestration"),
        "view": view,
        "active": active,
        "total": total,
        "listing": found,
        "filters": filters,
        "states": [
            {"value": state, "label": label, "number": number, "chosen": state in filters.states}
            for state, label in State.choices
            if (number := found.states.get(state, 0)) or state in filters.states
        ],
        "tags": [
            {"value": tag, "number": number, "chosen": tag in filters.tags} for tag, number in found.tags
        ],
        "nothing": words.nothing(filters.text),
        "range": words.range_of(found),
        "previous": filters.query(found.page - 1) if found.page > 1 else "",
        "next": filters.query(found.page + 1) if found.page < found.pages else "",
        "here": filters.query(found.page),
        "now": {"iso": words.iso(now), "exact": words.exact(now), "moment": words.moment(now)},
        "may_view": access.allowed(request.user, None, "view"),
        "add_url": _add_url(request),
        "developing": site.DEBUG,
        "nodes_url": reverse("tunnel:nodes"),
    }


def _drawn(shown: list[Card], found: Listing, may: May) -> dict[str, Any]:
    now, menu = time.time(), drawing.menu()
    return {
        "cards": [
            {**drawing.drawn(card, now, menu, may), "hidden": card["id"] not in found.matching}
            for card in shown
        ],
        "blank": drawing.drawn(drawing.BLANK, now, menu, may),
    }


def _config() -> dict[str, Any]:
    return {
        "events": get_script_prefix() + EVENTS_PATH,
        "data": reverse("tunnel:nodes_data"),
        "links": drawing.patterns(),
        "permissions": {name: permission for name, (_, permission) in drawing.LINKS.items()},
        "poll": POLL,
        "silence": SILENCE,
        "stale": drawing.stale_after(),
        "page": listing.PAGE,
        "words": words.of_script(),
    }


def _view(request: HttpRequest, found: Listing) -> str:
    """Return how this person looks at it: as asked for now, as last time, else by how much there is."""
    kept = request.COOKIES.get(_cookie(request), "")
    chosen = next((one for one in (request.GET.get("view"), kept) if one in VIEWS), None)
    return chosen or ("cards" if found.whole else "table")


def _keep(answer: HttpResponse, request: HttpRequest, view: str) -> None:
    secure = request.is_secure()
    answer.set_cookie(
        _cookie(request), view, VIEW_KEPT, path=request.path, secure=secure, httponly=True, samesite="Lax"
    )


def _cookie(request: HttpRequest) -> str:
    return VIEW_COOKIE + slugify(str(request.user.pk))


def _add_url(request: HttpRequest) -> str:
    if not access.may_add(request.user):
        return ""
    try:
        return reverse("admin:servers_server_add")
    except NoReverseMatch:
        return ""
