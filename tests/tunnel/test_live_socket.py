"""The browsers' socket: who may open it, from where, and what it says (the real routing, a real database)."""

import json

import pytest
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.test import Client

from servers import identity
from servers.models import Server
from servers.threads import in_thread
from tunnel.live import hub
from tunnel.routing import websocket_urlpatterns

pytestmark = pytest.mark.django_db(transaction=True)
HOST = "panel.example.org"


@pytest.fixture(autouse=True)
def _hosts(settings):
    settings.ALLOWED_HOSTS = [HOST]


@pytest.fixture
async def cookie():
    """A superuser's session cookie."""

    def log_in() -> str:
        user = get_user_model().objects.create_superuser("admin", password="pw")
        client = Client()
        client.force_login(user)
        return client.cookies["sessionid"].value

    return await in_thread(log_in)


def dial(
    cookie: str | None, origin: str | None, *, scheme: str = "wss", host: str = HOST
) -> WebsocketCommunicator:
    headers = [(b"host", host.encode())]
    headers += [(b"cookie", f"sessionid={cookie}".encode())] if cookie else []
    headers += [(b"origin", origin.encode())] if origin is not None else []
    made = WebsocketCommunicator(URLRouter(websocket_urlpatterns), "/tunnel/ws/events/", headers)
    made.scope |= {"scheme": scheme, "client": ["203.0.113.9", 1], "server": [HOST, 443]}
    return made


@pytest.mark.parametrize(
    ("origin", "welcome"),
    [
        (f"https://{HOST}", True),
        (f"https://{HOST}:443", True),
        (None, False),
        ("null", False),
        ("", False),
        (f"http://{HOST}", False),
        (f"https://{HOST}:8443", False),
        ("https://evil.example.org", False),
        (f"https://{HOST}.evil.example.org", False),
        (f"https://{HOST}@evil.example.org", False),
        ("https://evil.example.org/" + HOST, False),
    ],
)
async def test_only_the_panels_own_pages_may_open_it(redis_url, cookie, origin, welcome):
    socket = dial(cookie, origin)
    connected, _ = await socket.connect(5)
    assert connected is welcome
    await socket.disconnect()


async def test_who_is_not_logged_in_is_refused(redis_url):
    socket = dial(None, f"https://{HOST}")
    assert (await socket.connect(5))[0] is False
    await socket.disconnect()


async def test_it_begins_with_a_snapshot_and_tells_what_changes(redis_url, cookie):
    server, _ = await in_thread(identity.create, "web-01")
    socket = dial(cookie, f"https://{HOST}")
    assert (await socket.connect(5))[0] is True
    snapshot = json.loads(await socket.receive_from(5))
    assert snapshot["type"] == "snapshot"
    assert [card["name"] for card in snapshot["cards"]] == ["web-01"]
    await in_thread(lambda: Server.objects.filter(pk=server.pk).update(name="web-99"))
    hub.state_changed(server.pk)
    patch = json.loads(await socket.receive_from(5))
    assert patch["cards"] == [{"id": server.pk, "name": "web-99"}]
    pk = server.pk
    await in_thread(server.delete)
    gone = {}
    while "gone" not in gone:
        gone = json.loads(await socket.receive_from(6))
    assert gone["gone"] == [pk]
    await socket.disconnect()


async def test_figures_are_cleaned_before_a_browser_sees_them(redis_url, cookie):
    server, _ = await in_thread(identity.create, "web-01")
    socket = dial(cookie, f"https://{HOST}")
    await socket.connect(5)
    await socket.receive_from(5)
    hub.figures(
        server.pk, {"cpu": 9e99, "ramPercent": "<b>", "disk": -5, "evil": "<script>"}, 1e9, 1_900_000_000.0
    )
    patch = json.loads(await socket.receive_from(5))["cards"][0]
    assert (patch["cpu"], patch["ram"], patch["disk"], patch["rtt"]) == (100.0, None, 0, None)
    assert "evil" not in patch
    await socket.disconnect()


async def test_who_loses_the_right_to_see_anything_is_shown_out(redis_url, cookie):
    await in_thread(identity.create, "web-01")
    socket = dial(cookie, f"https://{HOST}")
    await socket.connect(5)
    await socket.receive_from(5)
    await in_thread(lambda: get_user_model().objects.update(is_active=False))
    message = {"type": ""}
    while message["type"] != "websocket.close":
        message = await socket.receive_output(8)
    assert message["code"] == 4003


async def test_a_browser_that_talks_is_cut_off(redis_url, cookie):
    socket = dial(cookie, f"https://{HOST}")
    await socket.connect(5)
    for _ in range(25):
        await socket.send_to("x")
    message = {"type": ""}
    while message["type"] != "websocket.close":
        message = await socket.receive_output(5)
