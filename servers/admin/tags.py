"""Tags in the admin; there so that forms can find and add them."""

from typing import TYPE_CHECKING

from django.contrib import admin

from servers.admin import base
from servers.models import Tag

if TYPE_CHECKING:
    TagModelAdmin = admin.ModelAdmin[Tag]
else:
    TagModelAdmin = base.ModelAdmin


@admin.register(Tag)
class TagAdmin(TagModelAdmin):
    """The words servers are grouped by."""

    search_fields = ["name"]
