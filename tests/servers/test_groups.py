"""Groups of servers and grants in the admin: who may give what to whom."""

from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from servers import access
from servers.models import Grant, Server, ServerGroup
from servers.rights import LABELS, PERMISSIONS

pytestmark = pytest.mark.django_db
EDITOR = ("view_servergroup", "add_servergroup", "change_servergroup", "delete_servergroup")
EDITOR += ("view_grant", "add_grant", "change_grant", "delete_grant")
LIST = "/admin/servers/servergroup/"
ADD = LIST + "add/"


def text(response: Any) -> str:
    return unescape(response.content.decode())


def filled(name: str, servers: list[Server], *grants: dict[str, Any], initial: int = 0) -> dict[str, Any]:
    """The form of a group as a browser posts it."""
    data: dict[str, Any] = {"name": name, "servers": [server.pk for server in servers]}
    data |= {"grants-TOTAL_FORMS": len(grants), "grants-INITIAL_FORMS": initial}
    for number, grant in enumerate(grants):
        data |= {f"grants-{number}-{field}": value for field, value in grant.items()}
    return data


def page(group: ServerGroup) -> str:
    return reverse("admin:servers_servergroup_change", args=[group.pk])


@pytest.fixture
def ann(person: Callable[..., Any]) -> Any:
    return person(username="ann")


@pytest.fixture
def other(db: None) -> Server:
    return Server.objects.create(name="Other", agent_id="agent-other")


@pytest.fixture
def group(server: Server) -> ServerGroup:
    made = ServerGroup.objects.create(name="Home")
    made.servers.add(server)
    return made


@pytest.fixture
def editor(person: Callable[..., Any]) -> Any:
    """Somebody who may edit groups and grants, and holds nothing on servers."""
    return person(*EDITOR, username="editor")


@pytest.fixture
def office(editor: Any) -> Client:
    client = Client()
    client.force_login(editor)
    return client


def test_a_superuser_makes_a_group_and_grants_in_one_form(browser: Client, server: Server, ann: Any):
    operators = Group.objects.create(name="operators")
    form = filled(
        "Home",
        [server],
        {"user": ann.pk, "permissions": ["run_command", "open_shell"]},
        {"user_group": operators.pk, "permissions": ["view"]},
    )
    assert browser.post(ADD, form).status_code == 302
    made = ServerGroup.objects.get()
    assert list(made.servers.all()) == [server]
    assert {(str(g.user or g.user_group), tuple(g.permissions)) for g in made.grants.all()} == {
        ("ann", ("run_command", "open_shell")),
        ("operators", ("view",)),
    }
    shown = text(browser.get(page(made)))
    assert all(str(label) in shown for label in LABELS.values())


def test_a_grant_counts_at_the_next_request_and_ends_with_it(browser: Client, server: Server, ann: Any):
    hers = Client()
    hers.force_login(ann)
    change = reverse("admin:servers_server_change", args=[server.pk])
    assert "Home server" not in text(hers.get(change, follow=True))
    browser.post(ADD, filled("Home", [server], {"user": ann.pk, "permissions": ["view"]}))
    assert "Home server" in text(hers.get(change))
    assert hers.post(change, {"name": "x"}).status_code == 403
    group, grant = ServerGroup.objects.get(), Grant.objects.get()
    form = filled(
        "Home",
        [server],
        {"id": grant.pk, "server_group": group.pk, "user": ann.pk, "permissions": ["view"], "DELETE": "on"},
        initial=1,
    )
    assert browser.post(page(group), form).status_code == 302
    assert "Home server" not in text(hers.get(change, follow=True))


def test_the_history_says_who_was_given_what_and_which_servers_came_and_went(
    browser: Client, server: Server, other: Server, ann: Any
):
    browser.post(ADD, filled("Home", [server], {"user": ann.pk, "permissions": ["run_command"]}))
    group, grant = ServerGroup.objects.get(), Grant.objects.get()
    again = {"id": grant.pk, "server_group": group.pk, "user": ann.pk, "permissions": ["view"]}
    browser.post(page(group), filled("Home", [other], again, initial=1))
    changed, added = (entry.get_change_message() for entry in LogEntry.objects.order_by("-pk"))
    assert "ann: Home (run_command)" in added
    assert "“Home server”" in added
    assert "ann: Home (view)" in changed
    assert "Added server “Other”" in changed
    assert "Deleted server “Home server”" in changed


@pytest.mark.parametrize("word", PERMISSIONS)
def test_nobody_gives_what_he_has_not_got_himself(
    office: Client, editor: Any, group: ServerGroup, ann: Any, server: Server, word: str
):
    mine = ServerGroup.objects.create(name="mine")
    mine.servers.add(server)
    held = [other for other in PERMISSIONS if other != word and word != "view"]
    if held:  # every right includes to see, so who lacks that has nothing
        Grant.objects.create(server_group=mine, user=editor, permissions=held)
    refused = office.post(
        page(group), filled("Home", [server], {"user": ann.pk, "permissions": [word, *held]})
    )
    assert "You may not give what you may not do yourself" in text(refused)
    assert str(LABELS[word]) in text(refused)
    assert not group.grants.exists()
    if held:
        given = office.post(page(group), filled("Home", [server], {"user": ann.pk, "permissions": held}))
        assert given.status_code == 302
        assert access.allowed(ann, server, held[0])


def test_nobody_gives_himself_more(office: Client, editor: Any, group: ServerGroup, server: Server):
    grant = Grant.objects.create(server_group=group, user=editor, permissions=["view"])
    row = {"id": grant.pk, "server_group": group.pk, "user": editor.pk}
    more = filled("Home", [server], row | {"permissions": ["view", "run_command"]}, initial=1)
    assert "You may not give" in text(office.post(page(group), more))
    grant.refresh_from_db()
    assert grant.permissions == ["view"]
    same = office.post(page(group), filled("Home", [server], row | {"permissions": ["view"]}, initial=1))
    assert same.status_code == 302


def test_a_grant_is_not_handed_to_somebody_else_by_who_lacks_its_rights(
    office: Client, editor: Any, group: ServerGroup, server: Server, ann: Any
):
    grant = Grant.objects.create(server_group=group, user=ann, permissions=["run_command"])
    Grant.objects.create(server_group=group, user=editor, permissions=["view"])
    row = {"id": grant.pk, "server_group": group.pk, "user": editor.pk, "permissions": ["run_command"]}
    mine = Grant.objects.get(user=editor)
    second = {"id": mine.pk, "server_group": group.pk, "DELETE": "on", "user": editor.pk}
    form = filled("Home", [server], row, second | {"permissions": ["view"]}, initial=2)
    assert "You may not give" in text(office.post(page(group), form))
    grant.refresh_from_db()
    assert grant.user == ann


def test_no_server_comes_under_grants_by_who_lacks_their_rights_there(
    office: Client, editor: Any, group: ServerGroup, server: Server, other: Server
):
    Grant.objects.create(server_group=group, user=editor, permissions=["run_command"])
    seen = ServerGroup.objects.create(name="seen")
    seen.servers.add(other)
    Grant.objects.create(server_group=seen, user=editor, permissions=["view"])
    grant = group.grants.get()
    row = {"id": grant.pk, "server_group": group.pk, "user": editor.pk, "permissions": ["run_command"]}
    refused = office.post(page(group), filled("Home", [server, other], row, initial=1))
    assert "give more than you may do yourself" in text(refused)
    assert not access.allowed(get_user_model().objects.get(pk=editor.pk), other, "run_command")


def test_servers_one_may_not_see_are_not_offered_and_not_lost(
    office: Client, editor: Any, group: ServerGroup, server: Server, other: Server
):
    group.servers.set([server, other])
    seen = ServerGroup.objects.create(name="seen")
    seen.servers.add(server)
    Grant.objects.create(server_group=seen, user=editor, permissions=["view"])
    assert "Other" not in text(office.get(page(group)))
    assert "Select a valid choice" in text(office.post(page(group), filled("Home", [server, other])))
    assert office.post(page(group), filled("Home", [])).status_code == 302
    assert list(group.servers.all()) == [other]


def test_a_search_finds_no_group_by_a_server_one_may_not_see(
    browser: Client, office: Client, editor: Any, group: ServerGroup, server: Server, other: Server
):
    group.servers.set([server, other])
    seen = ServerGroup.objects.create(name="seen")
    seen.servers.add(server)
    Grant.objects.create(server_group=seen, user=editor, permissions=["view"])

    def found(client: Client, term: str) -> set[str]:
        return {made.name for made in client.get(LIST, {"q": term}).context["cl"].queryset}

    assert found(browser, "agent-other") == found(browser, "Other") == {"Home"}
    assert found(office, "agent-other") == found(office, "Other") == set()
    assert found(office, "agent-home-server") == found(office, '"Home server"') == {"Home", "seen"}
    assert found(office, "seen server") == {"seen"}


def test_no_address_and_no_count_tells_of_a_server_one_may_not_see(
    browser: Client, office: Client, editor: Any, group: ServerGroup, server: Server, other: Server
):
    group.servers.set([server, other])
    seen = ServerGroup.objects.create(name="seen")
    seen.servers.add(server)
    Grant.objects.create(server_group=seen, user=editor, permissions=["view"])

    def counts(client: Client) -> dict[str, int]:
        return {made.name: made.servers_in_it for made in client.get(LIST).context["cl"].result_list}

    assert counts(browser) == {"Home": 2, "seen": 1}
    assert counts(office) == {"Home": 1, "seen": 1}
    for lookup, value in (
        ("servers__id__exact", other.pk),
        ("servers", other.pk),
        ("servers__in", other.pk),
        ("servers__agent_id", other.agent_id),
        ("servers__name__startswith", "O"),
    ):
        answer = office.get(LIST, {lookup: value})
        assert answer.status_code != 200, lookup
        assert "Home" not in text(answer)


def test_rights_may_be_taken_away_by_who_has_none(office: Client, group: ServerGroup, ann: Any):
    Grant.objects.create(server_group=group, user=ann, permissions=list(PERMISSIONS))
    assert office.post(f"{LIST}{group.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not Grant.objects.exists()


@pytest.mark.parametrize("held", [(), ("view_servergroup",), EDITOR[:4]])
def test_without_djangos_permission_on_grants_nobody_grants(
    person: Callable[..., Any], group: ServerGroup, server: Server, ann: Any, held: tuple[str, ...]
):
    user = person(*held, "change_server", "run_command", username="half")
    client = Client()
    client.force_login(user)
    client.post(page(group), filled("Home", [server], {"user": ann.pk, "permissions": ["run_command"]}))
    assert not Grant.objects.exists()
    assert client.get(page(group)).status_code == (200 if held else 403)


def test_two_grants_to_one_person_or_to_nobody_are_refused_in_the_form(
    browser: Client, group: ServerGroup, server: Server, ann: Any
):
    grant = {"user": ann.pk, "permissions": ["view"]}
    assert "into one grant" in text(browser.post(page(group), filled("Home", [server], grant, grant)))
    nobody = text(browser.post(page(group), filled("Home", [server], {"permissions": ["view"]})))
    assert "Choose a user or a group of users" in nobody
    nothing = text(browser.post(page(group), filled("Home", [server], {"user": ann.pk})))
    assert "at least one of the permissions" in nothing
    odd = {"user": ann.pk, "permissions": ["everything"]}
    assert "Select a valid choice" in text(browser.post(page(group), filled("Home", [server], odd)))
    assert not Grant.objects.exists()


def test_hostile_names_are_text(browser: Client, server: Server):
    evil = "<script>alert(1)</script>"
    Server.objects.filter(pk=server.pk).update(name=evil)
    made = ServerGroup.objects.create(name=evil)
    made.servers.add(server)
    user = get_user_model().objects.create_user(username=evil)
    Grant.objects.create(server_group=made, user=user, permissions=["view"])
    for url in (LIST, page(made), f"{LIST}{made.pk}/delete/"):
        assert "<script>alert" not in browser.get(url).content.decode()


def test_the_list_costs_a_constant_number_of_queries(browser: Client, server: Server, ann: Any):
    def grow(count: int) -> int:
        for number in range(count):
            made = ServerGroup.objects.create(name=f"group {ServerGroup.objects.count()} {number}")
            made.servers.add(server)
            Grant.objects.create(server_group=made, user=ann, permissions=["view"])
        with CaptureQueriesContext(connection) as queries:
            assert "group 0" in text(browser.get(LIST))
        return len(queries)

    grow(1)
    assert grow(3) == grow(30)


def test_a_panel_without_an_admin_for_users_still_grants(
    browser: Client, group: ServerGroup, server: Server, ann: Any, monkeypatch: pytest.MonkeyPatch
):
    from django.contrib import admin

    monkeypatch.delitem(admin.site._registry, get_user_model())
    assert f'<option value="{ann.pk}"' in text(browser.get(page(group)))


def test_the_permissions_to_edit_are_djangos_own():
    held = Permission.objects.filter(content_type__app_label="servers").values_list("codename", flat=True)
    assert set(EDITOR) <= set(held)
