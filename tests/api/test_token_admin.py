"""Tokens in the admin: for oneself, with rights one has, shown once."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from servers import tokens
from servers.models import ApiToken, Server, ServerGroup
from servers.rights import LABELS
from tests.api.conftest import Program, problem

pytestmark = pytest.mark.django_db
LIST, ADD = "/admin/servers/apitoken/", "/admin/servers/apitoken/add/"
FORM = {"name": "laptop", "permissions": ["run_command"], "days": "30"}


@pytest.fixture
def browsing(person: Callable[..., Any]) -> Callable[..., tuple[Client, Any]]:
    def log_in(*codenames: str, **facts: Any) -> tuple[Client, Any]:
        user, client = person(*codenames, **facts), Client()
        client.force_login(user)
        return client, user

    return log_in


def test_a_person_makes_a_token_and_sees_it_once(browsing: Callable[..., Any]):
    client, user = browsing("run_command")
    response = client.post(ADD, FORM)
    assert response.status_code == 200, response
    assert "no-store" in response["Cache-Control"]
    (token,) = re.findall(r"yta_[A-Za-z0-9_-]{43}", response.content.decode())
    row = ApiToken.objects.get()
    assert (row.user, row.permissions, row.all_servers) == (user, ["run_command"], True)
    assert Program(token).get("me/").json()["scopes"] == ["view", "run_command"]
    for page in (LIST, f"{LIST}{row.pk}/change/", f"{LIST}{row.pk}/history/"):
        text = client.get(page).content.decode()
        assert "laptop" in text
        assert token[10:] not in text
    assert LogEntry.objects.get().user == user


def test_only_rights_one_has_are_offered_and_taken(browsing: Callable[..., Any]):
    client, _ = browsing("run_command")
    page = client.get(ADD).content.decode()
    assert set(re.findall(r'name="permissions" value="(\w+)"', page)) == {"view", "run_command"}
    assert str(LABELS["view"]) in page
    response = client.post(ADD, FORM | {"permissions": ["run_command", "rotate_secret"]})
    assert "rotate_secret" in response.content.decode()
    assert not ApiToken.objects.exists()


def test_a_token_for_groups_is_for_these_only(server: Server, browsing: Callable[..., Any]):
    client, _ = browsing("run_command")
    group = ServerGroup.objects.create(name="web")
    assert "web</option>" not in client.get(ADD).content.decode()  # nothing one may see is in it
    client.post(ADD, FORM | {"groups": [str(group.pk)]})
    assert not ApiToken.objects.exists()
    group.servers.add(server)
    client.post(ADD, FORM | {"groups": [str(group.pk)]})
    row = ApiToken.objects.get()
    assert (row.all_servers, list(row.groups.all())) == (False, [group])
    group.delete()
    assert tokens.actor(ApiToken.objects.get()).groups == frozenset()


@pytest.mark.parametrize(
    "wrong", [{"days": "366"}, {"days": "0"}, {"name": ""}, {"permissions": []}, {"name": "a\u202eb"}]
)
def test_a_wrong_form_makes_none(browsing: Callable[..., Any], wrong: dict[str, Any]):
    client, _ = browsing("run_command")
    assert client.post(ADD, FORM | wrong).status_code == 200
    assert not ApiToken.objects.exists()


def test_people_see_and_revoke_their_own_tokens_and_superusers_all(browsing: Callable[..., Any], root: Any):
    client, user = browsing("run_command")
    mine, mine_token = tokens.create(user, "mine", ["view"])
    others, others_token = tokens.create(root, "the root one", ["view"])
    text = client.get(LIST).content.decode()
    assert "mine" in text
    assert "the root one" not in text
    assert client.get(f"{LIST}{others.pk}/change/").status_code == 302  # to the index: there is none
    for pk in (others.pk, mine.pk):
        client.post(LIST, {"action": "revoke_tokens", "_selected_action": [str(pk)]})
    assert problem(Program(mine_token).get("me/")) == (401, "not_authenticated")
    assert Program(others_token).get("me/").status_code == 200
    assert [(entry.user, entry.object_id) for entry in LogEntry.objects.all()] == [(user, str(mine.pk))]
    client.force_login(root)
    client.post(LIST, {"action": "revoke_tokens", "_selected_action": [str(others.pk)]})
    assert Program(others_token).get("me/").status_code == 401


def test_staff_without_a_right_make_none(browsing: Callable[..., Any]):
    client, _ = browsing()
    assert client.get(ADD).status_code == 403
    assert client.post(ADD, FORM).status_code == 403
    assert "apitoken" not in client.get("/admin/").content.decode()


def test_nobody_changes_a_token(browsing: Callable[..., Any]):
    client, user = browsing("run_command", username="boss", is_superuser=True)
    row = tokens.create(user, "mine", ["view"])[0]
    assert (
        client.post(f"{LIST}{row.pk}/change/", {"name": "other", "permissions": ["change"]}).status_code
        == 403
    )
    assert ApiToken.objects.get().permissions == ["view"]
