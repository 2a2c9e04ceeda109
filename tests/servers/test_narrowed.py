"""What a token leaves of its maker's rights, what may be handed on, and user models that know less than Django's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test.utils import isolate_apps

from servers import access
from servers.access import CONSOLE, Narrowed, allowed, everywhere, lacking, may_add, may_delete, permitting
from servers.models import Grant, Server, ServerGroup
from servers.rights import PERMISSIONS

pytestmark = pytest.mark.django_db
ALL = frozenset(PERMISSIONS)


@pytest.fixture
def other(db: None) -> Server:
    return Server.objects.create(name="Other", agent_id="agent-other")


@pytest.fixture
def group(server: Server) -> ServerGroup:
    made = ServerGroup.objects.create(name="Home")
    made.servers.add(server)
    return made


def test_the_history_says_which_token_acted_for_whom(root: Any):
    assert str(Narrowed(root, ALL, name="deploy")) == "root (token deploy)"
    assert str(Narrowed(root, ALL)) == "root"
    assert str(CONSOLE) == "console"
    assert access.person(Narrowed(root, ALL)) == root
    assert access.person(CONSOLE) is access.person(None) is None


def test_a_word_that_a_token_does_not_have_lists_no_server(server: Server, root: Any):
    token = Narrowed(root, frozenset({"view"}))
    assert list(permitting(token, "view")) == [server]
    assert not permitting(token, "run_command").exists()
    assert not allowed(token, server, "run_command")
    assert not allowed(token, None, "run_command")


def test_what_counts_for_all_servers_is_nothing_that_a_grant_or_a_bounded_token_gives(
    server: Server, group: ServerGroup, person: Callable[..., Any], root: Any
):
    granted, permitted = person(username="granted"), person("run_command", username="permitted")
    Grant.objects.create(server_group=group, user=granted, permissions=["run_command"])
    assert allowed(granted, server, "run_command")
    assert not everywhere(granted, "run_command")
    for actor in (permitted, root, CONSOLE, Narrowed(permitted, ALL)):
        assert everywhere(actor, "run_command")
    for less in (frozenset({"view"}), frozenset()):
        assert not everywhere(Narrowed(root, less), "run_command")
    assert not everywhere(Narrowed(root, ALL, frozenset({group.pk})), "run_command")
    assert not everywhere(Narrowed(permitted, ALL), "change")


def test_a_right_that_nobody_knows_is_a_mistake_here_too(root: Any):
    for ask in (everywhere, permitting):
        with pytest.raises(ValueError, match="no such permission: 'everything'"):
            ask(root, "everything")
    with pytest.raises(ValueError, match="no such permission"):
        lacking(root, ["view", "everything"], [])


def test_nobody_hands_on_what_he_does_not_hold_on_every_one_of_the_servers(
    server: Server, other: Server, group: ServerGroup, person: Callable[..., Any], root: Any
):
    giver = person(username="giver")
    Grant.objects.create(server_group=group, user=giver, permissions=["run_command"])
    assert lacking(giver, ["view", "run_command"], [server.pk]) == []
    assert lacking(giver, ["run_command", "change"], [server.pk, server.pk]) == ["change"]
    assert lacking(giver, ["view", "run_command"], [server.pk, other.pk]) == ["view", "run_command"]
    assert lacking(root, PERMISSIONS, [server.pk, other.pk, 0]) == []
    assert lacking(giver, [], [other.pk]) == []


def test_a_token_adds_and_deletes_servers_only_with_all_of_its_makers_reach(
    server: Server, group: ServerGroup, person: Callable[..., Any], root: Any
):
    for may in (may_add, may_delete):
        assert may(root)
        assert may(CONSOLE)
        assert may(Narrowed(root, ALL))
        assert not may(Narrowed(root, ALL - {"change"}))
        assert not may(Narrowed(root, ALL, frozenset({group.pk})))
        assert not may(Narrowed(person(username=may.__name__), ALL))


def test_a_user_model_without_groups_has_the_grants_of_its_users(
    server: Server,
    other: Server,
    group: ServerGroup,
    person: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
):
    with isolate_apps("django.contrib.contenttypes"):

        class Plain(access.AbstractBaseUser):
            """What a host panel may have: a name and a password, no groups and no permissions."""

            class Meta:
                app_label = "contenttypes"

    row = person(username="plain")
    Grant.objects.create(server_group=group, user=row, permissions=["run_command"])
    plain = Plain(pk=row.pk)
    monkeypatch.setattr(access, "get_user_model", lambda: Plain)
    assert [one for one in (server, other) if allowed(plain, one, "run_command")] == [server]
    assert list(permitting(plain, "view")) == [server]
    assert not allowed(plain, server, "change")


def test_a_service_that_nobody_knows_asks_for_the_right_to_run_commands():
    assert access.asked_for("shell") == "open_shell"
    assert access.asked_for("system") == access.asked_for("from the future") == "run_command"
