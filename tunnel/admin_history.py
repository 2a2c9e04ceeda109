"""The history of links in the admin: sessions of agents, and handshakes that were refused."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import Case, F, QuerySet, When
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from servers.admin.display import EMPTY
from servers.admin.history import HistoryAdmin, OfServerFilter
from servers.text import visible
from tunnel.models import Refusal, Session

_OF_SESSION: list[Any] = [
    "number",
    "on_server",
    "by_worker",
    "from_address",
    "opened",
    "closed",
    "lasted",
    "why",
]
_OF_SESSION += ["detail", "agent_says", "away"]
_OF_REFUSAL: list[Any] = ["on_server", "reason", "from_address", "times", "first_at", "last_at"]


class OpenFilter(admin.SimpleListFilter):
    """Narrows sessions to those that are open or ended."""

    ended = "closed_at"  # the column that says when
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:  # noqa: ARG002
        """Offer both."""
        return [("open", _("Open")), ("ended", _("Ended"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002
        """Return the chosen ones."""
        if self.value() is None:
            return queryset
        return queryset.filter(**{f"{self.ended}__isnull": self.value() == "open"})


class OfLink(HistoryAdmin):
    """What happened on the link to a server; it is deleted with its server."""

    goes_with_its_server = True
    list_select_related = ["server"]

    @admin.display(description=_("server"), ordering="server__name")
    def on_server(self, row: Any) -> str:
        """The server's name."""
        return visible(row.server)

    @admin.display(description=_("address"), ordering="address")
    def from_address(self, row: Any) -> str:
        """Where the agent dialled from."""
        return visible(row.address or "") or EMPTY


@admin.register(Session)
class SessionAdmin(OfLink):
    """When which agent was connected, from where, and why it ended, as both ends tell it."""

    list_display = ["opened", "on_server", "lasted", "why", "from_address", "closed", "agent_says"]
    list_display_links = ["opened"]
    list_filter = [OpenFilter, "close_reason", OfServerFilter]
    list_select_related = ["server", "worker"]
    search_fields = ["server__name", "server__agent_id", "address", "close_detail"]
    search_help_text = _("Server, agent ID, address or detail")
    date_hierarchy = "opened_at"
    ordering = ["-opened_at"]
    fields = readonly_fields = _OF_SESSION
    csv_columns = (
        (_("opened at"), "opened_at"),
        (_("server"), "on_server"),
        (_("address"), "from_address"),
        (_("closed at"), "closed_at"),
        (_("reason"), "why"),
        (_("detail"), "close_detail"),
        (_("what the agent says"), "agent_reason"),
        (_("worker"), "by_worker"),
        (_("session"), "id"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Session]:
        """Return the sessions with how long they lasted."""
        ended = Case(When(closed_at__isnull=True, then=Now()), default=F("closed_at"))
        rows: QuerySet[Session] = super().get_queryset(request)
        return rows.annotate(length=ended - F("opened_at"))

    @admin.display(description=_("opened at"), ordering="opened_at")
    def opened(self, session: Session) -> datetime:
        """When it began."""
        return session.opened_at

    @admin.display(description=_("closed at"), ordering="closed_at")
    def closed(self, session: Session) -> datetime | None:
        """When it ended."""
        return session.closed_at

    @admin.display(description=_("session"))
    def number(self, session: Session) -> str:
        """Its id, as logs and commands name it."""
        return str(session.pk)

    @admin.display(description=_("length"), ordering="length")
    def lasted(self, session: Any) -> str:
        """How long it lasted so far."""
        return str(session.length).split(".")[0]

    @admin.display(description=_("why it ended"), ordering="close_reason")
    def why(self, session: Session) -> str:
        """The reason as the panel saw it."""
        return session.get_close_reason_display() if session.close_reason else EMPTY

    @admin.display(description=_("detail"))
    def detail(self, session: Session) -> str:
        """More of the reason; it may quote the agent."""
        return visible(session.close_detail) or EMPTY

    @admin.display(description=_("what the agent says of the one before"))
    def agent_says(self, session: Session) -> str:
        """Why the session before this ended, as seen from the node."""
        return visible(session.agent_reason) or EMPTY

    @admin.display(description=_("seconds the agent was away before"))
    def away(self, session: Session) -> float | None:
        """How long the node had no connection, by its own clock."""
        return session.agent_away_seconds

    @admin.display(description=_("worker"))
    def by_worker(self, session: Session) -> str:
        """The process that held it."""
        return visible(session.worker)


@admin.register(Refusal)
class RefusalAdmin(OfLink):
    """Handshakes that named a server and were refused."""

    list_display = ["last_at", "on_server", "reason", "address", "times", "first_at"]
    list_display_links = ["last_at"]
    list_filter = ["reason", OfServerFilter]
    search_fields = ["server__name", "server__agent_id", "address"]
    search_help_text = _("Server, agent ID or address")
    date_hierarchy = "last_at"
    ordering = ["-last_at"]
    fields = readonly_fields = _OF_REFUSAL
    csv_columns = (
        (_("last"), "last_at"),
        (_("server"), "on_server"),
        (_("reason"), "reason"),
        (_("address"), "address"),
        (_("times"), "times"),
        (_("first"), "first_at"),
    )
