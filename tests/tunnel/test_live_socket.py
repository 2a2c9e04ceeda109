"""The browsers' socket: who may open it, from where, and what it says (the real routing, a real database)."""

import json
import time
from datetime import timedelta
from typing import Any

import pytest
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from servers import identity
from servers.models import Server
from servers.threads import in_thread
from tests.bench_data import fill
from tunnel import live, viewers
from tunnel.live import Hub, Watch, hub
from tunnel.models import Session, Worker
from tunnel.pages.listing import WHOLE
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
    cookie: str | None, origin: str | None, *, scheme: str = "wss", host: str = HOST, query: str = ""
) -> WebsocketCommunicator:
    headers = [(b"host", host.encode())]
    headers += [(b"cookie", f"sessionid={cookie}".encode())] if cookie else []
    headers += [(b"origin", origin.encode())] if origin is not None else []
    made = WebsocketCommunicator(URLRouter(websocket_urlpatterns), f"/tunnel/ws/events/{query}", headers)
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


async def test_who_loses_the_right_to_see_anything_is_shown_out(redis_url, cookie, monkeypatch):
    monkeypatch.setattr(live, "RECHECK", 1.0)
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


async def said(socket: WebsocketCommunicator, kind: str, seconds: float = 6) -> dict[str, Any]:
    """The next message of this type."""
    message: dict[str, Any] = {"type": ""}
    while message["type"] != kind:
        message = json.loads(await socket.receive_from(seconds))
    return message


async def test_a_page_of_some_servers_is_told_of_them_and_counts_all(redis_url, cookie):
    pks = [(await in_thread(identity.create, name))[0].pk for name in ("web-01", "web-02", "web-03")]
    socket = dial(cookie, f"https://{HOST}", query=f"?ids={pks[0]},{pks[2]},999999")
    assert (await socket.connect(5))[0] is True
    snapshot = await said(socket, "snapshot")
    assert [card["id"] for card in snapshot["cards"]] == [pks[0], pks[2]]
    assert snapshot["counts"] == [0, 3]
    await in_thread(lambda: Server.objects.filter(pk__in=pks).update(agent_version="9.9"))
    hub.state_changed(pks[1])  # nobody looks at this one
    hub.state_changed(pks[2])
    patch = await said(socket, "patch")
    assert patch["cards"] == [{"id": pks[2], "version": "9.9"}]
    assert (await said(socket, "beat", 8))["counts"] == [0, 3]
    await socket.disconnect()


async def test_a_tunnel_that_opens_elsewhere_changes_the_counts_within_a_second(redis_url, cookie):
    seen, other = [(await in_thread(identity.create, name))[0].pk for name in ("web-01", "web-02")]
    socket = dial(cookie, f"https://{HOST}", query=f"?ids={seen}")
    await socket.connect(5)
    await said(socket, "snapshot")
    await in_thread(_open_session, other)
    hub.state_changed(other)
    started = time.monotonic()
    patch = await said(socket, "patch")
    assert time.monotonic() - started < 1
    assert (patch["cards"], patch["counts"]) == ([], [1, 2])
    await socket.disconnect()


def _open_session(server: int) -> None:
    worker = Worker.objects.order_by("started_at").last()
    assert worker is not None
    Worker.objects.filter(pk=worker.pk).update(lease_until=timezone.now() + timedelta(hours=1))
    Session.objects.create(server_id=server, worker=worker, secret_version=1)


@pytest.mark.parametrize(
    "ids", ["x", "1;2", "-1", "1.0", "%00", "9" * 30, ",".join(map(str, range(WHOLE + 1)))]
)
async def test_a_page_that_asks_for_nonsense_is_refused(redis_url, cookie, ids):
    socket = dial(cookie, f"https://{HOST}", query=f"?ids={ids}")
    assert (await socket.connect(5))[0] is False
    await socket.disconnect()


async def test_a_page_that_asks_for_none_is_told_the_counts(redis_url, cookie):
    await in_thread(identity.create, "web-01")
    socket = dial(cookie, f"https://{HOST}", query="?ids=")
    await socket.connect(5)
    snapshot = await said(socket, "snapshot")
    assert (snapshot["cards"], snapshot["counts"]) == ([], [0, 1])
    await socket.disconnect()


async def test_a_page_that_asks_for_more_than_it_can_be_told_hears_so(redis_url, cookie):
    await in_thread(fill, WHOLE + 1, samples=0)
    socket = dial(cookie, f"https://{HOST}")
    await socket.connect(5)
    message = await said(socket, "too_many")
    assert message["counts"][1] > WHOLE * 0.9
    await in_thread(lambda: Server.objects.order_by("pk").first().delete())
    snapshot = await said(socket, "snapshot", 8)
    assert snapshot["more"] is True
    await socket.disconnect()


async def test_a_person_is_told_of_the_servers_of_that_person_only(redis_url):
    def prepare() -> tuple[str, int]:
        from servers.models import Grant, ServerGroup

        group = ServerGroup.objects.create(name="mine")
        mine = identity.create("mine")[0]
        identity.create("other")
        group.servers.add(mine)
        user = get_user_model().objects.create_user("staff", password="pw", is_staff=True)
        Grant.objects.create(server_group=group, user=user, permissions=["view"])
        client = Client()
        client.force_login(user)
        return client.cookies["sessionid"].value, mine.pk

    cookie, mine = await in_thread(prepare)
    for query in ("", f"?ids={mine},{mine + 1},{mine - 1}"):
        socket = dial(cookie, f"https://{HOST}", query=query)
        await socket.connect(5)
        snapshot = await said(socket, "snapshot")
        assert [card["name"] for card in snapshot["cards"]] == ["mine"]
        assert snapshot["counts"] == [0, 1]
        await socket.disconnect()


async def test_the_open_pages_of_one_user_do_not_shut_the_others_out():
    ann, mine = await in_thread(lambda: _viewers(2, people=2))
    crowded = Hub()
    opened = [crowded.subscribe(ann) for _ in range(live.MAX_OF_ONE_USER)]
    with pytest.raises(live.TooManySubscribers):
        crowded.subscribe(viewers.Viewer(ann.user, "another login"))
    opened.append(crowded.subscribe(mine))
    crowded.unsubscribe(opened.pop(0))
    opened.append(crowded.subscribe(ann))
    for subscription in opened:
        crowded.unsubscribe(subscription)
    await crowded.stopped()


# -- the cost of a reading -----------------------------------------------------------------------------------------


def _viewers(many: int, *, people: int) -> list[viewers.Viewer]:
    """So many browsers of so many people who may see all servers."""
    users = [
        get_user_model().objects.create_user(f"user-{number}", is_staff=True) for number in range(people)
    ]
    for user in users:
        user.user_permissions.add(Permission.objects.get(codename="view_server"))
    made = []
    for number in range(many):
        client = Client()
        client.force_login(users[number % people])
        made.append(viewers.Viewer(str(users[number % people].pk), client.cookies["sessionid"].value))
    return made


def _queries(many: int, *, people: int, servers: int) -> int:
    """How many questions a reading asks for so many browsers, each with its own servers on the page."""
    pks = list(Server.objects.order_by("pk").values_list("pk", flat=True))
    wishes = {}
    for number, viewer in enumerate(_viewers(many, people=people)):
        wants = frozenset(pks[number * servers : (number + 1) * servers])
        wishes[live.Subscription(viewer, wants)] = (viewer, wants)
    with CaptureQueriesContext(connection) as caught:
        reading = live._read(Watch(wishes, None))
    assert len(reading.found) == many * servers
    assert len(reading.sights) == many
    return len(caught)


def test_the_browsers_of_one_person_cost_no_question_each():
    fill(120, samples=0)
    few = _queries(2, people=1, servers=3)
    get_user_model().objects.all().delete()
    assert _queries(40, people=1, servers=3) == few


def test_between_two_rechecks_the_number_of_questions_is_the_same_for_any_number_of_people():
    fill(60, samples=0)
    wishes = {live.Subscription(viewer): (viewer, frozenset([1, 2])) for viewer in _viewers(12, people=12)}
    rights = live._read(Watch(wishes, None)).rights
    with CaptureQueriesContext(connection) as caught:
        reading = live._read(Watch(wishes, rights))
    assert len({id(sight) for sight in reading.sights.values()}) == 1
    assert len(caught) <= 8


async def test_a_hub_reads_cards_of_those_servers_only_that_somebody_is_shown():
    def prepare() -> tuple[viewers.Viewer, list[int]]:
        fill(300, samples=0)
        return _viewers(1, people=1)[0], list(Server.objects.order_by("pk").values_list("pk", flat=True))

    viewer, pks = await in_thread(prepare)
    mine = Hub()
    subscription = mine.subscribe(viewer, frozenset(pks[:5]))
    snapshot = json.loads((await subscription.next())[0])
    assert {card["id"] for card in snapshot["cards"]} == set(pks[:5])
    assert set(mine._cards) == set(pks[:5])
    mine.unsubscribe(subscription)
    await mine.stopped()
