"""What the project's `asgi.py` routes here: the agents' sockets, the browsers' sockets, the background jobs."""

from django.urls import path, re_path

from tunnel import installed

installed.require("servers", "tunnel")  # before the models, whose own sentence is a riddle

from tunnel.background import BackgroundConsumer  # noqa: E402
from tunnel.browser_consumers import events_application  # noqa: E402
from tunnel.consumers import AgentConsumer  # noqa: E402
from tunnel.shells.consumer import shell_application  # noqa: E402
from tunnel.worker import BACKGROUND  # noqa: E402

websocket_urlpatterns = [
    re_path(r"^tunnel/?$", AgentConsumer.as_asgi()),
    path("tunnel/ws/events/", events_application),  # type: ignore[arg-type] # an ASGI application, not a view
    path("tunnel/ws/<str:agent_id>/shell/", shell_application),  # type: ignore[arg-type] # another one
]

channel_names = {BACKGROUND: BackgroundConsumer.as_asgi()}
