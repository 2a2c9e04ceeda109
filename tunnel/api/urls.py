"""The routes of the REST interface; `tunnel.urls` mounts them at `/api/tunnel/v1/`."""

from django.urls import path, re_path

from tunnel.api import command_views, explained, history_views, me, schema, server_views, standing
from tunnel.api.views import outside_transactions

app_name = "api"

_SERVER = "servers/<str:agent_id>/"

urlpatterns = [
    path("servers/", server_views.Servers.as_view(), name="servers"),
    path(_SERVER, server_views.OneServer.as_view(), name="server"),
    *(
        path(f"{_SERVER}{verb}/", outside_transactions(view.as_view()), name=verb)
        for verb, view in {
            "suspend": standing.Suspend,
            "activate": standing.Activate,
            "disconnect": standing.Disconnect,
            "rotate-secret": standing.RotateSecret,
            "commands": command_views.ServerCommands,
        }.items()
    ),
    path("commands/", history_views.Commands.as_view(), name="history"),
    path("commands/<uuid:pk>/", history_views.OneCommand.as_view(), name="command"),
    path("sessions/", history_views.Sessions.as_view(), name="sessions"),
    path("sessions/<uuid:pk>/", history_views.OneSession.as_view(), name="session"),
    path("events/", history_views.Events.as_view(), name="events"),
    path("me/", me.Me.as_view(), name="me"),
    path("schema/", schema.Schema.as_view(), name="schema"),
    path("docs/", schema.docs, name="docs"),
    path("problems/<str:code>/", explained.Explained.as_view(), name="problem"),
    re_path(r"", explained.Nothing.as_view(schema=None), name="nothing"),
]
