"""The list of recordings in the admin: for who may watch them, which seeing a server does not include."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from servers import access
from servers.admin.display import EMPTY
from servers.admin.history import HistoryAdmin, OfServerFilter
from servers.text import visible
from tunnel.models import Recording
from tunnel.pages import recording_words

RIGHT = "view_recording"
_FIELDS: list[Any] = [
    "play",
    "on_server",
    "who",
    "program",
    "started_at",
    "lasted",
    "bytes",
    "why",
    "ended_at",
]
_FIELDS += ["missing", "removed_at"]


@admin.register(Recording)
class RecordingAdmin(HistoryAdmin):
    """Who had which shell recorded, when and how long. A recording is deleted with its server."""

    goes_with_its_server = True
    list_select_related = ["server"]
    list_display = ["started", "on_server", "who", "lasted", "bytes", "why", "play"]
    list_display_links = ["started"]
    list_filter = ["started_at", "end", OfServerFilter]
    search_fields = ["server__name", "server__agent_id", "opener", "program"]
    search_help_text = _("Server, agent ID, person or program")
    date_hierarchy = "started_at"
    ordering = ["-started_at"]
    fields = readonly_fields = _FIELDS
    csv_columns = (
        (_("started at"), "started_at"),
        (_("server"), "on_server"),
        (_("opened by"), "who"),
        (_("length in seconds"), "seconds"),
        (_("size of the file in bytes"), "size"),
        (_("ended at"), "ended_at"),
        (_("why it ended"), "why"),
        (_("exit code"), "exit_code"),
        (_("recording"), "id"),
    )

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Show the entry to who may watch any."""
        return access.allowed(request.user, None, RIGHT)

    def has_view_permission(self, request: HttpRequest, obj: Recording | None = None) -> bool:
        """Ask for the right to watch, on this server."""
        return access.allowed(request.user, None if obj is None else obj.server, RIGHT)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Recording]:
        """Return the recordings of the servers on which this person may watch them."""
        rows: QuerySet[Recording] = super().get_queryset(request)
        if access.everywhere(request.user, RIGHT):
            return rows
        return rows.filter(server__in=access.permitting(request.user, RIGHT))

    @admin.display(description=_("started at"), ordering="started_at")
    def started(self, row: Recording) -> datetime:
        """When it began."""
        return row.started_at

    @admin.display(description=_("server"), ordering="server__name")
    def on_server(self, row: Recording) -> str:
        """The server's name."""
        return visible(row.server)

    @admin.display(description=_("opened by"), ordering="opener")
    def who(self, row: Recording) -> str:
        """Who opened the shell; somebody else may have typed too."""
        return visible(row.opener) or EMPTY

    @admin.display(description=_("length"), ordering="seconds")
    def lasted(self, row: Recording) -> str:
        """How long it plays."""
        return recording_words.length(row)

    @admin.display(description=_("size"), ordering="size")
    def bytes(self, row: Recording) -> str:
        """How large its file is."""
        return filesizeformat(row.size)

    @admin.display(description=_("end"), ordering="end")
    def why(self, row: Recording) -> str:
        """Why it ended, or that it goes on."""
        return recording_words.removed(row) or recording_words.end(row)

    @admin.display(description=_("recording"))
    def play(self, row: Recording) -> SafeString | str:
        """Where it plays."""
        if row.removed_at is not None:
            return EMPTY
        return format_html(
            '<a href="{}">{}</a>', reverse("tunnel:recording", args=(row.pk,)), gettext("Play")
        )
