"""The history of commands in the admin: to read, never to change."""

from typing import Any

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from servers.admin.display import VisibleValuesFilter, pretty_json
from servers.admin.history import HistoryAdmin, OfServerFilter
from servers.models import CommandRecord
from servers.text import visible

_SHOWN: list[Any] = [
    "id",
    "on_server",
    "what",
    "who",
    "given",
    "state",
    "code",
    "sentence",
    "created_at",
    "finished_at",
    "seconds",
]


@admin.register(CommandRecord)
class CommandRecordAdmin(HistoryAdmin):
    """What was asked of which server, by whom, and how it ended."""

    list_display = ["created_at", "on_server", "what", "who", "state", "code", "seconds"]
    list_display_links = ["created_at", "what"]
    list_filter = [
        "state",
        ("service", VisibleValuesFilter),
        ("code", VisibleValuesFilter),
        OfServerFilter,
    ]
    list_select_related = ["server"]
    search_fields = ["server_name", "service", "action", "actor", "code"]
    search_help_text = _("Server, service, action, person or error code")
    date_hierarchy = "created_at"
    fields = _SHOWN
    readonly_fields = _SHOWN
    csv_columns = (
        (_("created at"), "created_at"),
        (_("server"), "on_server"),
        (_("command"), "what"),
        (_("parameters"), "given"),
        (_("who"), "actor"),
        (_("state"), "state"),
        (_("code"), "code"),
        (_("error"), "error"),
        (_("seconds"), "seconds"),
    )

    @admin.display(description=_("server"), ordering="server_name")
    def on_server(self, record: CommandRecord) -> str:
        """The server's name, as it is now or was when it was deleted."""
        return visible(record.server.name if record.server else record.server_name)

    @admin.display(description=_("command"), ordering="action")
    def what(self, record: CommandRecord) -> str:
        """Service and action."""
        return visible(record)

    @admin.display(description=_("who"), ordering="actor")
    def who(self, record: CommandRecord) -> str:
        """The person's name at that time."""
        return visible(record.actor)

    @admin.display(description=_("parameters"))
    def given(self, record: CommandRecord) -> str:
        """The parameters, without what is not kept."""
        return pretty_json(record.params)

    @admin.display(description=_("error"))
    def sentence(self, record: CommandRecord) -> str:
        """What the node or the panel said."""
        return visible(record.error) or self.get_empty_value_display()

    @admin.display(description=_("seconds"), ordering="duration_seconds")
    def seconds(self, record: CommandRecord) -> str | None:
        """How long it took."""
        return None if record.duration_seconds is None else f"{record.duration_seconds:.2f}"
