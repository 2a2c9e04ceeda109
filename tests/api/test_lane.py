"""The lane for programs: quicker than the other way, and the same in all that matters."""

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient

from servers import tokens
from servers.models import Server
from tests.api.conftest import V1
from tests.servers.conftest import Wire

pytestmark = pytest.mark.django_db(transaction=True)
LANE = "tunnel.api.lane.ProgramLane"


def ask(method: str, path: str, body: Any = None, **headers: str) -> Any:
    async def send() -> Any:
        return await AsyncClient().generic(method, path, body or "", "application/json", headers=headers)

    return async_to_sync(send)()


@pytest.fixture
def shown(root: Any) -> dict[str, str]:
    return {"Authorization": f"Token {tokens.create(root, 'x', tokens.offered(root))[1]}"}


def test_the_site_has_the_lane_first(settings: Any):
    assert settings.MIDDLEWARE[0] == LANE


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "servers/", None),
        ("GET", "servers/wired-1/", None),
        ("GET", "servers/missing/", None),
        ("GET", "nonsense/", None),
        ("GET", "schema/", None),
        ("PUT", "servers/", "{}"),
        ("POST", "servers/", "{"),
        ("POST", "servers/wired-1/commands/", '{"service": "s"}'),
        ("POST", "servers/wired-1/suspend/", None),
    ],
)
def test_both_ways_answer_the_same(
    wired: Server, wire: Wire, shown: dict[str, str], settings: Any, method: str, path: str, body: Any
):
    through = ask(method, V1 + path, body, **shown)
    Server.objects.update(status="unknown")
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if name != LANE]
    around = ask(method, V1 + path, body, **shown)
    assert (through.status_code, through.json()) == (around.status_code, around.json())
    for name in ("Content-Type", "Cache-Control", "X-Content-Type-Options", "Referrer-Policy"):
        assert through[name] == around[name]


def test_an_answer_over_tls_says_that_tls_stays(shown: dict[str, str], settings: Any):
    settings.SECURE_HSTS_SECONDS = 3600
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    answer = ask("GET", V1 + "servers/", **shown, **{"X-Forwarded-Proto": "https"})
    assert answer["Strict-Transport-Security"].startswith("max-age=3600")


def test_a_wrong_token_goes_no_further_and_a_session_beside_it_counts_for_nothing(root: Any):
    client = AsyncClient()
    client.force_login(root)
    wrong = {"Authorization": "Token yta_" + "x" * 43}
    assert async_to_sync(client.get)(f"{V1}me/", headers=wrong).status_code == 401
    assert async_to_sync(client.get)(f"{V1}me/").status_code == 200


def test_the_lane_is_for_the_interface_alone(root: Any, shown: dict[str, str]):
    for path in ("/admin/", f"{V1}docs/", "/nowhere/", "/tunnel/healthz"):
        assert ask("GET", path, **shown).status_code == ask("GET", path).status_code


def test_a_host_that_is_not_ours_is_refused(shown: dict[str, str]):
    assert ask("GET", f"{V1}me/", **shown, Host="evil.example").status_code == 400


def test_a_token_over_plain_http_is_led_to_tls(shown: dict[str, str], settings: Any):
    settings.SECURE_SSL_REDIRECT = True
    response = ask("GET", f"{V1}me/", **shown)
    assert (response.status_code, response["Location"][:8]) == (301, "https://")
