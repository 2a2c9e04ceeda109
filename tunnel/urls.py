"""The tunnel's pages and its REST interface. Include these before the admin's own patterns: `path("", include("tunnel.urls"))`."""

from django.contrib import admin
from django.urls import URLPattern, include, path

from tunnel import installed

installed.require("servers", "tunnel")  # before the models, whose own sentence is a riddle

from tunnel.admin_place import below_admin  # noqa: E402
from tunnel.pages.nodes import nodes, nodes_data  # noqa: E402
from tunnel.pages.waiting import waiting_data  # noqa: E402

app_name = "tunnel"


def _pages() -> list[URLPattern]:
    return [
        path("tunnel/nodes/", admin.site.admin_view(nodes), name="nodes"),
        path("tunnel/nodes/data/", admin.site.admin_view(nodes_data), name="nodes_data"),
        path("tunnel/nodes/<int:pk>/waiting/", admin.site.admin_view(waiting_data), name="waiting_data"),
    ]


urlpatterns = [*below_admin(_pages), path("api/tunnel/v1/", include("tunnel.api.urls"))]
