"""The servers in Django's admin, through a browser without JavaScript."""

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from servers import credentials, identity
from servers.models import CommandRecord, Server, Tag
from servers.signals import identity_changed

pytestmark = pytest.mark.django_db

LIST = "/admin/servers/server/"
ADD = "/admin/servers/server/add/"
SECRET = re.compile(r"yts_[A-Za-z0-9_-]{43}")
FORM = {"name": "web 1", "agent_id": "", "connection_type": "tunnel", "notes": "", "host": "", "username": ""}
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def page(server: Server, verb: str = "change") -> str:
    return reverse(f"admin:servers_server_{verb}", args=[server.pk])


def text(response: Any) -> str:
    return unescape(response.content.decode())


def action(browser: Client, name: str, *servers: Server, **more: str) -> Any:
    data = {"action": name, "_selected_action": [server.pk for server in servers]} | more
    return browser.post(LIST, data, follow=True)


def asked(server: Server, chosen: str = "") -> dict[str, str]:
    """What the page that asks about a rotation sends."""
    return {"chosen_secret": chosen, f"secret_version_{server.pk}": str(server.secret_version)}


@pytest.fixture
def log_in(person: Callable[..., Any]) -> Callable[..., Client]:
    def make(*codenames: str) -> Client:
        client = Client()
        client.force_login(person(*codenames))
        return client

    return make


# Adding ---------------------------------------------------------------------------------------------------------


def test_adding_a_server_takes_a_name_and_shows_the_lines_for_the_agent(browser: Client):
    response = browser.post(ADD, FORM, secure=True)
    server = Server.objects.get()
    (secret,) = set(SECRET.findall(text(response)))
    assert response.status_code == 200
    assert response.headers["Cache-Control"].split(", ").count("no-store") == 1
    assert (
        "CONNECTION_MODE=tunnel\nMASTER_URL=wss://testserver\nAGENT_ID=web-1\nAGENT_SECRET=" + secret
    ) in text(response)
    assert credentials.matches(secret, server.secret_digest)
    assert "ALLOW_INSECURE" not in text(response)


def test_the_secret_is_shown_once_and_nowhere_again(browser: Client):
    response = browser.post(ADD, FORM)
    (secret,) = set(SECRET.findall(text(response)))
    server = Server.objects.get()
    for url in (
        LIST,
        page(server),
        page(server, "history"),
        page(server, "rotate"),
        page(server, "delete"),
        "/admin/",
    ):
        shown = text(browser.get(url))
        assert secret not in shown
        assert server.secret_digest not in shown
    assert secret not in str([session.get_decoded() for session in Session.objects.all()])
    assert secret not in str(browser.cookies)
    assert secret not in str(LogEntry.objects.values_list())
    assert all(secret not in str(row) for row in Server.objects.values_list())


def test_the_public_address_of_the_panel_is_what_agents_dial(browser: Client, settings: Any):
    settings.TUNNEL_PUBLIC_URL = "https://panel.example.org:8443/yumna/"
    assert "MASTER_URL=wss://panel.example.org:8443/yumna\n" in text(browser.post(ADD, FORM))


def test_without_tls_the_page_says_what_agents_need(browser: Client):
    shown = text(browser.post(ADD, FORM))
    assert "MASTER_URL=ws://testserver\n" in shown
    assert "opened without TLS" in shown


def test_a_given_agent_id_and_tags_are_taken(browser: Client):
    tag = Tag.objects.create(name="home")
    browser.post(ADD, FORM | {"agent_id": "agent-home-server", "tags": [tag.pk], "notes": "in the kitchen"})
    server = Server.objects.get()
    assert (server.agent_id, list(server.tags.all()), server.notes) == (
        "agent-home-server",
        [tag],
        "in the kitchen",
    )


def test_a_server_the_panel_dials_gets_no_secret(browser: Client):
    response = browser.post(ADD, FORM | {"connection_type": "ssh"}, follow=True)
    assert not SECRET.search(text(response))
    assert Server.objects.get().secret_digest == ""


def test_a_taken_name_or_a_misshapen_agent_id_is_refused_in_the_form(browser: Client, server: Server):
    assert "already exists" in text(browser.post(ADD, FORM | {"name": server.name}))
    assert "3 to 64 letters" in text(browser.post(ADD, FORM | {"agent_id": "no spaces please"}))
    assert not SECRET.search(text(browser.post(ADD, FORM | {"name": ""})))
    assert Server.objects.count() == 1


def test_a_chosen_secret_is_taken_with_a_warning_and_never_shown(browser: Client):
    response = browser.post(ADD, FORM | {"chosen_secret": "rahasiadapur"}, follow=True)
    assert "rahasiadapur" not in text(response)
    assert "weaker than one the panel makes" in text(response)
    assert credentials.matches("rahasiadapur", Server.objects.get().secret_digest)


def test_a_short_chosen_secret_is_refused_and_not_echoed(browser: Client):
    response = browser.post(ADD, FORM | {"chosen_secret": "rahasia"})
    assert "at least 12 characters" in text(response)
    assert "rahasia" not in text(response)
    assert not Server.objects.exists()


def test_who_may_not_rotate_secrets_cannot_choose_one_either(log_in: Callable[..., Client]):
    client = log_in("add_server", "view_server")
    assert "chosen_secret" not in text(client.get(ADD))
    client.post(ADD, FORM | {"chosen_secret": "rahasiadapur"})
    assert not credentials.matches("rahasiadapur", Server.objects.get().secret_digest)


# The list -------------------------------------------------------------------------------------------------------


def test_the_list_shows_servers_and_finds_them(browser: Client, server: Server):
    tag = Tag.objects.create(name="kitchen")
    server.tags.add(tag)
    identity.create("other")
    for query in ("home", "agent-home", "kitchen"):
        shown = text(browser.get(LIST, {"q": query}))
        assert "Home server" in shown
        assert "1 server" in shown
    assert "kitchen" in text(browser.get(LIST))
    for choice in (
        {"status__exact": "unknown"},
        {"connection_type__exact": "tunnel"},
        {"tags__id__exact": tag.pk},
    ):
        assert "Home server" in text(browser.get(LIST, choice))
    assert "Home server" not in text(browser.get(LIST, {"status__exact": "suspended"}))


def test_the_list_costs_as_many_queries_for_fifty_servers_as_for_five(browser: Client):
    tags = [Tag.objects.create(name=f"tag {number}") for number in range(3)]

    def grow_to(count: int) -> int:
        for number in range(Server.objects.count(), count):
            Server.objects.create(name=f"server {number}", agent_id=f"server-{number}").tags.set(tags)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert f"server {count - 1}" in text(browser.get(LIST))
        return len(queries)

    grow_to(1)  # content types and permissions are cached after the first page
    assert grow_to(5) == grow_to(50)


# Changing -------------------------------------------------------------------------------------------------------


def test_saving_the_form_writes_only_what_the_person_changed(browser: Client, server: Server):
    form = FORM | {"name": "Renamed", "agent_id": server.agent_id, "notes": "new"}
    identity.suspend(server)
    browser.post(
        page(server), form | {"status": "active", "secret_digest": "sha256$x", "secret_version": "9"}
    )
    server.refresh_from_db()
    assert (server.name, server.notes, server.status, server.secret_version) == (
        "Renamed",
        "new",
        "suspended",
        1,
    )


@pytest.mark.django_db(transaction=True)
def test_a_new_type_saved_in_the_form_is_announced(browser: Client, server: Server):
    heard = []

    def listener(server_id: int, agent_id: str, **kwargs: Any) -> None:
        heard.append((server_id, agent_id))

    identity_changed.connect(listener)
    form = FORM | {"name": server.name, "agent_id": server.agent_id}
    try:
        assert browser.post(page(server), form | {"notes": "no change of identity"}).status_code == 302
        assert heard == []
        assert browser.post(page(server), form | {"connection_type": "ssh"}).status_code == 302
    finally:
        identity_changed.disconnect(listener)
    assert heard == [(server.pk, "agent-home-server")]


def test_the_change_page_leads_to_what_may_be_done(browser: Client, server: Server):
    shown = text(browser.get(page(server)))
    assert page(server, "suspend") in shown
    assert page(server, "rotate") in shown
    assert page(server, "reactivate") not in shown
    identity.suspend(server)
    assert page(server, "reactivate") in text(browser.get(page(server)))


# Suspending, reactivating, rotating -----------------------------------------------------------------------------


def test_suspending_and_reactivating_from_the_list(browser: Client, server: Server):
    other = identity.create("other")[0]
    assert "2 servers were suspended." in text(action(browser, "suspend_servers", server, other))
    assert set(Server.objects.values_list("status", flat=True)) == {"suspended"}
    assert "Nothing changed" in text(action(browser, "suspend_servers", server))
    assert "1 server was reactivated." in text(action(browser, "reactivate_servers", server))
    assert LogEntry.objects.filter(change_message="Suspended.").count() == 2
    assert "Suspended." in text(browser.get(page(other, "history")))


@pytest.mark.parametrize(("verb", "status"), [("suspend", "suspended"), ("reactivate", "active")])
def test_a_verbs_page_asks_first(browser: Client, server: Server, verb: str, status: str):
    if verb == "reactivate":
        identity.suspend(server)
    before = Server.objects.get(pk=server.pk).status
    assert "Home server" in text(browser.get(page(server, verb)))
    assert Server.objects.get(pk=server.pk).status == before
    assert browser.post(page(server, verb)).headers["Location"] == page(server)
    assert Server.objects.get(pk=server.pk).status == status


def test_rotating_from_the_list_asks_then_shows_each_new_secret_once(browser: Client, server: Server):
    other = identity.create("other")[0]
    question = action(browser, "rotate_secrets", server, other)
    assert "The old secret is worth nothing" in text(question)
    assert set(Server.objects.values_list("secret_version", flat=True)) == {1}
    done = action(browser, "rotate_secrets", server, other, confirmed="yes", **(asked(server) | asked(other)))
    secrets = SECRET.findall(text(done))
    assert "no-store" in done.headers["Cache-Control"]
    assert len(set(secrets)) == 2
    for row in Server.objects.all():
        assert row.secret_version == 2
        assert any(credentials.matches(secret, row.secret_digest) for secret in secrets)
    assert not SECRET.search(text(browser.get(LIST)))


def test_rotating_one_server_shows_its_new_secret(browser: Client, server: Server):
    done = browser.post(page(server, "rotate"), asked(server))
    (secret,) = set(SECRET.findall(text(done)))
    server.refresh_from_db()
    assert credentials.matches(secret, server.secret_digest)
    assert "no-store" in done.headers["Cache-Control"]


def test_a_secret_may_be_chosen_at_a_rotation(browser: Client, server: Server):
    short = browser.post(page(server, "rotate"), asked(server, "rahasia"))
    assert "at least 12 characters" in text(short)
    done = browser.post(page(server, "rotate"), asked(server, "rahasiadapur"), follow=True)
    assert "weaker than one the panel makes" in text(done)
    assert "rahasiadapur" not in text(done)
    server.refresh_from_db()
    assert (server.secret_version, credentials.matches("rahasiadapur", server.secret_digest)) == (2, True)


# Who may --------------------------------------------------------------------------------------------------------

VERBS = {"change": "change_server", "suspend": "change_server", "reactivate": "change_server"}
VERBS |= {"rotate": "rotate_secret"}


@pytest.mark.parametrize("verb", VERBS)
def test_a_page_without_its_permission_is_forbidden(log_in: Callable[..., Client], server: Server, verb: str):
    others = {"view_server", "change_server", "rotate_secret", "run_command", "open_shell"} - {VERBS[verb]}
    client = log_in(*others)
    state = Server.objects.values().get()
    assert client.post(page(server, verb), FORM).status_code == 403
    if verb != "change":  # to look is what `view_server` allows there
        assert client.get(page(server, verb)).status_code == 403
    assert Server.objects.values().get() == state


def test_staff_without_permissions_get_no_page_at_all(log_in: Callable[..., Client], server: Server):
    client = log_in()
    for url in (LIST, ADD, "/admin/servers/commandrecord/", "/admin/servers/tag/", page(server, "rotate")):
        assert client.get(url).status_code == 403
    assert page(server) not in text(client.get(page(server), follow=True))


def test_a_stranger_is_asked_to_log_in(server: Server):
    for url in (LIST, ADD, *(page(server, verb) for verb in VERBS)):
        assert "/login/" in Client().post(url).headers["Location"]


def test_a_verb_needs_the_token_of_its_form(root: Any, server: Server):
    client = Client(enforce_csrf_checks=True)
    client.force_login(root)
    for verb in ("suspend", "rotate"):
        assert client.post(page(server, verb)).status_code == 403
    assert client.put(page(server, "suspend")).status_code in (403, 405)
    server.refresh_from_db()
    assert (server.status, server.secret_version) == ("unknown", 1)


def test_the_list_offers_only_the_actions_one_may_take(log_in: Callable[..., Client], server: Server):
    viewer = log_in("view_server")
    assert "suspend_servers" not in text(viewer.get(LIST))
    action(viewer, "suspend_servers", server)
    action(viewer, "rotate_secrets", server, confirmed="yes")
    server.refresh_from_db()
    assert (server.status, server.secret_version) == ("unknown", 1)
    rotator = text(log_in("view_server", "rotate_secret").get(LIST))
    assert "rotate_secrets" in rotator
    assert "suspend_servers" not in rotator


def test_a_page_of_a_server_that_is_not_there_does_not_tell_so(browser: Client, server: Server):
    gone = page(server, "suspend").replace(str(server.pk), "999999")
    assert browser.get(gone).status_code == 403


# What nodes and people write ------------------------------------------------------------------------------------


def test_hostile_text_is_shown_as_text(browser: Client, server: Server, root: Any):
    Server.objects.filter(pk=server.pk).update(
        name=HOSTILE[:100],
        agent_id='"><script>alert(3)</script>',
        notes=HOSTILE,
        agent_version="<b>1\x1b[31m</b>\u202e",
        machine_id=HOSTILE,
        host_facts={"hostname": HOSTILE + "\x1b]0;x\x07\u202e"},
        capabilities=[HOSTILE],
        policy={HOSTILE: HOSTILE},
        last_usage={"cpu": HOSTILE},
    )
    server.refresh_from_db()
    server.tags.add(Tag.objects.create(name="<script>alert(4)"))
    record = CommandRecord.objects.create(
        server=server,
        server_name=HOSTILE[:100],
        service="<script>alert(5)",
        action=HOSTILE[:64],
        actor=HOSTILE,
        params={"x": HOSTILE},
        code=HOSTILE[:64],
        error=HOSTILE + "\x1b[31m\u202e",
        state="failed",
    )
    urls = [LIST, *(page(server, verb) for verb in ("change", "suspend", "rotate", "delete", "history"))]
    urls += ["/admin/servers/commandrecord/", f"/admin/servers/commandrecord/{record.pk}/change/"]
    for url in urls:
        raw = browser.get(url).content.decode()
        assert "<script>alert" not in raw, url
        assert "<img src=x" not in raw, url
        if "commandrecord" in url or url == LIST:
            assert "\x1b" not in raw, url
            assert "\u202e" not in raw, url
    rotated = browser.post(page(server, "rotate"), asked(server)).content.decode()
    assert "<script>alert" not in rotated
    assert "&lt;script&gt;alert(1)" in rotated


def test_no_page_has_inline_script_or_style(browser: Client, server: Server):
    pages = [browser.get(page(server, verb)) for verb in ("suspend", "rotate", "change")]
    for response in [*pages, browser.post(ADD, FORM)]:
        raw = response.content.decode()
        assert not re.search(r"\sstyle=|\son[a-z]+=|<style|javascript:", raw)
        assert all("src=" in tag or "application/json" in tag for tag in re.findall(r"<script[^>]*>", raw))


# The history of commands ----------------------------------------------------------------------------------------


def test_the_history_of_commands_is_read_and_nothing_else(browser: Client, server: Server):
    record = CommandRecord.objects.create(
        server=server,
        server_name=server.name,
        service="system",
        action="exec",
        actor="root",
        params={"argv": ["ls"]},
    )
    url = "/admin/servers/commandrecord/"
    shown = text(browser.get(url))
    assert "system.exec" in shown
    assert "Pending" in shown
    change = f"{url}{record.pk}/change/"
    assert '{"argv": ["ls"]}' in text(browser.get(change))
    assert browser.get(url + "add/").status_code == 403
    assert browser.post(change, {"state": "succeeded"}).status_code == 403
    assert browser.post(f"{url}{record.pk}/delete/", {"post": "yes"}).status_code == 403
    record.refresh_from_db()
    assert record.state == "pending"


def test_the_history_costs_a_constant_number_of_queries(browser: Client, server: Server):
    def grow(count: int) -> int:
        for number in range(count):
            CommandRecord.objects.create(
                server=server, server_name=server.name, service="system", action=f"do{number}", actor="root"
            )
        with CaptureQueriesContext(connection) as queries:
            browser.get("/admin/servers/commandrecord/")
        return len(queries)

    grow(1)
    assert grow(5) == grow(50)


def test_a_server_with_history_can_be_deleted_and_its_history_stays(browser: Client, server: Server):
    CommandRecord.objects.create(
        server=server, server_name=server.name, service="system", action="exec", actor="root"
    )
    assert browser.post(page(server, "delete"), {"post": "yes"}).status_code == 302
    assert not Server.objects.exists()
    assert "Home server" in text(browser.get("/admin/servers/commandrecord/"))


def test_the_pages_speak_indonesian(browser: Client, server: Server):
    browser.cookies["django_language"] = "id"
    assert "Tangguhkan…" in text(browser.get(page(server)))
    assert "1 server telah ditangguhkan." in text(action(browser, "suspend_servers", server))
    assert "Jenis koneksi" in text(browser.get(ADD))
