"""Who may do what: denied unless something allows it."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Group, Permission

from servers import access
from servers.access import CONSOLE, PERMISSIONS, allowed, visible
from servers.models import Server

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
def test_each_permission_allows_what_it_names_and_nothing_else(
    server: Server, person: Callable[..., Any], perm: str
):
    user = person(CODENAMES.get(perm, perm))
    expected = {"change", "view"} if perm == "change" else {perm}
    assert granted(user, server) == expected
    assert visible(user).exists() == ("view" in expected)


def test_a_permission_by_group_counts(server: Server, person: Callable[..., Any]):
    group = Group.objects.create(name="operators")
    group.permissions.add(Permission.objects.get(codename="run_command", content_type__app_label="servers"))
    user = person()
    user.groups.add(group)
    assert granted(user, server) == {"run_command"}


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
