"""How the admin shows what nodes sent: escaped by the templates, and nothing invisible in it."""

import json
from collections.abc import Iterator
from typing import Any

from django.contrib import admin

from servers.text import visible

EMPTY = "-"


def pretty_json(value: Any) -> str:
    """Return `value` as JSON for people; a dash for nothing."""
    return visible(json.dumps(value, ensure_ascii=False, sort_keys=True)) if value else EMPTY


class VisibleValuesFilter(admin.AllValuesFieldListFilter):
    """A list filter over values that nodes chose."""

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Return the choices, with anything invisible in them made visible."""
        for choice in super().choices(changelist):
            yield choice | {"display": visible(choice["display"])}
