"""Who may do what: denied unless something allows it."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Group, Permission

from servers import access
from servers.access import CONSOLE, Narrowed, allowed, may_add, may_delete, permitting, visible
from servers.models import Grant, Server, ServerGroup
from servers.rights import PERMISSIONS

pytestmark = pytest.mark.django_db
CODENAMES = {"view": "view_server", "change": "change_server"}


def granted(actor: Any, server: Server) -> set[str]:
    return {perm for perm in PERMISSIONS if allowed(actor, server, perm)}


def test_nobody_in_particular_may_do_nothing(server: Server, person: Callable[..., Any]):
    assert granted(AnonymousUser(), server) == set()
    assert granted(person(username="staff"), server) == set()
    assert granted(person(username="visitor", is_staff=False), server) == set()
    assert not visible(AnonymousUser()).exists()


@pytest.mark.parametrize("perm", PERMISSIONS)
def test_each_permission_allows_what_it_names_and_to_see_the_server(
    server: Server, person: Callable[..., Any], perm: str
):
    user = person(CODENAMES.get(perm, perm))
    assert granted(user, server) == {perm, "view"}  # who may do something with a server may see it
    assert visible(user).exists()


def test_a_permission_by_group_counts(server: Server, person: Callable[..., Any]):
    group = Group.objects.create(name="operators")
    group.permissions.add(Permission.objects.get(codename="run_command", content_type__app_label="servers"))
    user = person()
    user.groups.add(group)
    assert granted(user, server) == {"run_command", "view"}


def test_a_superuser_and_the_console_may_do_everything(server: Server, root: Any):
    assert granted(root, server) == granted(CONSOLE, server) == set(PERMISSIONS)
    assert list(visible(root)) == list(visible(CONSOLE)) == [server]


def test_who_is_no_longer_active_may_do_nothing(server: Server, person: Callable[..., Any]):
    fired = person("run_command", username="fired", is_active=False)
    fired_root = person(username="fired-root", is_active=False, is_superuser=True)
    assert granted(fired, server) == granted(fired_root, server) == set()
    assert not visible(fired_root).exists()


def test_a_permission_nobody_knows_is_a_mistake_even_for_superusers(server: Server, root: Any):
    for actor in (root, CONSOLE, AnonymousUser()):
        with pytest.raises(ValueError, match="no such permission: 'run_comand'"):
            allowed(actor, server, "run_comand")


def test_a_user_model_without_permissions_is_denied(server: Server):
    class Bare(access.AbstractBaseUser):
        is_active = True

        class Meta:
            app_label = "tests"
            abstract = True

    assert granted(Bare.__new__(Bare), server) == set()


def test_every_permission_is_there_to_be_given():
    names = {CODENAMES.get(perm, perm) for perm in PERMISSIONS}
    held = set(
        Permission.objects.filter(content_type__app_label="servers").values_list("codename", flat=True)
    )
    assert names <= held
    assert get_user_model().objects.count() == 0


@pytest.fixture
def other(db: None) -> Server:
    return Server.objects.create(name="Other", agent_id="agent-other")


@pytest.fixture
def group(server: Server) -> ServerGroup:
    made = ServerGroup.objects.create(name="Home")
    made.servers.add(server)
    return made


@pytest.mark.parametrize("perm", PERMISSIONS)
def test_a_grant_allows_what_it_names_on_the_servers_of_its_group_only(
    server: Server, other: Server, group: ServerGroup, person: Callable[..., Any], perm: str
):
    user = person()
    Grant.objects.create(server_group=group, user=user, permissions=[perm])
    assert granted(user, server) == {perm, "view"}
    assert granted(user, other) == set()
    assert list(visible(user)) == list(permitting(user, perm)) == [server]
    assert allowed(user, None, perm)
    assert not may_add(user)
    assert not may_delete(user)


def test_a_grant_to_a_group_of_users_counts_for_its_members_only(
    server: Server, group: ServerGroup, person: Callable[..., Any]
):
    operators = Group.objects.create(name="operators")
    Grant.objects.create(server_group=group, user_group=operators, permissions=["open_shell"])
    member, stranger = person(username="member"), person(username="stranger")
    member.groups.add(operators)
    assert granted(member, server) == {"open_shell", "view"}
    assert granted(stranger, server) == set()


def test_grants_add_up_and_a_server_in_two_groups_is_listed_once(
    server: Server, group: ServerGroup, person: Callable[..., Any]
):
    second = ServerGroup.objects.create(name="Second")
    second.servers.add(server)
    user = person()
    Grant.objects.create(server_group=group, user=user, permissions=["open_shell"])
    Grant.objects.create(server_group=second, user=user, permissions=["run_command"])
    assert granted(user, server) == {"open_shell", "run_command", "view"}
    assert list(visible(user)) == [server]


def test_who_is_no_longer_active_has_no_grants(
    server: Server, group: ServerGroup, person: Callable[..., Any]
):
    fired = person(is_active=False)
    Grant.objects.create(server_group=group, user=fired, permissions=["run_command"])
    assert granted(fired, server) == set()


def test_a_narrowed_user_may_never_more_than_the_user(
    server: Server, other: Server, group: ServerGroup, person: Callable[..., Any], root: Any
):
    user = person("run_command")
    everything = frozenset(PERMISSIONS)
    assert granted(Narrowed(user, everything), other) == {"run_command", "view"}
    assert granted(Narrowed(root, frozenset({"view"})), server) == {"view"}
    assert granted(Narrowed(root, everything, frozenset({group.pk})), server) == set(PERMISSIONS)
    assert granted(Narrowed(root, everything, frozenset({group.pk})), other) == set()
    assert list(visible(Narrowed(root, everything, frozenset({group.pk})))) == [server]
    assert granted(Narrowed(root, everything, frozenset()), server) == set()
    assert not may_add(Narrowed(root, everything, frozenset({group.pk})))
    assert may_add(Narrowed(root, everything))


def test_a_list_of_servers_says_what_a_look_at_each_says(
    server: Server, other: Server, group: ServerGroup, person: Callable[..., Any]
):
    user = person(username="both")
    Grant.objects.create(server_group=group, user=user, permissions=["run_command", "change"])
    for perm in PERMISSIONS:
        listed = set(permitting(user, perm))
        assert listed == {one for one in (server, other) if allowed(user, one, perm)}
