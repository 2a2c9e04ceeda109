"""The history of commands in the admin: to read, never to change."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from servers import access
from servers.admin import base
from servers.admin.display import VisibleValuesFilter, pretty_json
from servers.models import CommandRecord
from servers.text import visible

if TYPE_CHECKING:
    CommandModelAdmin = admin.ModelAdmin[CommandRecord]
else:
    CommandModelAdmin = base.ModelAdmin

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
class CommandRecordAdmin(CommandModelAdmin):
    """What was asked of which server, by whom, and how it ended."""

    list_display = ["created_at", "on_server", "what", "who", "state", "code", "seconds"]
    list_display_links = ["created_at", "what"]
    list_filter = [
        "state",
        ("service", VisibleValuesFilter),
        ("code", VisibleValuesFilter),
        ("server", admin.RelatedOnlyFieldListFilter),
    ]
    list_select_related = ["server"]
    search_fields = ["server_name", "service", "action", "actor", "code"]
    search_help_text = _("Server, service, action, person or error code")
    date_hierarchy = "created_at"
    show_full_result_count = False  # the table grows without end
    fields = _SHOWN
    readonly_fields = _SHOWN

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's signature
        """Nobody writes history by hand."""
        return False

    def has_change_permission(
        self,
        request: HttpRequest,  # noqa: ARG002 - Django's signature
        obj: CommandRecord | None = None,  # noqa: ARG002
    ) -> bool:
        """Nobody rewrites it."""
        return False

    def has_delete_permission(
        self,
        request: HttpRequest,  # noqa: ARG002 - Django's signature
        obj: CommandRecord | None = None,  # noqa: ARG002
    ) -> bool:
        """Nobody deletes it; it is pruned by age."""
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[CommandRecord]:
        """Show commands on servers the person may see, and on servers that are gone."""
        of_visible = Q(server__in=access.visible(request.user)) | Q(server=None)
        return super().get_queryset(request).filter(of_visible)

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
