"""The tunnel's pages and its REST interface. Include these before the admin's own patterns: `path("", include("tunnel.urls"))`."""

from django.contrib import admin
from django.urls import URLPattern, include, path

from tunnel import installed

installed.require("servers", "tunnel")  # before the models, whose own sentence is a riddle

from tunnel import health, metrics_page  # noqa: E402
from tunnel.admin_place import below_admin  # noqa: E402
from tunnel.pages.command import server_command  # noqa: E402
from tunnel.pages.entry import admin_async  # noqa: E402
from tunnel.pages.nodes import nodes, nodes_data  # noqa: E402
from tunnel.pages.recordings import recording, recording_cast  # noqa: E402
from tunnel.pages.server import server, server_data, server_samples  # noqa: E402
from tunnel.pages.shells import shells_data  # noqa: E402
from tunnel.pages.terminal import terminal  # noqa: E402
from tunnel.pages.waiting import waiting_data  # noqa: E402

app_name = "tunnel"


def _pages() -> list[URLPattern]:
    return [
        path("tunnel/nodes/", admin.site.admin_view(nodes), name="nodes"),
        path("tunnel/nodes/data/", admin.site.admin_view(nodes_data), name="nodes_data"),
        path("tunnel/nodes/<int:pk>/waiting/", admin.site.admin_view(waiting_data), name="waiting_data"),
        path("tunnel/nodes/<int:pk>/", admin.site.admin_view(server), name="server"),
        path("tunnel/nodes/<int:pk>/data/", admin.site.admin_view(server_data), name="server_data"),
        path(
            "tunnel/nodes/<int:pk>/samples.csv", admin.site.admin_view(server_samples), name="server_samples"
        ),
        path("tunnel/nodes/<int:pk>/command/", admin_async(server_command), name="server_command"),
        path("tunnel/nodes/<int:pk>/terminal/", admin.site.admin_view(terminal), name="terminal"),
        path("tunnel/nodes/<int:pk>/shells/", admin_async(shells_data), name="shells_data"),
        path("tunnel/recordings/<uuid:recording>/", admin.site.admin_view(recording), name="recording"),
        path("tunnel/recordings/<uuid:recording>/cast/", admin_async(recording_cast), name="recording_cast"),
    ]


urlpatterns = [
    *below_admin(_pages),
    path("tunnel/metrics", metrics_page.page, name="metrics"),
    path("tunnel/healthz", health.healthz, name="healthz"),
    path("tunnel/readyz", health.readyz, name="readyz"),
    path("api/tunnel/v1/", include("tunnel.api.urls")),
]
