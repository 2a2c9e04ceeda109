"""The tunnel's pages and its REST interface. Include these before the admin's own patterns: `path("", include("tunnel.urls"))`."""

from django.contrib import admin
from django.urls import include, path

from tunnel import health, metrics_page
from tunnel.pages.nodes import nodes, nodes_data

app_name = "tunnel"
urlpatterns = [
    path("admin/tunnel/nodes/", admin.site.admin_view(nodes), name="nodes"),
    path("admin/tunnel/nodes/data/", admin.site.admin_view(nodes_data), name="nodes_data"),
    path("tunnel/metrics", metrics_page.page, name="metrics"),
    path("tunnel/healthz", health.healthz, name="healthz"),
    path("tunnel/readyz", health.readyz, name="readyz"),
    path("api/tunnel/v1/", include("tunnel.api.urls")),
]
