"""The tunnel's pages. Include these before the admin's own patterns: `path("", include("tunnel.urls"))`."""

from django.contrib import admin
from django.urls import path

from tunnel.pages.command import server_command
from tunnel.pages.entry import admin_async
from tunnel.pages.nodes import nodes, nodes_data
from tunnel.pages.server import server, server_data, server_samples

app_name = "tunnel"
urlpatterns = [
    path("admin/tunnel/nodes/", admin.site.admin_view(nodes), name="nodes"),
    path("admin/tunnel/nodes/data/", admin.site.admin_view(nodes_data), name="nodes_data"),
    path("admin/tunnel/nodes/<int:pk>/", admin.site.admin_view(server), name="server"),
    path("admin/tunnel/nodes/<int:pk>/data/", admin.site.admin_view(server_data), name="server_data"),
    path(
        "admin/tunnel/nodes/<int:pk>/samples.csv",
        admin.site.admin_view(server_samples),
        name="server_samples",
    ),
    path("admin/tunnel/nodes/<int:pk>/command/", admin_async(server_command), name="server_command"),
]
