"""The ASGI application: pages, agents' and browsers' sockets, and the channels of the background worker."""

import gc
import os
import sys

from django.core.asgi import get_asgi_application

gc.disable()  # until all is loaded
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "yumna_panel.settings")
django_application = get_asgi_application()

# Only now are the apps loaded, which these need.
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter  # noqa: E402
from django.conf import settings  # noqa: E402

from tunnel.routing import channel_names, websocket_urlpatterns  # noqa: E402
from yumna_panel.redis_keeper import Keeper, is_server  # noqa: E402

if settings.EMBEDDED_REDIS is not None and is_server(sys.argv):
    Keeper(settings.EMBEDDED_REDIS).start()

application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": URLRouter(websocket_urlpatterns),
        "channel": ChannelNameRouter(channel_names),
    }
)

# What is loaded stays. The collector need never look at it again, which held the event loop up for 50 ms each time.
gc.freeze()
gc.enable()
