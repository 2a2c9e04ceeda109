"""The tabs of a server that this app has: its commands in the history, and its settings."""

from collections.abc import Iterator
from typing import Any, Final

from django.db.models import Model
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from servers.models import CommandRecord, Server
from servers.panels import LAST, Tab

COMMANDS: Final = "commands"
SETTINGS: Final = "settings"
_PLACE_OF_COMMANDS: Final = 60


def own(request: HttpRequest, server: Server) -> Iterator[Tab]:
    """Return the tabs of this app that lead somewhere for this person."""
    if commands := history_url(request, CommandRecord, server):
        yield Tab(COMMANDS, _("Commands"), commands, _PLACE_OF_COMMANDS)
    if settings := settings_url(request, server):
        yield Tab(SETTINGS, _("Settings"), settings, LAST)


def settings_url(request: HttpRequest, server: Server) -> str:
    """Return the page of the server's own form; empty where this person may not see it."""
    model_admin = _admin_of(Server)
    if model_admin is None or not model_admin.has_view_or_change_permission(request, server):
        return ""
    return _page(Server, "change", server.pk)


def history_url(request: HttpRequest, model: type[Model], server: Server) -> str:
    """Return the list of a model's rows of this server; empty where this person may not see it.

    The model has a foreign key `server`.
    """
    if not may_see(request, model):
        return ""
    page = _page(model, "changelist")
    return page and f"{page}?{urlencode({'server__id__exact': server.pk})}"


def record_url(record: Model) -> str:
    """Return the page of one row of a history; ask `may_see` first."""
    return _page(type(record), "change", record.pk)


def may_see(request: HttpRequest, model: type[Model]) -> bool:
    """Tell whether the admin has a list of this model and shows it to this person."""
    model_admin = _admin_of(model)
    return model_admin is not None and bool(model_admin.has_view_or_change_permission(request))


def _admin_of(model: type[Model]) -> Any:
    from django.contrib import admin  # not at the top: a panel may have no admin

    return admin.site._registry.get(model)


def _page(model: type[Model], kind: str, *arguments: object) -> str:
    try:
        return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{kind}", args=arguments)
    except NoReverseMatch:  # the panel serves its admin under another name, or not at all
        return ""
