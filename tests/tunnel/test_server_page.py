"""The page of one server: right without its script, shown to who may see it, and safe whatever a node says."""

import json
import re
import uuid
from datetime import timedelta
from html import unescape
from html.parser import HTMLParser

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from servers import identity, panels
from servers.models import CommandRecord, Grant, Server, ServerGroup
from tunnel import sessions
from tunnel.models import Refusal, Sample, Session, Worker
from tunnel.pages import charts

pytestmark = pytest.mark.django_db
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202e\x1b[31m"
PAGES = ["tunnel:server", "tunnel:server_data", "tunnel:server_samples", "tunnel:server_command"]


def at(name: str, server: Server) -> str:
    return reverse(name, args=(server.pk,))


def text(answer) -> str:
    return unescape(answer.content.decode())


@pytest.fixture
def worker() -> Worker:
    made = uuid.uuid4()
    sessions.open_worker(made, f"inbox-{made}")
    return Worker.objects.get(pk=made)


@pytest.fixture
def server(worker) -> Server:
    """A server that was away once, was refused, and is here now."""
    made, _ = identity.create("db-01")
    now = timezone.now()
    Session.objects.create(
        server=made,
        worker=worker,
        secret_version=1,
        address="203.0.113.7",
        opened_at=now - timedelta(hours=5),
        closed_at=now - timedelta(hours=2),
        close_reason="silent",
        close_detail="no byte for 18 s",
    )
    Refusal.objects.create(
        server=made,
        reason="wrong_secret",
        address="203.0.113.9",
        times=14,
        last_at=now - timedelta(minutes=90),
    )
    Session.objects.create(
        server=made,
        worker=worker,
        secret_version=1,
        address="203.0.113.8",
        basic=False,
        agent_reason="no answer to a ping",
        agent_away_seconds=7200,
        opened_at=now - timedelta(minutes=3),
    )
    return made


def record(server: Server, **facts) -> CommandRecord:
    given = {"service": "system", "action": "exec", "params": {"argv": ["ls", "a b"]}, "actor": "ann"}
    return CommandRecord.objects.create(
        server=server,
        server_name=server.name,
        state="failed",
        code="not_found",
        duration_seconds=0.2,
        **given | facts,
    )


@pytest.fixture
def person():
    """A browser in which somebody with these permissions of `servers` is logged in."""

    def make(*codenames: str, name: str = "ann", **options) -> Client:
        user = get_user_model().objects.create_user(name, password="x", is_staff=True)
        user.user_permissions.set(
            Permission.objects.filter(codename__in=codenames, content_type__app_label="servers")
        )
        client = Client(**options)
        client.force_login(user)
        return client

    return make


# What it shows --------------------------------------------------------------------------------------------------


def test_it_shows_the_link_in_the_words_of_both_ends(admin_client, server):
    page = text(admin_client.get(at("tunnel:server", server)))
    assert "Tunnel Active" in page
    assert str(Session.objects.get(closed_at=None).pk) in page
    assert "203.0.113.8" in page
    assert "yumna.tunnel.v1" in page
    assert "Disconnected: the node fell silent" in page
    assert "no byte for 18 s" in page
    assert "the agent says: no answer to a ping" in page
    assert "Refused: wrong secret" in page
    assert "14 times" in page
    happened = re.findall(r'<li class="yt-event" data-kind="(\w+)"', page)
    assert happened == ["opened", "refused", "closed", "opened"]


def test_an_offline_server_says_why_and_what_to_check(admin_client, server):
    Session.objects.filter(closed_at=None).update(
        closed_at=timezone.now() - timedelta(hours=1), close_reason="replaced"
    )
    page = text(admin_client.get(at("tunnel:server", server)))
    assert "Offline since" in page
    assert "a newer connection with the same agent id took over" in page
    assert "Two agents used this agent ID" in page


def test_it_shows_the_last_commands_as_one_would_type_them(admin_client, server):
    record(server)
    page = text(admin_client.get(at("tunnel:server", server)))
    assert "ls 'a b'" in page
    assert "not_found" in page
    assert reverse("admin:servers_commandrecord_change", args=(CommandRecord.objects.get().pk,)) in page


def test_the_data_says_what_the_page_says(admin_client, server):
    record(server)
    page = admin_client.get(at("tunnel:server", server)).content.decode()
    config = json.loads(re.search(r'<script id="yt-config" type="application/json">(.*?)</script>', page)[1])
    told = admin_client.get(at("tunnel:server_data", server)).json()
    assert {**told, "now": 0} == {**config["seen"], "now": 0}
    assert config["events"].endswith(f"?ids={server.pk}")


def test_the_number_of_queries_does_not_grow_with_the_history(admin_client, server, worker):
    def count() -> int:
        with CaptureQueriesContext(connection) as caught:
            admin_client.get(at("tunnel:server", server))
        return len(caught)

    record(server)
    few = count()
    for number in range(30):
        record(server)
        Sample.objects.create(server=server, at=timezone.now() - timedelta(seconds=number), cpu=1)
        Refusal.objects.create(server=server, reason="wrong_secret", address=f"192.0.2.{number}")
    assert count() == few


# The figures ----------------------------------------------------------------------------------------------------


def sample(server: Server, ago: float, **figures) -> None:
    Sample.objects.create(server=server, at=timezone.now() - timedelta(seconds=ago), **figures)


def test_a_gap_stays_a_gap(server):
    for ago in (600, 570, 400, 370):
        sample(server, ago, cpu=10.0, rtt_seconds=0.02)
    columns = charts.last_hour(server)
    assert columns["cpu"] == [10.0, 10.0, None, 10.0, 10.0]
    assert columns["at"] == sorted(set(columns["at"]))


def test_rarer_heartbeats_are_no_gaps(server, settings):
    settings.TUNNEL_HEARTBEAT = 300.0
    for ago in (900, 600, 300):
        sample(server, ago, cpu=10.0)
    assert charts.last_hour(server)["cpu"] == [10.0, 10.0, 10.0]


def test_the_hour_is_bounded_and_keeps_the_newest(server, monkeypatch):
    monkeypatch.setattr(charts, "MOST_POINTS", 3)
    for number in range(5):
        sample(server, 100 - number, cpu=float(number))
    sample(server, 4000, cpu=99.0)
    assert charts.last_hour(server)["cpu"] == [2.0, 3.0, 4.0]


def test_the_file_holds_the_numbers_and_nothing_a_node_wrote(admin_client, server):
    Server.objects.filter(pk=server.pk).update(agent_id='=cmd|"x\r\nSet-Cookie: a=b', name="=1+1")
    sample(server, 600, cpu=12.5, ram=50.0)
    sample(server, 60, cpu=13.5, rtt_seconds=0.031)
    answer = admin_client.get(at("tunnel:server_samples", server))
    head, first, second = answer.content.decode().split()
    assert head == "time,cpu_percent,memory_percent,disk_percent,round_trip_seconds"
    assert first.split(",")[1:] == ["12.5", "50.0", "", ""]
    assert second.split(",")[1:] == ["13.5", "", "", "0.031"]
    assert answer.headers["Content-Disposition"] == 'attachment; filename="cmdxSet-Cookieab.csv"'


def test_the_table_holds_the_same_numbers(admin_client, server):
    sample(server, 60, cpu=12.5, rtt_seconds=0.031)
    page = admin_client.get(at("tunnel:server", server)).content.decode()
    assert re.search(r"<td>12%</td><td>–</td><td>–</td><td>31 ms</td>", page)


# Who may see it -------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", PAGES)
def test_who_is_not_logged_in_comes_to_the_login(client, server, name):
    for answer in (client.get(at(name, server)), client.post(at(name, server))):
        assert answer.status_code == 302
        assert "/login/" in answer.url


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", PAGES[:3])
def test_a_server_one_may_not_see_looks_like_none(person, server, name):
    assert person().get(at(name, server)).status_code == 404
    viewer = person("view_server", name="viewer")
    assert viewer.get(at(name, server)).status_code == 200
    for missing in (server.pk + 1, 2**63, 10**200):
        assert viewer.get(at(name, server).replace(f"/{server.pk}/", f"/{missing}/")).status_code == 404


def test_a_grant_shows_its_own_servers_only(person, server):
    other, _ = identity.create("other")
    group = ServerGroup.objects.create(name="mine")
    group.servers.add(server)
    client = person()
    Grant.objects.create(
        server_group=group, user=get_user_model().objects.get(username="ann"), permissions=["run_command"]
    )
    assert client.get(at("tunnel:server", server)).status_code == 200
    assert client.get(at("tunnel:server", other)).status_code == 404


def test_without_the_right_there_is_no_box(person, server):
    page = text(person("view_server").get(at("tunnel:server", server)))
    assert "Last commands" in page
    assert "Run a command" not in page
    assert at("tunnel:server_command", server) not in page.split('<script id="yt-config"')[0]


# The tabs -------------------------------------------------------------------------------------------------------


def tabs(page: str) -> list[tuple[str, bool]]:
    nav = re.search(r'<nav class="yt-tabs".*?</nav>', page, re.DOTALL)
    found = re.findall(r'<a href="[^"]*"( aria-current="page")?>([^<]*)</a>', nav[0]) if nav else []
    return [(label, bool(here)) for here, label in found]


def test_the_tabs_stand_on_the_page_and_on_the_form(admin_client, server):
    page = text(admin_client.get(at("tunnel:server", server)))
    form = text(admin_client.get(reverse("admin:servers_server_change", args=(server.pk,))))
    assert [label for label, here in tabs(page) if here] == ["Overview"]
    assert [label for label, here in tabs(form) if here] == ["Settings"]
    assert [label for label, _ in tabs(page)] == [label for label, _ in tabs(form)]
    for name in ("servers/commandrecord", "tunnel/session"):
        address = f"/admin/{name}/?server__id__exact={server.pk}"
        assert address in page
        assert admin_client.get(address).status_code == 200


def test_adding_a_server_and_choosing_one_in_a_popup_have_no_tabs(admin_client, server):
    assert tabs(text(admin_client.get(reverse("admin:servers_server_add")))) == []
    form = reverse("admin:servers_server_change", args=(server.pk,))
    assert tabs(text(admin_client.get(f"{form}?_popup=1"))) == []


def test_only_tabs_that_lead_somewhere_are_shown(person, server, monkeypatch):
    client = person("view_server")
    page = text(client.get(at("tunnel:server", server)))
    assert [label for label, _ in tabs(page)] == ["Overview", "Commands", "Sessions", "Settings"]
    monkeypatch.delitem(admin.site._registry, CommandRecord)
    page = text(client.get(at("tunnel:server", server)))
    assert [label for label, _ in tabs(page)] == ["Overview", "Sessions", "Settings"]


def test_tabs_stand_by_place_then_by_registration(monkeypatch, rf, server):
    monkeypatch.setattr(panels, "_sources", [])
    panels.register_tabs(lambda *_: [panels.Tab("b", "B", "/b"), panels.Tab("z", "Z", "/z", panels.LAST)])
    panels.register_tabs(lambda *_: [panels.Tab("c", "C", "/c"), panels.Tab("a", "A", "/a", panels.FIRST)])
    assert [tab.name for tab in panels.tabs(rf.get("/"), server)] == ["a", "b", "c", "z"]


class _Attributes(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.names |= {name for name, _ in attrs}


def attributes(page: str) -> set[str]:
    """The names of all attributes of a page, as a parser sees them."""
    parser = _Attributes()
    parser.feed(page)
    return parser.names


# What a node says -----------------------------------------------------------------------------------------------


def test_nothing_a_node_says_is_markup(admin_client, server):
    Server.objects.filter(pk=server.pk).update(
        name=EVIL,
        agent_id=EVIL[:64],
        agent_version=EVIL[:32],
        capabilities=[EVIL, 7, None],
        host_facts={"platform": EVIL, "hostname": [EVIL], "arch": {"a": EVIL}},
        last_usage={"cpu": EVIL, "ram": [EVIL]},
    )
    Session.objects.update(close_detail=EVIL, agent_reason=EVIL)
    record(server, service=EVIL[:60], action=EVIL[:60], params={"argv": [EVIL, {}]}, error=EVIL, actor=EVIL)
    record(server, params={"shell": EVIL})
    record(server, params=[EVIL])
    answer = admin_client.get(at("tunnel:server", server))
    page = answer.content.decode()
    assert answer.status_code == 200
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    handlers = [name for name in attributes(page) if name == "style" or name.startswith("on")]
    assert handlers == []


def test_facts_of_another_shape_break_nothing(admin_client, server):
    Server.objects.filter(pk=server.pk).update(
        capabilities={"a": 1}, host_facts=["x"], last_usage="x", policy=[]
    )
    for name in PAGES[:3]:
        assert admin_client.get(at(name, server)).status_code == 200
