"""Tokens: who may make which, what opens the REST interface and what does not."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.utils import timezone

from servers import identity, tokens
from servers.errors import TokenNotPossible
from servers.models import ApiToken, Grant, Server, ServerGroup
from tests.api.conftest import V1, Program, problem
from tunnel.api import urls

pytestmark = pytest.mark.django_db


def test_a_token_is_kept_as_a_digest_only(root: Any):
    row, token = tokens.create(root, "laptop", ["view"])
    assert (token[:4], len(token)) == ("yta_", 47)
    assert row.prefix == token[:10]
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM servers_apitoken")
        assert token[10:] not in str(cursor.fetchall())


def test_a_token_has_at_most_the_rights_of_its_maker(person: Callable[..., Any]):
    user = person("run_command")
    with pytest.raises(TokenNotPossible, match="may not give change, rotate_secret to a token"):
        tokens.create(user, "laptop", ["run_command", "change", "rotate_secret"])
    with pytest.raises(TokenNotPossible, match="without any permission"):
        tokens.create(user, "laptop", [])
    assert tokens.create(user, "laptop", ["run_command"])[0].permissions == ["run_command"]


def test_a_right_by_a_grant_may_be_given_on(server: Server, person: Callable[..., Any]):
    group, user = ServerGroup.objects.create(name="g"), person()
    with pytest.raises(TokenNotPossible):
        tokens.create(user, "x", ["change"])
    Grant.objects.create(server_group=group, user=user, permissions=["change"])
    user = get_user_model().objects.get(pk=user.pk)
    assert tokens.offered(user) == ["view", "change"]
    tokens.create(user, "x", ["change"])


@pytest.mark.parametrize("days", [-1, 0, 367])
def test_a_token_ends_within_a_year(root: Any, days: int):
    with pytest.raises(TokenNotPossible, match="within 366 days"):
        tokens.create(
            root,
            "x",
            ["view"],
            expires_at=timezone.now() + timedelta(days=days, seconds=1 if days > 0 else 0),
        )


def test_a_name_has_no_hidden_characters(root: Any):
    with pytest.raises(ValidationError):
        tokens.create(root, "a\x1b[31mb", ["view"])


def test_a_person_has_a_bounded_number_of_tokens(root: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tokens, "MAX_LIVE", 2)
    first = tokens.create(root, "1", ["view"])[0]
    tokens.create(root, "2", ["view"])
    with pytest.raises(TokenNotPossible, match="has 2 tokens"):
        tokens.create(root, "3", ["view"])
    tokens.revoke([first])
    tokens.create(root, "3", ["view"])


def test_the_use_is_noted_once_a_minute(root: Any, program: Callable[..., Program]):
    caller = program(root)
    caller.get("me/")
    noted = ApiToken.objects.get().last_used_at
    assert noted is not None
    caller.get("me/")
    assert ApiToken.objects.get().last_used_at == noted
    ApiToken.objects.update(last_used_at=noted - timedelta(minutes=2))
    caller.get("me/")
    assert ApiToken.objects.get().last_used_at > noted


def test_every_token_that_is_none_gets_the_same_answer(root: Any, person: Callable[..., Any]):
    fired = person(username="fired", is_superuser=True)
    revoked, expired = tokens.create(root, "r", ["view"]), tokens.create(root, "e", ["view"])
    of_fired = tokens.create(fired, "f", ["view"])
    tokens.revoke([revoked[0]])
    ApiToken.objects.filter(pk=expired[0].pk).update(expires_at=timezone.now())
    get_user_model().objects.filter(pk=fired.pk).update(is_active=False)
    shown = [revoked[1], expired[1], of_fired[1], "yta_" + "x" * 43, "yta_short", "\udcff", "x y", ""]
    answers = {Program(token or " ").get("me/").content for token in shown}
    answers.add(Client().get(f"{V1}me/").content)
    assert len(answers) == 1
    response = Program(shown[0]).get("me/")
    assert problem(response) == (401, "not_authenticated")
    assert response["WWW-Authenticate"] == 'Token realm="api"'


def test_a_token_in_the_address_or_a_cookie_opens_nothing(root: Any):
    token = tokens.create(root, "x", ["view"])[1]
    client = Client()
    client.cookies["token"] = token
    assert (
        client.get(f"{V1}me/?token={token}&access_token={token}&Authorization=Token%20{token}").status_code
        == 401
    )


def test_the_secret_of_an_agent_opens_no_route(server: Server):
    secret = identity.rotate_secret(server)
    given = [
        {"Authorization": f"Token {secret}"},
        {"Authorization": f"Bearer {secret}"},
        {"X-Agent-ID": server.agent_id, "X-Agent-Secret": secret},
    ]
    routes = [
        pattern.pattern._route.replace("<str:agent_id>", server.agent_id).replace("<uuid:pk>", "0" * 32)
        for pattern in urls.urlpatterns
        if hasattr(pattern.pattern, "_route") and pattern.name not in ("problem", "docs")
    ]
    assert len(routes) >= 8
    for route in routes:
        for method in ("GET", "POST", "PATCH", "DELETE"):
            for headers in given:
                assert Program()(method, route, {}, **headers).status_code in (401, 403), route


# Browsers -------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_browser_reads_by_its_session_and_writes_with_its_csrf_token(server: Server, root: Any):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(root)
    caller = Program(client=browser)
    assert caller.get("me/").json()["token"] is None
    for path in ("servers/", f"servers/{server.agent_id}/suspend/", f"servers/{server.agent_id}/commands/"):
        assert problem(caller.post(path, {"name": "x"})) == (403, "csrf_failed")
    assert Server.objects.get().status == "unknown"
    browser.get("/admin/")  # its pages set the cookie
    browser.get("/admin/password_change/")
    token = browser.cookies["csrftoken"].value
    assert caller.post("servers/", {"name": "x"}, **{"X-CSRFToken": token}).status_code == 201


def test_me_tells_what_a_token_may_do(root: Any, program: Callable[..., Program]):
    group = ServerGroup.objects.create(name="web")
    body = program(root, "run_command", groups=[group]).get("me/").json()
    assert (body["user"], body["token"], body["groups"]) == ("root", "test", ["web"])
    assert body["scopes"] == ["view", "run_command"]
    assert body["expires_at"] > timezone.now().isoformat()
    assert program(root).get("me/").json()["groups"] is None


def test_a_token_loses_what_its_user_loses(
    server: Server, person: Callable[..., Any], program: Callable[..., Program]
):
    user = person("change_server")
    caller = program(user)
    assert caller.get("servers/agent-home-server/").status_code == 200
    user.user_permissions.clear()
    assert problem(caller.get("servers/agent-home-server/")) == (404, "not_found")
    assert caller.get("me/").json()["scopes"] == []
