"""The list of servers with what the tunnel knows of them: a live pill, and a filter by state.

It stands in the place of `servers.admin.ServerAdmin`. A panel that registers a class of its own, for its theme say,
derives it from `TunnelServerAdmin`.
"""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import get_script_prefix
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from servers.admin import ServerAdmin
from servers.models import Server
from tunnel import presence
from tunnel.pages.nodes import EVENTS_PATH
from tunnel.presence import State

MAX_LIVE = 200  # servers one socket follows; a longer page shows its pills as they were when it was made


class StateFilter(admin.SimpleListFilter):
    """Narrows the list to the servers with one pill."""

    title = _("tunnel")
    parameter_name = "tunnel"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:  # noqa: ARG002
        """Offer every state."""
        return [(state.value, state.label) for state in State]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Server]) -> QuerySet[Server]:  # noqa: ARG002
        """Return the servers in the chosen state; none in one nobody knows."""
        chosen = self.value()
        return queryset if chosen is None else presence.in_state(queryset, chosen)


class PillList(ChangeList):
    """Reads the presence of the servers of one page, all at once."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the page, then who of it is there."""
        super().get_results(request)
        rows = list(self.result_list)
        there = presence.of(rows)
        for server in rows:
            server.tunnel_presence = there.get(server.pk)
        self.result_list = rows


class TunnelServerAdmin(ServerAdmin):
    """The admin of servers, with pills."""

    list_display = ["shown_name", "pill", "shown_agent_id", "version", "last_seen", "tag_names"]
    list_filter = [StateFilter, *ServerAdmin.list_filter]
    change_list_template = "admin/tunnel/server_list.html"

    class Media:
        css = {"all": ["tunnel/waiting.css"]}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:  # noqa: ARG002
        """Return the list that knows who is there."""
        return PillList

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Add what the script needs to keep the pills true."""
        response = super().changelist_view(request, extra_context)
        shown = getattr(response, "context_data", None) or {}
        if "cl" in shown:
            pks = [server.pk for server in shown["cl"].result_list][:MAX_LIVE]
            words = {state.value: str(state.label) for state in State}
            path = f"{get_script_prefix()}{EVENTS_PATH}?ids={','.join(map(str, pks))}"
            shown["pills"] = {"events": path if pks else "", "words": words}
        return response

    @admin.display(description=_("tunnel"))
    def pill(self, server: Any) -> SafeString:
        """The state of the tunnel, in a word."""
        there = getattr(server, "tunnel_presence", None)
        if there is None:
            return SafeString(self.get_empty_value_display())
        return format_html(
            '<span class="yt-mark" data-state="{}" data-pill="{}">{}</span>',
            there.state.value,
            server.pk,
            there.state.label,
        )


if admin.site.is_registered(Server):
    admin.site.unregister(Server)
admin.site.register(Server, TunnelServerAdmin)
