"""What the pages of history have in common: read, never changed, and no more of it than of the servers one may see."""

import csv
from collections.abc import Iterator
from typing import Any, Final

from django.contrib import admin, messages
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from servers import access
from servers.admin import base
from servers.text import visible

MAX_ROWS: Final = 20_000  # of one export; about 10 MB, which a spreadsheet still opens
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # the wide ones count too


class OfServerFilter(admin.SimpleListFilter):
    """Narrows a history to one server when a link asks for it; a list of all servers would be longer than the page."""

    title = gettext_lazy("server")
    parameter_name = "server__id__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Offer the server that is chosen, if the person may see it."""
        pk = request.GET.get(self.parameter_name, "")
        server = (
            access.visible(request.user).filter(pk=pk).first() if pk.isdecimal() and len(pk) < 19 else None
        )
        return [] if server is None else [(pk, visible(server))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002
        """Return what belongs to the chosen server; nothing when there is no such server for this person."""
        if self.value() is None:
            return queryset
        pks = [pk for pk, _name in self.lookup_choices]
        return queryset.filter(server__in=pks)

    def has_output(self) -> bool:
        """Count as a filter even with nothing to offer, so that an unknown server shows nothing."""
        return self.value() is not None


class HistoryAdmin(base.ModelAdmin):  # type: ignore[type-arg] # Django's own class takes no parameter when it runs
    """Rows of what happened on servers, each with a `server`; who may see the server may see them.

    `csv_columns` are (heading, method or attribute) of the export.
    """

    actions = ["export_csv"]
    csv_columns: tuple[tuple[Any, str], ...] = ()
    show_full_result_count = False  # such tables grow without end
    list_per_page = 100

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Show the entry in the index to who may see any server."""
        return access.allowed(request.user, None, "view")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Ask `servers.access`; history of servers that are gone is for who may see all servers."""
        if obj is not None and obj.server is None:
            return access.everywhere(request.user, "view")
        return access.allowed(request.user, None if obj is None else obj.server, "view")

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's signature
        """Nobody writes history by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Nobody rewrites it."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Nobody deletes it; it is pruned by age."""
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the rows of the servers this person may see."""
        rows = super().get_queryset(request)
        if access.everywhere(request.user, "view"):
            return rows
        return rows.filter(Q(server__in=access.visible(request.user)))

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Let an address ask about the filters of the page, and about nothing else."""
        return lookup == OfServerFilter.parameter_name or super().lookup_allowed(lookup, value, request)

    @admin.action(description=gettext_lazy("Download selected rows as CSV"), permissions=["view"])
    def export_csv(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        """Answer with a file a spreadsheet opens, in which nothing that a node wrote is a formula."""
        response = HttpResponse(content_type="text/csv; charset=utf-8")
        name = f"{self.opts.model_name}s-{timezone.now():%Y%m%d-%H%M%S}.csv"
        response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
        response.headers["Cache-Control"] = "no-store"
        response.write("\ufeff")  # without it Excel takes UTF-8 for something else
        writer = csv.writer(response, quoting=csv.QUOTE_ALL)
        writer.writerow([cell(heading) for heading, _source in self.csv_columns])
        for row in queryset[:MAX_ROWS]:
            writer.writerow(self._cells(row))
        if len(queryset[MAX_ROWS : MAX_ROWS + 1]):
            note = _("Only the first %d rows were written; narrow the list.") % MAX_ROWS
            writer.writerow([cell(note)])
            self.message_user(request, note, messages.WARNING)
        return response

    def _cells(self, row: Model) -> Iterator[str]:
        for _heading, source in self.csv_columns:
            own = getattr(self, source, None)
            value = own(row) if callable(own) else getattr(row, source)
            yield cell("" if value is None else value.isoformat() if hasattr(value, "isoformat") else value)


def cell(value: object) -> str:
    """Return `value` as a cell: control characters visible, and no beginning that a spreadsheet would compute."""
    text = str(value)
    shown = visible(text)
    return f"'{shown}" if text.lstrip(" ").startswith(_FORMULA) else shown
