"""The page of one server: its link, its figures, its last commands, and a box to run one."""

import time
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.urls import get_script_prefix, reverse
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from servers import access, panels, second_factor, tabs, transports
from servers.models import Server
from servers.text import visible
from tunnel import presence
from tunnel.pages import (
    cards,
    charts,
    drawing,
    last_commands,
    link_panel,
    nodes,
    server_words,
    shells,
    words,
)
from tunnel.pages.cards import Card
from tunnel.pages.command_form import CommandForm
from tunnel.pages.replies import Reply
from tunnel.presence import Presence

TAB: Final = "overview"
NAME_IN_FILE: Final = 64  # characters of an agent ID, as docs/protocol.md §1 has them


@require_safe
def server(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the page: complete without the script, which then keeps it true."""
    return page(request, find(request, pk))


@require_safe
def server_data(request: HttpRequest, pk: int) -> HttpResponse:
    """Answer with what the page shows of a server, for its script."""
    return JsonResponse(_Seen(request, find(request, pk)).for_script())


@require_safe
def server_samples(request: HttpRequest, pk: int) -> HttpResponse:
    """Answer with the figures of the last hour as a CSV file."""
    found = find(request, pk)
    name = "".join(char for char in found.agent_id if char.isascii() and (char.isalnum() or char in "._-"))
    return HttpResponse(
        charts.csv_text(charts.last_hour(found)),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name[:NAME_IN_FILE]}.csv"'},
    )


def find(request: HttpRequest, pk: int) -> Server:
    """Return a server this person may see.

    Raises:
        Http404: there is none; one that is not theirs to see looks the same.
    """
    found = access.visible(request.user).filter(pk=pk).first()
    if found is None:
        raise Http404
    return found


def confirm_url(found: Server) -> str:
    """Return the page that asks for a second factor and leads back to this server."""
    return second_factor.page(back=reverse("tunnel:server", args=(found.pk,)))


def page(
    request: HttpRequest, found: Server, form: CommandForm | None = None, reply: Reply | None = None
) -> TemplateResponse:
    """Return the page, with a command and its answer where one was run without the script."""
    site = admin.site
    request.current_app = site.name
    seen = _Seen(request, found)
    now = time.time()
    context = {
        **site.each_context(request),
        "title": visible(found.name),
        "server": found,
        "tabs": panels.tabs(request, found),
        "card": drawing.drawn(seen.card, now, [], {}),
        "link": seen.link,
        "events": [{**event, **_moment(event["at"], now)} for event in seen.link["events"]],
        "since": None if seen.card["since"] is None else _moment(seen.card["since"], now),
        "now": {"iso": words.iso(now), "exact": words.exact(now), "moment": words.moment(now)},
        "commands": [{**row, **_moment(row["at"], now)} for row in seen.commands],
        "charts": charts.drawn(),
        "rows": charts.table(seen.columns),
        "shells": [{**row, **_moment(row["at"], now)} for row in seen.shells],
        "may_run": seen.may_run,
        "disabled": seen.disabled,
        "confirm": seen.confirm,
        "settings_url": tabs.settings_url(request, found),
        "form": form or CommandForm(),
        "services": [visible(name) for name in _services(found)],
        "reply": reply,
        "config": _config(seen),
    }
    return TemplateResponse(request, "tunnel/server.html", context)


class _Seen:
    """What one person sees of one server at this moment."""

    def __init__(self, request: HttpRequest, found: Server) -> None:
        card = cards.read(access.visible(request.user).filter(pk=found.pk)).get(found.pk)
        there: Presence | None = presence.of([found]).get(found.pk)
        if card is None or there is None:  # deleted a moment ago
            raise Http404
        self.pk = found.pk
        self.card: Card = card
        self.link = link_panel.read(found, card, there)
        self.commands = last_commands.read(request, found)
        self.columns = charts.last_hour(found)
        self.shells = shells.read(request, found)
        self.may_run = access.allowed(request.user, found, "run_command")
        self.confirm = "" if second_factor.recent(request) else confirm_url(found)
        self.disabled = _disabled(found, there) or (server_words.confirm() if self.confirm else "")

    def for_script(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "now": round(time.time(), 3),
            "card": self.card,
            "link": self.link,
            "commands": self.commands,
            "samples": self.columns,
            "disabled": self.disabled,
            "confirm": self.confirm,
        }


def _disabled(found: Server, there: Presence) -> str:
    """Return why no command can be sent now; empty when one can."""
    transport = transports.for_server(found)
    if isinstance(transport, transports.Absent):
        return gettext("This panel cannot reach servers of this connection type.")
    return server_words.disabled(there.state)


def _services(found: Server) -> list[str]:
    told = found.capabilities if isinstance(found.capabilities, list) else []
    return [name for name in told if isinstance(name, str)][: link_panel.EVENTS]


def _moment(at: float, now: float) -> dict[str, str]:
    return {
        "iso": words.iso(at),
        "exact": words.exact(at),
        "moment": words.moment(at),
        "ago": words.ago(at, now),
    }


def _config(seen: _Seen) -> dict[str, Any]:
    return {
        "id": seen.pk,
        "events": f"{get_script_prefix()}{nodes.EVENTS_PATH}?{urlencode({'ids': seen.pk})}",
        "data": reverse("tunnel:server_data", args=(seen.pk,)),
        "command": reverse("tunnel:server_command", args=(seen.pk,)),
        "nodes": reverse("tunnel:nodes"),
        "poll": nodes.POLL,
        "silence": nodes.SILENCE,
        "gap": charts.gap(),
        "window": 3600,
        "charts": charts.drawn(),
        "words": server_words.of_script(),
        "shells": {"url": reverse("tunnel:shells_data", args=(seen.pk,)), "poll": shells.POLL},
        "seen": seen.for_script(),
    }
