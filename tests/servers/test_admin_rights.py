"""The admin of servers says of each server what `servers.access` says of it."""

import csv
import io
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from servers import access, identity, records
from servers.access import Narrowed
from servers.admin.history import cell
from servers.models import CommandRecord, Grant, Server, ServerGroup, Tag
from servers.rights import PERMISSIONS

pytestmark = pytest.mark.django_db
LIST = "/admin/servers/server/"
COMMANDS = "/admin/servers/commandrecord/"


def text(response: Any) -> str:
    return unescape(response.content.decode())


def page(server: Server, verb: str = "change") -> str:
    return reverse(f"admin:servers_server_{verb}", args=[server.pk])


@pytest.fixture
def other(db: None) -> Server:
    return identity.create("Other machine", agent_id="agent-other")[0]


@pytest.fixture
def granted(server: Server, other: Server, person: Callable[..., Any]) -> Callable[..., Client]:
    """Log somebody in who holds these rights on the first server, and `elsewhere` on the other."""

    def make(*words: str, elsewhere: tuple[str, ...] = ()) -> Client:
        user = person(username=f"granted-{'-'.join(words)}-{'-'.join(elsewhere)}")
        for rights, member in ((words, server), (elsewhere, other)):
            group = ServerGroup.objects.create(name=f"{user} {member}")
            group.servers.add(member)
            if rights:
                Grant.objects.create(server_group=group, user=user, permissions=list(rights))
        client = Client()
        client.force_login(user)
        return client

    return make


def test_a_grant_shows_its_servers_and_no_others_in_list_search_and_autocomplete(
    granted: Callable[..., Client], server: Server, other: Server
):
    client = granted("view")
    for query in ({}, {"q": "machine"}, {"q": "agent"}, {"status__exact": "unknown"}):
        assert "Other machine" not in text(client.get(LIST, query))
    assert "Home server" in text(client.get(LIST))
    assert LIST in text(client.get("/admin/"))
    asked = {"app_label": "servers", "model_name": "servergroup", "field_name": "servers", "term": ""}
    found = client.get("/admin/autocomplete/", asked).json()["results"]
    assert [one["text"] for one in found] == ["Home server"]


@pytest.mark.parametrize("word", PERMISSIONS)
def test_each_right_opens_its_pages_on_its_servers_only(
    granted: Callable[..., Client], server: Server, other: Server, word: str
):
    client = granted(word)
    needs = {"change": "view", "connect": "view", "history": "view", "suspend": "change"}
    needs |= {"reactivate": "change", "rotate": "rotate_secret"}
    for verb, needed in needs.items():
        mine, theirs = client.get(page(server, verb)), client.get(page(other, verb))
        assert mine.status_code == (200 if needed in (word, "view") else 403), verb
        assert theirs.status_code in (302, 403), verb
        if theirs.status_code == 302:
            assert theirs.headers["Location"] == "/admin/"
    form = {"name": "renamed", "agent_id": server.agent_id, "connection_type": "tunnel"}
    assert client.post(page(server), form).status_code == (302 if word == "change" else 403)
    assert client.post(page(other), form).status_code == 403 or word == "change"
    assert client.get(page(server, "delete")).status_code == 403
    assert not Server.objects.filter(pk=other.pk, name="renamed").exists()


def test_a_right_elsewhere_offers_an_action_but_does_it_only_there(
    granted: Callable[..., Client], server: Server, other: Server
):
    client = granted("view", elsewhere=("change", "rotate_secret"))
    assert "suspend_servers" in text(client.get(LIST))
    assert page(server, "suspend") not in text(client.get(page(server)))
    assert page(other, "suspend") in text(client.get(page(other)))
    data = {"_selected_action": [server.pk, other.pk], "action": "suspend_servers"}
    assert "1 server was suspended" in text(client.post(LIST, data, follow=True))
    data |= {"action": "rotate_secrets", "confirmed": "yes"}
    data |= {f"secret_version_{one.pk}": "1" for one in (server, other)}
    client.post(LIST, data)
    assert {one.name: (one.status, one.secret_version) for one in Server.objects.all()} == {
        "Home server": ("unknown", 1),
        "Other machine": ("suspended", 2),
    }


def test_hidden_servers_and_an_empty_selection_change_nothing(
    granted: Callable[..., Client], other: Server, server: Server
):
    client = granted("change", "rotate_secret")
    for selected in ([other.pk], [], [999_999]):
        for name in ("suspend_servers", "rotate_secrets", "delete_selected"):
            sent = {"_selected_action": selected, "action": name, "confirmed": "yes", "post": "yes"}
            client.post(LIST, sent | {f"secret_version_{other.pk}": "1"})
    other.refresh_from_db()
    assert (other.status, other.secret_version) == ("unknown", 1)
    client.post(LIST, {"action": "suspend_servers", "select_across": "1", "_selected_action": [server.pk]})
    other.refresh_from_db()
    assert other.status == "unknown"


def test_to_delete_is_djangos_permission_and_only_of_servers_one_sees(
    person: Callable[..., Any], server: Server, other: Server
):
    user = person("delete_server", username="remover")
    client = Client()
    client.force_login(user)
    assert client.post(page(server, "delete"), {"post": "yes"}).status_code in (302, 403)
    assert Server.objects.count() == 2
    group = ServerGroup.objects.create(name="mine")
    group.servers.add(server)
    Grant.objects.create(server_group=group, user=user, permissions=["view"])
    assert client.post(page(server, "delete"), {"post": "yes"}).status_code == 302
    assert list(Server.objects.all()) == [other]


def test_no_address_asks_about_the_digest_of_a_secret(person: Callable[..., Any], server: Server):
    client = Client()
    client.force_login(person("view_server"))
    guess = {"secret_digest__startswith": "sha256$"}
    assert client.get(LIST, guess).status_code == 400
    assert client.get(COMMANDS, {"server__secret_digest__startswith": "s"}).status_code == 400


# What a change leaves in the history -----------------------------------------------------------------------------


def test_a_change_by_a_program_stands_in_the_history_under_its_person(root: Any, server: Server):
    actor = Narrowed(root, frozenset(PERMISSIONS))
    identity.suspend(server, by=actor)
    identity.reactivate(server, by=actor)
    identity.rotate_secret(server, by=actor)
    identity.create("new", by=actor)
    told = [(entry.user, entry.change_message) for entry in LogEntry.objects.order_by("pk")]
    assert [message for _, message in told] == ["Suspended.", "Reactivated.", "Secret rotated.", "Added."]
    assert {user for user, _ in told} == {root}
    command = CommandRecord(service="system", action="exec").pk
    records.begin(command, server, "system", "exec", {}, actor)
    assert CommandRecord.objects.get(pk=command).actor_user == root


# Adding, connecting, rotating, deleting --------------------------------------------------------------------------


def test_the_form_to_add_asks_for_a_name_and_offers_more(browser: Client):
    shown = text(browser.get(LIST + "add/"))
    first, more = shown.split("<details", 1)
    assert 'name="name"' in first
    for field in ("agent_id", "tags", "notes", "connection_type", "host", "chosen_secret"):
        assert f'name="{field}"' not in first
        assert f'name="{field}"' in more
    assert "_addanother" not in shown


def test_a_name_alone_makes_a_tunnel(browser: Client):
    response = browser.post(LIST + "add/", {"name": "web 1", "connection_type": "tunnel"})
    made = Server.objects.get()
    assert (made.agent_id, made.connection_type) == ("web-1", "tunnel")
    assert f'data-address="{page(made, "connect")}"' in text(response)
    again = text(browser.get(page(made, "connect")))
    assert "web-1" in again
    assert "yts_" not in again
    assert "It was shown once" in again


def test_a_page_that_is_sent_twice_rotates_once(browser: Client, server: Server):
    sent = {"chosen_secret": "", f"secret_version_{server.pk}": "1"}
    assert "yts_" in text(browser.post(page(server, "rotate"), sent))
    again = browser.post(page(server, "rotate"), sent, follow=True)
    assert "yts_" not in text(again)
    assert "changed by somebody else meanwhile" in text(again)
    chosen = sent | {"chosen_secret": "rahasiadapur"}
    assert "changed by somebody else" in text(browser.post(page(server, "rotate"), chosen, follow=True))
    server.refresh_from_db()
    assert server.secret_version == 2


def test_a_new_agent_id_of_a_server_that_was_there_is_asked_about(browser: Client, server: Server):
    form = {"name": server.name, "agent_id": "another", "connection_type": "tunnel"}
    Server.objects.filter(pk=server.pk).update(last_seen=timezone.now())
    asked = text(browser.post(page(server), form))
    assert "This cuts the agent off" in asked
    server.refresh_from_db()
    assert server.agent_id == "agent-home-server"
    assert browser.post(page(server), form | {"cut_off": "on"}).status_code == 302
    server.refresh_from_db()
    assert server.agent_id == "another"
    assert 'name="cut_off"' not in text(browser.get(page(server)))
    assert browser.post(page(server), form | {"notes": "x"}).status_code == 302


def test_a_server_nobody_dialled_in_for_is_renamed_without_a_question(browser: Client, server: Server):
    form = {"name": server.name, "agent_id": "another", "connection_type": "tunnel"}
    assert browser.post(page(server), form).status_code == 302


def test_the_page_to_delete_offers_to_suspend_and_counts_what_goes(browser: Client, server: Server):
    group = ServerGroup.objects.create(name="Home")
    group.servers.add(server)
    server.tags.add(Tag.objects.create(name="x"))
    shown = text(browser.get(page(server, "delete")))
    assert "Suspend instead…" in shown
    assert page(server, "suspend") in shown
    assert "relationship" not in shown
    identity.suspend(server)
    assert "Suspend instead…" not in text(browser.get(page(server, "delete")))


# History ---------------------------------------------------------------------------------------------------------


def record(server: Server | None, **facts: Any) -> CommandRecord:
    facts = {"service": "system", "action": "exec", "actor": "root", "server_name": "gone"} | facts
    return CommandRecord.objects.create(server=server, **facts)


def test_the_history_is_that_of_the_servers_one_sees(
    granted: Callable[..., Client], server: Server, other: Server, browser: Client
):
    mine, theirs, gone = record(server, action="mine"), record(other, action="theirs"), record(None)
    client = granted("open_shell")
    listed = text(client.get(COMMANDS))
    assert "system.mine" in listed
    assert "system.theirs" not in listed
    assert "gone" not in listed
    assert client.get(f"{COMMANDS}{mine.pk}/change/").status_code == 200
    for hidden in (theirs, gone):
        assert client.get(f"{COMMANDS}{hidden.pk}/change/").headers["Location"] == "/admin/"
    everything = text(browser.get(COMMANDS))
    assert "system.theirs" in everything
    assert "gone" in everything


def test_the_history_of_one_server_is_a_link_away(
    granted: Callable[..., Client], server: Server, other: Server
):
    record(server, action="mine"), record(other, action="theirs")
    client = granted("view")
    one = text(client.get(COMMANDS, {"server__id__exact": server.pk}))
    assert "system.mine" in one
    for pk in (other.pk, "x", "9" * 40):
        nothing = text(client.get(COMMANDS, {"server__id__exact": pk}))
        assert "system." not in nothing
        assert "Other machine" not in nothing


def test_the_export_holds_what_the_list_shows_and_no_formula(
    granted: Callable[..., Client], server: Server, other: Server
):
    evil = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "a\x1b[31m\u202eb", '“ü”, "quoted"\nline']
    rows = [record(server, action=f"do{number}", error=text) for number, text in enumerate(evil)]
    rows.append(record(other, action="hidden"))
    client = granted("view")
    chosen = {"action": "export_csv", "_selected_action": [row.pk for row in rows]}
    answer = client.post(COMMANDS, chosen)
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["Content-Disposition"]
    table = list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert len(table) == 1 + len(evil)
    assert not any(value.startswith(("=", "+", "-", "@", "\t", "\r")) for row in table for value in row)
    assert "hidden" not in str(table)
    raw = answer.content.decode()
    assert "\x1b" not in raw
    assert "\u202e" not in raw
    assert "\\x1b" in raw


@pytest.mark.parametrize(
    ("value", "shown"),
    [("=1", "'=1"), ("\t=1", "'\\t=1"), ("  @x", "'  @x"), ("plain", "plain"), (1.5, "1.5"), ("－1", "'－1")],
)
def test_a_cell_never_begins_as_a_formula(value: object, shown: str):
    assert cell(value) == shown


def test_access_and_admin_agree_on_every_server(
    granted: Callable[..., Client], server: Server, other: Server, person: Callable[..., Any]
):
    client = granted("view")
    listed = text(client.get(LIST))
    user = client.get(LIST).wsgi_request.user
    for one in (server, other):
        assert (one.name in listed) is access.allowed(user, one, "view")
