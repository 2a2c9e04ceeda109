"""`/tunnel/healthz`, `/tunnel/readyz` and `/tunnel/metrics`: what probes and scrapers are told, and who is."""

from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import OperationalError
from django.test import Client

from agent_client import __version__
from tunnel import health, metrics

TOKEN = "a-token-of-at-least-16-characters"


@pytest.fixture(autouse=True)
def looked_at_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_found", {})


def ready() -> tuple[int, dict[str, str]]:
    response = Client().get("/tunnel/readyz")
    return response.status_code, response.json()


def test_a_process_that_answers_lives():
    response = Client().get("/tunnel/healthz")
    assert (response.status_code, response.content) == (200, b"ok\n")
    assert Client().post("/tunnel/healthz").status_code == 405


@pytest.mark.django_db(transaction=True)
def test_a_worker_with_database_and_layer_is_ready():
    assert ready() == (200, {"database": "ok", "layer": "ok", "worker": "ok"})


@pytest.mark.django_db(transaction=True)
def test_it_says_which_part_is_away_and_no_more(monkeypatch: pytest.MonkeyPatch, settings: Any):
    def away() -> None:
        raise OperationalError("could not connect to db.internal as panel")

    monkeypatch.setattr(health, "_ask_database", away)
    response = Client().get("/tunnel/readyz")
    assert (response.status_code, response.json()["database"]) == (503, "away")
    assert b"internal" not in response.content


@pytest.mark.django_db(transaction=True)
def test_a_layer_that_does_not_answer_is_away(monkeypatch: pytest.MonkeyPatch):
    class Layer:
        async def group_send(self, *_: Any) -> None:
            raise ConnectionError("Redis is away")

    monkeypatch.setattr(health, "get_channel_layer", lambda _: Layer())
    assert ready() == (503, {"database": "ok", "layer": "away", "worker": "ok"})


@pytest.mark.django_db(transaction=True)
def test_an_answer_is_given_again_for_a_while(monkeypatch: pytest.MonkeyPatch):
    looks = []
    monkeypatch.setattr(health, "_ask_database", lambda: looks.append(1))
    monkeypatch.setattr(health, "KEPT", 60.0)
    for _ in range(5):
        ready()
    assert len(looks) == 1


# Metrics --------------------------------------------------------------------------------------------------------


def scrape(**facts: Any) -> Any:
    headers = facts.pop("headers", {})
    return Client(headers=headers).get("/tunnel/metrics", **facts)


def test_strangers_get_no_metrics(settings: Any):
    assert scrape().status_code == 403
    settings.TUNNEL_METRICS_TOKEN = TOKEN
    for shown in ("", "Bearer ", "Bearer x", f"Token {TOKEN}", f"Bearer {TOKEN}x", "Bearer \u00e4"):
        assert scrape(headers={"Authorization": shown}).status_code == 403


def test_the_token_opens_them(settings: Any, tmp_path: Any):
    settings.TUNNEL_METRICS_TOKEN = TOKEN
    response = scrape(headers={"Authorization": f"Bearer {TOKEN}"})
    assert response.status_code == 200
    text = response.content.decode()
    assert f'yumna_tunnel_build_info{{version="{__version__}"}} 1.0' in text
    assert "yumna_tunnel_agents_connected 0.0" in text
    (tmp_path / "token").write_text(f"{TOKEN}-of-the-file\n")
    settings.TUNNEL_METRICS_TOKEN_FILE = str(tmp_path / "token")
    assert scrape(headers={"Authorization": f"Bearer {TOKEN}-of-the-file"}).status_code == 200
    assert scrape(headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 403
    settings.TUNNEL_METRICS_TOKEN_FILE = str(tmp_path / "missing")
    assert scrape(headers={"Authorization": "Bearer "}).status_code == 403


def test_an_address_that_is_allowed_needs_no_token(settings: Any):
    settings.TUNNEL_METRICS_ALLOW = ["10.0.0.0/8"]
    assert scrape(REMOTE_ADDR="10.1.2.3").status_code == 200
    assert scrape(REMOTE_ADDR="192.0.2.1").status_code == 403
    assert scrape(REMOTE_ADDR="").status_code == 403


def test_who_comes_through_a_proxy_has_his_own_address(settings: Any):
    """A proxy on an allowed address must not let the world in."""
    settings.TUNNEL_METRICS_ALLOW = ["127.0.0.1", "10.0.0.0/8"]
    forwarded = {"X-Forwarded-For": "203.0.113.9"}
    assert scrape(headers=forwarded, REMOTE_ADDR="127.0.0.1").status_code == 403
    assert scrape(headers={"X-Forwarded-For": "10.1.1.1"}, REMOTE_ADDR="127.0.0.1").status_code == 403
    settings.TUNNEL_TRUSTED_PROXIES = ["127.0.0.1"]
    assert scrape(headers=forwarded, REMOTE_ADDR="127.0.0.1").status_code == 403
    assert scrape(headers={"X-Forwarded-For": "10.1.1.1"}, REMOTE_ADDR="127.0.0.1").status_code == 200


def test_without_the_package_it_says_what_is_missing(settings: Any, monkeypatch: pytest.MonkeyPatch):
    settings.TUNNEL_METRICS_ALLOW = ["127.0.0.1"]
    monkeypatch.setattr(metrics, "prometheus", None)
    metrics.handshake("accepted")
    metrics.command("system.exec", "success", 1.0)
    response = scrape()
    assert (response.status_code, b"install" in response.content) == (501, True)


def test_a_label_does_not_grow_with_what_people_try():
    before = len(metrics.exposition()[0])
    for number in range(100):
        metrics.command(f"service{number}.action", "unknown_service", 0.01)
    text = metrics.exposition()[0]
    assert b'yumna_tunnel_commands_total{status="unknown_service",type="other"}' in text
    assert len(text) < before + 5_000


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("METRICS_TOKEN", "short", "tunnel.E015"),
        ("METRICS_TOKEN_FILE", "/no/such/file", "tunnel.E028"),
        ("METRICS_ALLOW", ["10.0.0.0/40"], "tunnel.E016"),
    ],
)
def test_a_setting_that_would_not_do_is_named(settings: Any, name: str, value: Any, check: str):
    setattr(settings, f"TUNNEL_{name}", value)
    assert check in [message.id for message in run_checks()]


def test_a_cache_of_each_process_is_named_where_it_counts(settings: Any):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    settings.DEBUG = True
    assert "tunnel.W005" not in [message.id for message in run_checks()]
    settings.DEBUG = False
    assert "tunnel.W005" in [message.id for message in run_checks()]
    settings.TUNNEL_API_READS_A_MINUTE = settings.TUNNEL_API_COMMANDS_A_MINUTE = 0
    assert "tunnel.W005" not in [message.id for message in run_checks()]
