"""The Node Orchestration page: right without its script, and safe whatever a node calls itself."""

import json
import re
import uuid
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone, translation

from servers import identity
from servers.models import Server
from tunnel import sessions
from tunnel.models import CloseReason, Session, Worker

pytestmark = pytest.mark.django_db
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


@pytest.fixture
def worker() -> Worker:
    made = uuid.uuid4()
    sessions.open_worker(made, f"inbox-{made}")
    return Worker.objects.get(pk=made)


def make(name: str, worker: Worker, *, ended: timedelta | None = None, reason: str = "silent") -> Server:
    """A server with a session that is open, or ended so long ago."""
    server, _ = identity.create(name)
    Session.objects.create(
        server=server,
        worker=worker,
        secret_version=1,
        closed_at=None if ended is None else timezone.now() - ended,
        close_reason="" if ended is None else reason,
    )
    return server


def cards(page: str) -> list[tuple[str, str]]:
    """The state and name of each card, in the order of the page; the blank one of the script is last."""
    found = re.findall(r'<article[^>]*data-state="(\w+)".*?data-yt="name">([^<]*)<', page, re.DOTALL)
    assert found[-1] == ("never", "")
    return found[:-1]


def test_trouble_comes_first_then_the_name(admin_client, worker):
    make("beta", worker)
    make("alpha", worker)
    make("zulu", worker, ended=timedelta(hours=3))
    make("yankee", worker, ended=timedelta(seconds=5))
    identity.create("new")
    identity.suspend(make("held", worker))
    page = admin_client.get(reverse("tunnel:nodes")).content.decode()
    assert cards(page) == [
        ("reconnecting", "yankee"),
        ("offline", "zulu"),
        ("active", "alpha"),
        ("active", "beta"),
        ("suspended", "held"),
        ("never", "new"),
    ]
    assert "2 of 6 tunnels active" in page


def test_an_offline_card_says_since_when_and_why(admin_client, worker):
    make("zulu", worker, ended=timedelta(hours=3), reason=CloseReason.REPLACED)
    page = admin_client.get(reverse("tunnel:nodes")).content.decode()
    assert "Offline since" in page
    assert "3 hours ago" in page
    assert "a newer connection with the same agent id took over" in page
    assert "Two agents used this agent ID" in page


def test_a_dead_worker_shows_within_its_lease(admin_client, worker):
    make("alpha", worker)
    Worker.objects.update(lease_until=Now() - timedelta(seconds=1))
    page = admin_client.get(reverse("tunnel:nodes")).content.decode()
    assert cards(page) == [("reconnecting", "alpha")]
    assert "0 of 1 tunnels active" in page


def test_nothing_a_node_says_is_markup(admin_client, worker):
    server = make("alpha", worker)
    Server.objects.filter(pk=server.pk).update(
        name=EVIL,
        host_facts={"platform": EVIL},
        agent_version=EVIL[:32],
        last_usage={"cpu": EVIL, "ram": [EVIL]},
    )
    answer = admin_client.get(reverse("tunnel:nodes"))
    page = answer.content.decode()
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<[^>]*\s(style|on\w+)=", page.split('id="yt-nodes"')[1])


def test_the_poll_says_what_the_page_says(admin_client, worker):
    make("alpha", worker)
    page = admin_client.get(reverse("tunnel:nodes")).content.decode()
    config = json.loads(re.search(r'<script id="yt-config" type="application/json">(.*?)</script>', page)[1])
    polled = admin_client.get(reverse("tunnel:nodes_data")).json()
    assert polled["cards"] == config["snapshot"]["cards"]
    assert polled["cards"][0]["state"] == "active"


def test_the_number_of_queries_does_not_grow_with_the_servers(
    admin_client, worker, django_assert_num_queries
):
    def count() -> int:
        with CaptureQueriesContext(connection) as caught:
            admin_client.get(reverse("tunnel:nodes"))
        return len(caught)

    for number in range(5):
        make(f"first-{number}", worker)
    few = count()
    for number in range(45):
        make(f"more-{number}", worker)
    assert count() == few


@pytest.fixture
def staff(client):
    user = get_user_model().objects.create_user("staff", password="x", is_staff=True)
    client.force_login(user)
    return user


def test_staff_without_the_right_sees_that_there_is_nothing_to_see(client, staff, worker):
    make("alpha", worker)
    page = client.get(reverse("tunnel:nodes")).content.decode()
    assert cards(page) == []
    assert "alpha" not in page
    assert "Nothing to see for you" in page
    assert client.get(reverse("tunnel:nodes_data")).json()["cards"] == []


def test_staff_with_the_right_sees_the_servers_and_the_entry_in_the_index(client, staff, worker):
    make("alpha", worker)
    staff.user_permissions.add(Permission.objects.get(codename="view_server"))
    assert cards(client.get(reverse("tunnel:nodes")).content.decode()) == [("active", "alpha")]
    index = client.get(reverse("admin:index")).content.decode()
    assert reverse("admin:tunnel_node_changelist") in index
    assert client.get(reverse("admin:tunnel_node_changelist")).url == reverse("tunnel:nodes")


@pytest.mark.parametrize("name", ["tunnel:nodes", "tunnel:nodes_data"])
def test_who_is_not_logged_in_comes_to_the_login(client, name):
    answer = client.get(reverse(name))
    assert answer.status_code == 302
    assert "/login/" in answer.url


def test_an_empty_panel_says_what_a_node_is(admin_client):
    page = admin_client.get(reverse("tunnel:nodes")).content.decode()
    assert "Add your first node" in page
    assert reverse("admin:servers_server_add") in page


def test_the_page_speaks_indonesian(admin_client, worker):
    make("alpha", worker)
    with translation.override("id"):
        page = admin_client.get(reverse("tunnel:nodes"), headers={"accept-language": "id"}).content.decode()
    assert "Orkestrasi Node" in page
    assert "1 dari 1 tunnel aktif" in page
    assert "Tunnel Aktif" in page
