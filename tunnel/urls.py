"""The tunnel's pages. Include these before the admin's own patterns: `path("", include("tunnel.urls"))`."""

from django.contrib import admin
from django.urls import path

from tunnel.pages.nodes import nodes, nodes_data
from tunnel.pages.waiting import waiting_data

app_name = "tunnel"
urlpatterns = [
    path("admin/tunnel/nodes/", admin.site.admin_view(nodes), name="nodes"),
    path("admin/tunnel/nodes/data/", admin.site.admin_view(nodes_data), name="nodes_data"),
    path("admin/tunnel/nodes/<int:pk>/waiting/", admin.site.admin_view(waiting_data), name="waiting_data"),
]
