"""What the project's `asgi.py` routes here: the agents' sockets, the browsers' sockets, the background jobs."""

from django.urls import path, re_path

from tunnel.background import BackgroundConsumer
from tunnel.browser_consumers import events_application
from tunnel.consumers import AgentConsumer
from tunnel.worker import BACKGROUND

websocket_urlpatterns = [
    re_path(r"^tunnel/?$", AgentConsumer.as_asgi()),
    path("tunnel/ws/events/", events_application),  # type: ignore[arg-type] # an ASGI application, not a view
]

channel_names = {BACKGROUND: BackgroundConsumer.as_asgi()}
