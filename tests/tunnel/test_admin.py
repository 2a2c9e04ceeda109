"""What the tunnel adds to the admin: pills in the list of servers, sessions and refusals, and the wait for an agent."""

import csv
import io
import re
import uuid
from datetime import timedelta
from html import unescape

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from servers import identity
from servers.models import Grant, Server, ServerGroup
from tunnel import presence, refusals, sessions
from tunnel.models import CloseReason, Recording, Refusal, RefusalReason, Session, Shell, Worker
from tunnel.presence import State

pytestmark = pytest.mark.django_db
SERVERS = "/admin/servers/server/"
SESSIONS = "/admin/tunnel/session/"
REFUSALS = "/admin/tunnel/refusal/"
SHELLS = "/admin/tunnel/shell/"
EVIL = "<script>alert(1)</script>\x1b[31m\u202e"


@pytest.fixture
def worker() -> Worker:
    made = uuid.uuid4()
    sessions.open_worker(made, f"inbox-{made}")
    return Worker.objects.get(pk=made)


def make(name: str, worker: Worker, *, ended: timedelta | None = None) -> Server:
    server, _ = identity.create(name)
    Session.objects.create(
        server=server,
        worker=worker,
        secret_version=1,
        address="203.0.113.7",
        opened_at=timezone.now() - timedelta(hours=5),
        closed_at=None if ended is None else timezone.now() - ended,
        close_reason="" if ended is None else CloseReason.SILENT,
    )
    return server


@pytest.fixture
def one_of_each(worker) -> dict[State, Server]:
    """A server in every state; two ways to be away."""
    dead = uuid.uuid4()
    sessions.open_worker(dead, f"inbox-{dead}")
    gone = Worker.objects.get(pk=dead)
    direct = Server.objects.create(name="direct", agent_id="direct", connection_type="ssh")
    made = {
        "active": make("active", worker),
        "reconnecting": make("reconnecting", worker, ended=timedelta(seconds=5)),
        "lost": make("lost", gone),
        "offline": make("offline", worker, ended=timedelta(hours=3)),
        "never": identity.create("never")[0],
        "suspended": make("suspended", worker),
        "direct": direct,
    }
    identity.suspend(made["suspended"])
    Worker.objects.filter(pk=dead).update(lease_until=Now() - timedelta(seconds=10))
    return made


def text(response) -> str:
    return unescape(response.content.decode())


@pytest.fixture
def staff(client, worker):
    """Somebody who may see the servers of one group."""
    user = get_user_model().objects.create_user("staff", password="x", is_staff=True)
    group = ServerGroup.objects.create(name="mine")
    Grant.objects.create(server_group=group, user=user, permissions=["view"])
    client.force_login(user)
    return group


# The list of servers ---------------------------------------------------------------------------------------------


def test_the_list_shows_the_pill_of_each_server(admin_client, one_of_each):
    page = text(admin_client.get(SERVERS))
    pills = dict(re.findall(r'data-state="(\w+)" data-pill="(\d+)"', page))
    assert set(pills) == set(State.values)
    for name in ("Tunnel Active", "Reconnecting…", "Never connected", "Suspended", "Direct"):
        assert name in page
    assert "pills.js" in page


def test_the_filter_by_state_says_what_the_pills_say(admin_client, one_of_each):
    there = presence.of(Server.objects.all())
    for state in State:
        wanted = {pk for pk, known in there.items() if known.state is state}
        assert wanted
        assert set(presence.in_state(Server.objects.all(), state).values_list("pk", flat=True)) == wanted, (
            state
        )
        page = text(admin_client.get(SERVERS, {"tunnel": state.value}))
        assert set(map(int, re.findall(r'data-pill="(\d+)"', page))) == wanted
    assert "data-pill=" not in text(admin_client.get(SERVERS, {"tunnel": "nonsense"}))


def test_a_worker_that_died_long_ago_leaves_its_servers_offline(worker):
    server = make("lost", worker)
    Worker.objects.update(lease_until=Now() - timedelta(hours=1))
    assert presence.of([server])[server.pk].state is State.OFFLINE
    assert list(presence.in_state(Server.objects.all(), State.OFFLINE)) == [server]
    assert not presence.in_state(Server.objects.all(), State.RECONNECTING).exists()


def test_a_thousand_servers_cost_as_many_queries_as_ten(admin_client, worker):
    def grow_to(count: int) -> int:
        new = [
            Server(name=f"s{n:04}", agent_id=f"agent-{n:04}") for n in range(Server.objects.count(), count)
        ]
        Server.objects.bulk_create(new)
        Session.objects.bulk_create(
            Session(server=server, worker=worker, secret_version=1, address="203.0.113.7")
            for server in Server.objects.filter(sessions=None)
        )
        with CaptureQueriesContext(connection) as queries:
            assert admin_client.get(SERVERS).status_code == 200
        return len(queries)

    grow_to(1)
    assert grow_to(10) == grow_to(1000)


# Sessions and refusals -------------------------------------------------------------------------------------------


def test_sessions_and_refusals_are_read_and_nothing_else(admin_client, worker):
    server = make("web", worker, ended=timedelta(minutes=3))
    refusals.write(server.agent_id, RefusalReason.WRONG_SECRET, "203.0.113.9", 3)
    shown = text(admin_client.get(SESSIONS))
    assert "the node fell silent" in shown
    assert "203.0.113.7" in shown
    assert "4:57:00" in shown
    assert "wrong secret" in text(admin_client.get(REFUSALS))
    for url, row in ((SESSIONS, Session.objects.get()), (REFUSALS, Refusal.objects.get())):
        change = f"{url}{row.pk}/change/"
        assert "web" in text(admin_client.get(change))
        assert admin_client.get(url + "add/").status_code == 403
        assert admin_client.post(change, {"address": "1.2.3.4"}).status_code == 403
        assert admin_client.post(f"{url}{row.pk}/delete/", {"post": "yes"}).status_code == 403
        assert "delete_selected" not in text(admin_client.get(url))


def test_one_sees_the_sessions_of_ones_servers(client, staff, worker):
    mine, other = make("mine", worker), make("other", worker)
    staff.servers.add(mine)
    for server in (mine, other):
        refusals.write(server.agent_id, RefusalReason.SUSPENDED, "203.0.113.9")
    for url, model in ((SESSIONS, Session), (REFUSALS, Refusal)):
        shown = text(client.get(url, {"q": "203.0.113"}))
        assert "mine" in shown
        assert "other" not in shown
        hidden = model.objects.get(server=other)
        assert client.get(f"{url}{hidden.pk}/change/").headers["Location"] == "/admin/"
        sent = {"action": "export_csv", "_selected_action": [row.pk for row in model.objects.all()]}
        table = list(csv.reader(io.StringIO(client.post(url, sent).content.decode("utf-8-sig"))))
        assert [row[1] for row in table[1:]] == ["mine"]


def test_hostile_words_of_agents_are_text_in_pages_and_export(admin_client, worker):
    server = make("web", worker, ended=timedelta(seconds=1))
    Server.objects.update(name=EVIL)
    Session.objects.update(agent_reason=f"=1+1{EVIL}", close_detail=EVIL)
    refusals.write(server.agent_id, RefusalReason.WRONG_SECRET, "203.0.113.9")
    session = Session.objects.get()
    urls = [SERVERS, SESSIONS, f"{SESSIONS}{session.pk}/change/", REFUSALS]
    urls.append(f"{REFUSALS}{Refusal.objects.get().pk}/change/")
    urls.append(reverse("admin:servers_server_connect", args=[server.pk]))
    for url in urls:
        raw = admin_client.get(url).content.decode()
        assert "<script>alert" not in raw, url
        assert "\x1b" not in raw, url
        assert "\u202e" not in raw, url
        assert not re.search(r"<[^>]*\s(style|on\w+)=", raw), url
    sent = {"action": "export_csv", "_selected_action": [session.pk]}
    table = list(csv.reader(io.StringIO(admin_client.post(SESSIONS, sent).content.decode("utf-8-sig"))))
    assert any(value.startswith("'=1+1<script>") for value in table[1])
    assert not any("\x1b" in value for value in table[1])


@pytest.mark.parametrize("url", [SESSIONS, REFUSALS, SHELLS])
def test_history_costs_a_constant_number_of_queries(admin_client, worker, url):
    def grow(count: int) -> int:
        for _ in range(count):
            server = make(f"web {Server.objects.count()}", worker, ended=timedelta(minutes=3))
            refusals.write(server.agent_id, RefusalReason.WRONG_SECRET, "203.0.113.9")
            recorded = {"cols": 80, "rows": 24, "shell": Shell.objects.create(server=server, handle="h")}
            Recording.objects.create(server=server, **recorded)
            Shell.objects.create(server=server, handle="not recorded")
        with CaptureQueriesContext(connection) as queries:
            admin_client.get(url)
        return len(queries)

    grow(1)
    assert grow(3) == grow(40)


def test_a_server_with_all_its_history_can_be_deleted_and_the_page_counts_it(admin_client, worker):
    server = make("web", worker)
    for _ in range(30):
        Session.objects.create(server=server, worker=worker, secret_version=1, closed_at=timezone.now())
    refusals.write(server.agent_id, RefusalReason.WRONG_SECRET, "203.0.113.9")
    delete = reverse("admin:servers_server_delete", args=[server.pk])
    with CaptureQueriesContext(connection) as queries:
        page = text(admin_client.get(delete))
    assert re.search(r"Sessions: 31", page, re.IGNORECASE)
    assert re.search(r"Refused handshakes: 1", page, re.IGNORECASE)
    assert len(queries) < 30
    assert str(Session.objects.first().pk) not in page
    assert admin_client.post(delete, {"post": "yes"}).status_code == 302
    assert not Session.objects.exists()


def shell_of(server: Server) -> uuid.UUID:
    return Shell.objects.get(server=server, handle="its-handle").pk


# Shells ----------------------------------------------------------------------------------------------------------


def test_who_opened_which_shell_and_how_it_ended_is_read_and_nothing_else(client, staff, worker):
    mine, other = make("mine", worker), make("other", worker)
    staff.servers.add(mine)
    for server in (mine, other):
        shell = Shell.objects.create(
            server=server,
            handle="its-handle",
            opener=f"ann {EVIL}",
            program="/bin/zsh",
            opened_at=timezone.now() - timedelta(hours=2),
            ended_at=timezone.now(),
            end="exited",
            exit_code=7,
        )
        Recording.objects.create(server=server, shell=shell, cols=80, rows=24)
    live = Shell.objects.create(server=mine, handle="another", opener="bob")
    shown = text(client.get(SHELLS))
    assert "its program ended, exit code 7" in shown
    assert "2:00:00" in shown
    assert "still open" in shown
    assert ">ann " in shown
    assert "other" not in shown
    assert "/admin/tunnel/recordings/" not in shown, "who may not watch is not even told that there is one"
    assert "<script>alert" not in client.get(SHELLS).content.decode()
    assert "bob" not in text(client.get(SHELLS, {"q": "zsh"}))
    assert ">ann " not in text(client.get(SHELLS, {"state": "open"}))
    for page in (SHELLS, f"{SHELLS}{shell_of(mine)}/change/"):
        assert "its-handle" not in text(client.get(page))
    assert "exit code 7" not in text(client.get(SHELLS, {"q": "its-handle"}))
    assert client.get(SHELLS, {"handle__startswith": "its"}).status_code in (302, 400)
    assert client.post(f"{SHELLS}{live.pk}/change/", {"opener": "eve"}).status_code == 403
    assert client.post(f"{SHELLS}{live.pk}/delete/", {"post": "yes"}).status_code == 403
    sent = {"action": "export_csv", "_selected_action": [row.pk for row in Shell.objects.all()]}
    table = list(csv.reader(io.StringIO(client.post(SHELLS, sent).content.decode("utf-8-sig"))))
    assert {row[1] for row in table[1:]} == {"mine"}
    Grant.objects.update(permissions=["view", "view_recording"])
    recording = Recording.objects.get(server=mine)
    assert f'href="/admin/tunnel/recordings/{recording.pk}/"' in text(client.get(SHELLS))
    Recording.objects.update(removed_at=timezone.now())
    assert "/admin/tunnel/recordings/" not in text(client.get(SHELLS))


# The wait --------------------------------------------------------------------------------------------------------


def waiting(client, server: Server):
    return client.get(reverse("tunnel:waiting_data", args=[server.pk])).json()


def test_the_wait_tells_each_attempt_and_then_the_connection(admin_client, worker):
    server = identity.create("web")[0]
    page = text(admin_client.get(reverse("admin:servers_server_connect", args=[server.pk])))
    assert "Waiting for the agent to connect…" in page
    assert "waiting.js" in page
    refusals.write("web", RefusalReason.WRONG_SECRET, "203.0.113.9")
    told = waiting(admin_client, server)
    assert not told["connected"]
    assert [event["text"] for event in told["events"]] == ["refused: wrong secret, from 203.0.113.9"]
    refusals.write("web", RefusalReason.WRONG_SECRET, "203.0.113.9")
    assert "2 times" in waiting(admin_client, server)["events"][0]["text"]
    Session.objects.create(server=server, worker=worker, secret_version=1, address="203.0.113.9")
    Server.objects.update(rtt_seconds=0.031)
    told = waiting(admin_client, server)
    assert told["connected"]
    assert (told["state"], told["trip"]) == ("Tunnel Active", "31 ms")
    assert told["events"][0]["text"] == "dialled from 203.0.113.9"


def test_after_a_rotation_the_old_session_does_not_count(admin_client, worker):
    server = make("web", worker)
    identity.rotate_secret(server)
    assert not waiting(admin_client, server)["connected"]
    identity.suspend(server)
    assert "suspended" in waiting(admin_client, server)["state"]


def test_the_wait_is_told_to_who_may_see_the_server(client, staff, worker):
    mine, other = make("mine", worker), make("other", worker)
    staff.servers.add(mine)
    assert waiting(client, mine)["connected"]
    for pk in (other.pk, 999_999):
        assert client.get(reverse("tunnel:waiting_data", args=[pk])).status_code == 403


def test_a_server_the_panel_dials_is_not_waited_for(admin_client):
    server = Server.objects.create(name="direct", agent_id="direct", connection_type="ssh")
    assert "waiting.js" not in text(
        admin_client.get(reverse("admin:servers_server_connect", args=[server.pk]))
    )
