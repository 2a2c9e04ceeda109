"""The tunnel's system checks: a sound site passes in silence, and each missing piece has an id of its own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.apps import apps
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.checks import run_checks
from django.test import override_settings
from django.urls import path, re_path

from tunnel import asgi_routes, checks
from tunnel.asgi_routes import Verdict
from tunnel.consumers import AgentConsumer
from tunnel.routing import channel_names, websocket_urlpatterns

IN_MEMORY = {"BACKEND": "channels.layers.InMemoryChannelLayer"}
CORE = {"BACKEND": "channels_redis.core.RedisChannelLayer"}
PUBSUB = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}
BROKEN = {"BACKEND": "no.such.Layer"}

# Applications that ASGI_APPLICATION names below.
plain_django = get_asgi_application()


def with_jobs(**protocols: Any) -> ProtocolTypeRouter:
    return ProtocolTypeRouter({**protocols, "channel": ChannelNameRouter(channel_names)})


class Chat(AsyncWebsocketConsumer):
    """A consumer of the site's own."""


ours = URLRouter(websocket_urlpatterns)
agents_behind_origin = AllowedHostsOriginValidator(AgentConsumer.as_asgi())
without_websocket = with_jobs(http=plain_django)
without_tunnel = with_jobs(websocket=URLRouter([path("chat/", Chat.as_asgi())]))
shadowed = with_jobs(websocket=URLRouter([re_path("^tunnel", Chat.as_asgi()), *websocket_urlpatterns]))
behind_origin = with_jobs(websocket=AllowedHostsOriginValidator(ours))
inside_origin = with_jobs(websocket=URLRouter([re_path(r"^tunnel/?$", agents_behind_origin)]))
behind_login = with_jobs(websocket=AuthMiddlewareStack(ours))
nested = with_jobs(websocket=URLRouter([path("", ours)]))
hidden_consumer = with_jobs(websocket=URLRouter([re_path("^tunnel", plain_django)]))
without_jobs = ProtocolTypeRouter({"websocket": ours})
other_jobs = ProtocolTypeRouter({"websocket": ours, "channel": ChannelNameRouter({"mails": plain_django})})


async def opaque(scope: Any, receive: Any, send: Any) -> None:
    """A site's own application, into which one cannot look."""


def found(*, deploy: bool = False) -> list[Any]:
    """What the checks of the tunnel say about the settings as they are now."""
    messages = run_checks(include_deployment_checks=deploy)
    return [message for message in messages if str(message.id).startswith("tunnel.")]


def ids(*, deploy: bool = False) -> list[str]:
    return [str(message.id) for message in found(deploy=deploy)]


def application(name: str) -> AbstractContextManager[None]:
    return override_settings(ASGI_APPLICATION=f"{__name__}.{name}")


def layers(**changed: dict[str, Any] | None) -> AbstractContextManager[None]:
    """The site's channel layers with these changed; None takes one away."""
    merged = settings.CHANNEL_LAYERS | changed
    return override_settings(CHANNEL_LAYERS={alias: layer for alias, layer in merged.items() if layer})


@contextmanager
def installed(names: list[str]) -> Iterator[None]:
    """Have these apps installed, as far as the registry tells; models and URLs stay as they are."""
    known = {config.name: config for config in apps.get_app_configs()}
    before = apps.app_configs
    apps.app_configs = {known[name].label: known[name] for name in names}
    try:
        yield
    finally:
        apps.app_configs = before


def app_names() -> list[str]:
    return [config.name for config in apps.get_app_configs()]


def moved_last(name: str) -> list[str]:
    return [*(other for other in app_names() if other != name), name]


# A sound installation -------------------------------------------------------------------------------------------


def test_the_sites_own_settings_give_no_message():
    assert ids(deploy=True) == []


@pytest.mark.parametrize("name", ["behind_login", "nested", "opaque", "hidden_consumer"])
def test_a_route_inside_other_applications_gives_no_message(name: str):
    with application(name):
        assert ids() == []


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("behind_login", Verdict.FOUND),
        ("nested", Verdict.FOUND),
        ("opaque", Verdict.HIDDEN),
        ("hidden_consumer", Verdict.HIDDEN),
    ],
)
def test_the_look_tells_a_route_it_found_from_one_it_cannot_see(name: str, verdict: Verdict):
    with application(name):
        assert asgi_routes.look().verdict is verdict


def test_an_in_memory_layer_is_fine_while_developing():
    with layers(default=IN_MEMORY, jobs=IN_MEMORY), override_settings(DEBUG=True):
        assert ids() == []


@pytest.mark.parametrize(
    "values",
    [
        {"TUNNEL_PING": 5},
        {"TUNNEL_PUBLIC_URL": "https://panel.example.org"},
        {"TUNNEL_PUBLIC_URL": "wss://panel.example.org/tunnel"},
        {"TUNNEL_TRUSTED_PROXIES": ("127.0.0.1", "10.0.0.1/8", "fd00::/8", "unix")},
    ],
    ids=str,
)
def test_usable_values_give_no_message(values: dict[str, Any]):
    with override_settings(**values):
        assert ids() == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "ws://localhost", "http://[::1]:8000"])
def test_an_address_of_this_machine_is_fine_while_developing(url: str):
    with override_settings(TUNNEL_PUBLIC_URL=url):
        assert ids() == ["tunnel.W004"]
        with override_settings(DEBUG=True):
            assert ids() == []


# One piece missing ----------------------------------------------------------------------------------------------

MISSING = {
    "an application that cannot be loaded": (
        override_settings(ASGI_APPLICATION="no.such.app"),
        "tunnel.E001",
    ),
    "no application at all": (override_settings(ASGI_APPLICATION=None), "tunnel.E001"),
    "no websocket in the router": (application("without_websocket"), "tunnel.E001"),
    "no route to /tunnel": (application("without_tunnel"), "tunnel.E001"),
    "another route to /tunnel before ours": (application("shadowed"), "tunnel.E001"),
    "no channels in the router": (application("without_jobs"), "tunnel.E022"),
    "no channel of the jobs": (application("other_jobs"), "tunnel.E022"),
    "no layers at all": (override_settings(CHANNEL_LAYERS={}), "tunnel.E002"),
    "an origin validator around the routes": (application("behind_origin"), "tunnel.E007"),
    "an origin validator in the route of agents": (application("inside_origin"), "tunnel.E007"),
    "a broken default layer": (layers(default=BROKEN), "tunnel.E002"),
    "no default layer": (layers(default=None), "tunnel.E002"),
    "a default layer in memory": (layers(default=IN_MEMORY), "tunnel.E003"),
    "a core default layer": (layers(default=CORE), "tunnel.W008"),
    "a broken jobs layer": (layers(jobs=BROKEN), "tunnel.E006"),
    "no jobs layer": (layers(jobs=None), "tunnel.E006"),
    "a pubsub jobs layer": (layers(jobs=PUBSUB), "tunnel.W010"),
    "a number that is a word": (override_settings(TUNNEL_PING="often"), "tunnel.E010"),
    "a number that is a switch": (override_settings(TUNNEL_PING=True), "tunnel.E010"),
    "a number out of bounds": (override_settings(TUNNEL_HEARTBEAT=0), "tunnel.E010"),
    "a list that is a word": (override_settings(TUNNEL_TRUSTED_PROXIES="127.0.0.1"), "tunnel.E010"),
    "a proxy that is no address": (override_settings(TUNNEL_TRUSTED_PROXIES=["localhost"]), "tunnel.E010"),
    "a public URL in the clear": (override_settings(TUNNEL_PUBLIC_URL="http://panel.test"), "tunnel.W004"),
    "a public URL without a scheme": (override_settings(TUNNEL_PUBLIC_URL="panel.test"), "tunnel.E010"),
    "a mail address that is none": (override_settings(TUNNEL_ALERT_EMAILS=["ops"]), "tunnel.E026"),
    "a header in a mail address": (
        override_settings(TUNNEL_ALERT_EMAILS=["ops@example.org\nBcc: x@example.org"]),
        "tunnel.E026",
    ),
    "a crowd of mail addresses": (override_settings(TUNNEL_ALERT_EMAILS=["a@b.org"] * 21), "tunnel.E026"),
    "a webhook in the clear": (override_settings(TUNNEL_ALERT_WEBHOOK="http://hook.test/"), "tunnel.E027"),
    "a webhook in the clear on this machine": (
        override_settings(TUNNEL_ALERT_WEBHOOK="http://127.0.0.1/", DEBUG=False),
        "tunnel.E027",
    ),
    "a webhook with a password": (
        override_settings(TUNNEL_ALERT_WEBHOOK="https://us:hunter2@hook.test/"),
        "tunnel.E027",
    ),
    "a webhook that is no URL": (override_settings(TUNNEL_ALERT_WEBHOOK="https://a b/"), "tunnel.E027"),
    "a webhook of another kind": (
        override_settings(TUNNEL_ALERT_WEBHOOK="file:///etc/passwd"),
        "tunnel.E027",
    ),
    "a webhook with no port": (override_settings(TUNNEL_ALERT_WEBHOOK="https://a:x/"), "tunnel.E027"),
    "a short secret": (override_settings(TUNNEL_ALERT_WEBHOOK_SECRET="hunter2"), "tunnel.E027"),
    "a secret's file that is not there": (
        override_settings(TUNNEL_ALERT_WEBHOOK_SECRET_FILE="/nowhere"),
        "tunnel.E027",
    ),
    "two secrets": (
        override_settings(TUNNEL_ALERT_WEBHOOK_SECRET="hunter2" * 9, TUNNEL_ALERT_WEBHOOK_SECRET_FILE="/x"),
        "tunnel.E027",
    ),
    "a misspelt name": (override_settings(TUNNEL_HARTBEAT=30), "tunnel.W011"),
    "a name of nothing": (override_settings(TUNNEL_XYZZY=1), "tunnel.W011"),
}


@pytest.mark.parametrize(("change", "expected"), MISSING.values(), ids=MISSING)
def test_each_missing_piece_is_told_once_with_the_line_to_change(
    change: AbstractContextManager[None], expected: str
):
    with change:
        (message,) = found()
    assert message.id == expected
    assert message.hint
    assert "hunter2" not in message.msg
    assert not message.msg.endswith(".")


APPS = {
    "no servers": (lambda: [name for name in app_names() if name != "servers"], "tunnel.E005"),
    "daphne after staticfiles": (lambda: moved_last("daphne"), "tunnel.W006"),
    "channels before tunnel": (lambda: moved_last("tunnel"), "tunnel.W009"),
}


@pytest.mark.parametrize(("names", "expected"), APPS.values(), ids=APPS)
def test_each_missing_or_misplaced_app_is_told(names: Any, expected: str):
    with installed(names()):
        assert [message.id for message in checks.installed_apps()] == [expected]


def test_an_app_that_is_not_there_is_not_misplaced():
    with installed([name for name in app_names() if name not in ("daphne", "channels")]):
        assert checks.installed_apps() == []


def test_djangos_own_application_lacks_both_routes():
    with application("plain_django"):
        assert sorted(ids()) == ["tunnel.E001", "tunnel.E022"]


# What the sentences say -----------------------------------------------------------------------------------------


def test_an_application_that_fails_to_load_says_of_what():
    with override_settings(ASGI_APPLICATION="no.such.app"):
        (message,) = found()
    assert "ModuleNotFoundError: No module named 'no'" in message.msg


def test_a_misspelt_name_is_offered_the_right_one():
    with override_settings(TUNNEL_HARTBEAT=30):
        (message,) = found()
    assert message.hint == "did you mean TUNNEL_HEARTBEAT"


# Redis ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def dead_redis() -> Iterator[str]:
    """An address at which nothing answers: the port is taken, and nobody listens on it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"redis://127.0.0.1:{taken.getsockname()[1]}"


def test_a_redis_that_is_not_there_is_told_when_deploying_only(dead_redis: str):
    config = {"CONFIG": {"hosts": [dead_redis]}}
    with layers(default=PUBSUB | config, jobs=CORE | config):
        assert ids() == []
        assert ids(deploy=True) == ["tunnel.E014", "tunnel.E014"]
