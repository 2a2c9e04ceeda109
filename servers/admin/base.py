"""The class every admin of ours stands on: Django's, or the one of django-unfold in a panel that wears it.

Under unfold a plain ModelAdmin loses the borders of its inputs and its add button, for unfold's widgets and templates
come with its own class.
"""

from typing import TYPE_CHECKING

from django.apps import apps
from django.contrib import admin
from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin, StackedInline, TabularInline
else:
    _place = "unfold.admin" if apps.is_installed("unfold") else admin.__name__
    ModelAdmin, StackedInline, TabularInline = (
        import_string(f"{_place}.{name}") for name in ("ModelAdmin", "StackedInline", "TabularInline")
    )

__all__ = ["ModelAdmin", "StackedInline", "TabularInline"]
