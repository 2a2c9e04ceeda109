"""What goes with a server that is deleted: told by number where there may be thousands of rows."""

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import NestedObjects
from django.db import models, router
from django.http import HttpRequest
from django.utils.text import capfirst

from servers.models import Server
from servers.text import visible


def what_goes(
    servers: Iterable[Server], request: HttpRequest, site: admin.AdminSite
) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
    """Return what Django's deletion pages show: what is listed, how many of what, missing permissions, what stands in the way.

    Rows of models without an admin, and of those whose admin says `goes_with_its_server`, are counted in the
    database and neither read nor listed.
    """
    servers = list(servers)
    counted = [relation for relation in _cascades() if not _has_own_admin(site, relation.related_model)]
    collector = _Collector({relation.related_model for relation in counted}, servers)
    collector.collect(servers)
    rows_of: dict[Any, Any] = collector.model_objs
    counts = {str(kind._meta.verbose_name_plural): len(rows) for kind, rows in rows_of.items()}
    for relation in counted:
        model = relation.related_model
        number = model._default_manager.filter(**{f"{relation.field.name}__in": servers}).count()
        if number and not model._meta.auto_created:  # which row stands beside which tag is no news
            counts[str(model._meta.verbose_name_plural)] = number
    return (
        collector.nested(_line),
        counts,
        _missing(collector, request, site),
        [_line(row) for row in collector.protected],
    )


class _Collector(NestedObjects):
    """Collects what is deleted, but for the rows that are only counted."""

    def __init__(self, counted: set[type[models.Model]], servers: list[Server]) -> None:
        super().__init__(using=router.db_for_write(Server), origin=servers)
        self._counted = counted

    def related_objects(self, related_model: Any, related_fields: Any, objs: Any) -> Any:
        found = super().related_objects(related_model, related_fields, objs)
        return found.none() if related_model in self._counted else found


def _cascades() -> list[Any]:
    return [
        relation
        for relation in Server._meta.get_fields(include_hidden=True)
        if relation.auto_created
        and not relation.concrete
        and getattr(relation, "on_delete", None) is models.CASCADE
    ]


def _has_own_admin(site: admin.AdminSite, model: type[models.Model]) -> bool:
    return site.is_registered(model) and not getattr(
        site.get_model_admin(model), "goes_with_its_server", False
    )


def _missing(collector: _Collector, request: HttpRequest, site: admin.AdminSite) -> set[str]:
    found: dict[Any, Any] = collector.model_objs
    return {
        str(model._meta.verbose_name)
        for model, rows in found.items()
        if site.is_registered(model)
        and not all(site.get_model_admin(model).has_delete_permission(request, row) for row in rows)
    }


def _line(row: models.Model) -> str:
    return f"{capfirst(row._meta.verbose_name)}: {visible(row)}"
