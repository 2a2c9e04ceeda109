"""The history of shells in the admin: who opened which on which server, when, and how it ended."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import Case, Exists, F, OuterRef, QuerySet, When
from django.db.models.functions import Now
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from servers import access
from servers.admin.display import EMPTY
from servers.admin.history import HistoryAdmin, OfServerFilter
from servers.text import visible
from tunnel.admin_history import OpenFilter
from tunnel.models import Shell

WATCHES = "view_recording"
_FIELDS: list[Any] = ["on_server", "who", "program", "opened_at", "ended_at", "lasted", "why", "recorded"]


class LiveFilter(OpenFilter):
    """Narrows shells to those that live or ended."""

    ended = "ended_at"


@admin.register(Shell)
class ShellAdmin(HistoryAdmin):
    """Every shell that was opened through the panel, or found on its node. A row is deleted with its server."""

    goes_with_its_server = True
    list_select_related = ["server", "recording"]
    list_display = ["opened", "on_server", "who", "lasted", "recorded", "why"]
    list_display_links = ["opened"]
    list_filter = [LiveFilter, "opened_at", "end", OfServerFilter]
    search_fields = ["server__name", "server__agent_id", "opener", "program"]
    search_help_text = _("Server, agent ID, person or program")
    date_hierarchy = "opened_at"
    ordering = ["-opened_at"]
    fields = readonly_fields = _FIELDS
    csv_columns = (
        (_("opened at"), "opened_at"),
        (_("server"), "on_server"),
        (_("opened by"), "who"),
        (_("program"), "program"),
        (_("ended at"), "ended_at"),
        (_("how it ended"), "why"),
        (_("exit code"), "exit_code"),
        (_("shell"), "id"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Shell]:
        """Return the shells with how long they lasted, and whether this person may watch recordings there."""
        rows: QuerySet[Shell] = super().get_queryset(request)
        ended = Case(When(ended_at__isnull=True, then=Now()), default=F("ended_at"))
        watched = access.permitting(request.user, WATCHES).filter(pk=OuterRef("server"))
        return rows.annotate(length=ended - F("opened_at"), may_watch=Exists(watched))

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Let nobody find out the agent's name of a shell by asking for its letters."""
        return not lookup.startswith("handle") and super().lookup_allowed(lookup, value, request)

    @admin.display(description=_("opened at"), ordering="opened_at")
    def opened(self, shell: Shell) -> datetime:
        """When it was opened."""
        return shell.opened_at

    @admin.display(description=_("server"), ordering="server__name")
    def on_server(self, shell: Shell) -> str:
        """The server's name."""
        return visible(shell.server)

    @admin.display(description=_("opened by"), ordering="opener")
    def who(self, shell: Shell) -> str:
        """Who opened it; others may have watched and typed, which the history of commands tells."""
        return visible(shell.opener) or EMPTY

    @admin.display(description=_("length"), ordering="length")
    def lasted(self, shell: Any) -> str:
        """How long it lasted so far."""
        return str(shell.length).split(".")[0]

    @admin.display(description=_("how it ended"), ordering="end")
    def why(self, shell: Shell) -> str:
        """How it ended, or that it lives."""
        if shell.ended_at is None:
            return gettext("still open")
        how = shell.get_end_display()
        if shell.exit_code is None:
            return how
        return gettext("%(how)s, exit code %(code)d") % {"how": how, "code": shell.exit_code}

    @admin.display(description=_("recording"))
    def recorded(self, shell: Any) -> SafeString | str:
        """Where its recording plays, for who may watch it."""
        recording = getattr(shell, "recording", None)  # none: Django raises an AttributeError of its own
        if recording is None or recording.removed_at is not None or not shell.may_watch:
            return EMPTY
        address = reverse("tunnel:recording", args=(recording.pk,))
        return format_html('<a href="{}">{}</a>', address, gettext("Play"))
