"""The tunnel's entry in the admin's index, which works in every theme."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from servers import access
from servers.admin import base
from tunnel import (  # noqa: F401 - importing registers them
    admin_history,
    admin_recordings,
    admin_servers,
    admin_shells,
)
from tunnel.models import Node

if TYPE_CHECKING:
    NodeModelAdmin = admin.ModelAdmin[Node]
else:
    NodeModelAdmin = base.ModelAdmin


@admin.register(Node)
class NodeAdmin(NodeModelAdmin):
    """Leads to the Node Orchestration page; servers themselves are edited in their own admin."""

    def get_urls(self) -> list[URLPattern]:
        """Have the entry and no forms: those of servers are in their own admin."""
        leads_there = self.admin_site.admin_view(self.changelist_view)
        return [path("", leads_there, name="tunnel_node_changelist")]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:  # noqa: ARG002
        """Go to the page."""
        return HttpResponseRedirect(reverse("tunnel:nodes"))

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Show the entry to who may see servers."""
        return access.allowed(request.user, None, "view")

    def has_view_permission(self, request: HttpRequest, obj: Node | None = None) -> bool:
        """The same for the entry itself."""
        return access.allowed(request.user, obj, "view")

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        """Nothing is added here."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Node | None = None) -> bool:  # noqa: ARG002
        """Nothing is changed here."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Node | None = None) -> bool:  # noqa: ARG002
        """Nothing is deleted here."""
        return False
