"""Every route × everybody: one table says who is let in, and a route without a row fails.

To add a route, add a row. Who is not named in it must be sent to the login, refused, or told that there is nothing;
and whoever may not see the server must not find its name in any answer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.apps import apps
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client
from django.urls import URLPattern, get_resolver

from servers import transports
from servers.access import Console, allowed
from servers.models import Server
from servers.threads import in_thread
from tests.rights.people import (
    ANYBODY,
    LOGGED_IN,
    NAME,
    NOBODY,
    PEOPLE,
    SEEING,
    SOMEWHERE,
    STAFF,
    World,
    holding,
    make_world,
)
from tunnel.cli.commands import COMMANDS
from tunnel.cli.local import host_user
from tunnel.routing import channel_names, websocket_urlpatterns

pytestmark = pytest.mark.django_db
OURS = ("admin/servers/", "admin/tunnel/", "api/tunnel/", "tunnel/")
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
GROUPS = frozenset({"granter", "superuser"})
TAGS = frozenset({"tagger", "superuser"})
ADDING = frozenset({"adder", "superuser"})
REMOVING = frozenset({"remover", "superuser"})


@dataclass(frozen=True)
class Row:
    """One way to call a route: who is let in, and what is sent."""

    method: str
    who: frozenset[str]
    sent: dict[str, Any] = field(default_factory=dict)
    query: str = ""


def history(
    model: str, who: frozenset[str] = SEEING, somewhere: frozenset[str] = SOMEWHERE
) -> dict[str, list[Row]]:
    """The rows of an admin to read: not even a superuser writes there."""
    at = f"admin/{model}/"
    one = f"{at}<path:object_id>/"
    return {
        at: [Row("GET", who | somewhere), Row("POST", who | somewhere, {"action": "export_csv"})],
        f"{at}add/": [Row("GET", NOBODY), Row("POST", NOBODY)],
        f"{one}change/": [Row("GET", who), Row("POST", NOBODY)],
        f"{one}delete/": [Row("GET", NOBODY), Row("POST", NOBODY, {"post": "yes"})],
        f"{one}history/": [Row("GET", who)],
        one: [Row("GET", STAFF)],  # leads to `change/`
    }


def edited(model: str, who: frozenset[str]) -> dict[str, list[Row]]:
    """The rows of an admin that Django's own permissions open."""
    at = f"admin/{model}/"
    one = f"{at}<path:object_id>/"
    return {
        at: [Row("GET", who)],
        f"{at}add/": [Row("GET", who), Row("POST", who)],
        f"{one}change/": [Row("GET", who), Row("POST", who)],
        f"{one}delete/": [Row("GET", who), Row("POST", who, {"post": "yes"})],
        f"{one}history/": [Row("GET", who)],
        one: [Row("GET", STAFF)],
    }


def of_server(verb: str, *rows: Row) -> dict[str, list[Row]]:
    return {f"admin/servers/server/<path:object_id>/{verb}": list(rows)}


SUSPEND = {"action": "suspend_servers", "_selected_action": "{server}"}
ROTATE = {"chosen_secret": "", "secret_version_{server}": "{version}"}
COMMAND = {"service": "system", "action": "exec"}
TOKEN = "admin/servers/apitoken/<path:object_id>/"  # of the superuser
ROOT = frozenset({"superuser"})
WATCHING = holding("view_recording")
RECORDING = "admin/tunnel/recordings/<uuid:recording>/"
API_SERVER = "api/tunnel/v1/servers/<str:agent_id>/"

TABLE: dict[str, list[Row]] = {
    # Pages
    "admin/tunnel/nodes/": [Row("GET", STAFF)],
    "admin/tunnel/nodes/data/": [Row("GET", STAFF)],
    "admin/tunnel/nodes/<int:pk>/waiting/": [Row("GET", SEEING)],
    "admin/tunnel/nodes/<int:pk>/": [Row("GET", SEEING)],
    "admin/tunnel/nodes/<int:pk>/data/": [Row("GET", SEEING)],
    "admin/tunnel/nodes/<int:pk>/samples.csv": [Row("GET", SEEING)],
    "admin/tunnel/nodes/<int:pk>/command/": [Row("GET", STAFF), Row("POST", holding("run_command"))],
    "admin/tunnel/nodes/<int:pk>/terminal/": [Row("GET", holding("open_shell"))],
    "admin/tunnel/nodes/<int:pk>/shells/": [Row("GET", SEEING)],
    RECORDING: [Row("GET", WATCHING)],
    f"{RECORDING}cast/": [Row("GET", WATCHING)],
    "admin/tunnel/node/": [Row("GET", STAFF)],  # leads to the page above
    # Servers in the admin
    "admin/servers/server/": [Row("GET", SOMEWHERE), Row("POST", SOMEWHERE, SUSPEND)],
    "admin/servers/server/add/": [Row("GET", ADDING), Row("POST", ADDING, {"name": "new"})],
    "admin/servers/server/second-factor/": [Row("GET", STAFF, query="next=/admin/servers/")],
    **of_server("", Row("GET", STAFF)),  # leads to `change/`
    **of_server("change/", Row("GET", SEEING), Row("POST", holding("change"), {"name": "renamed"})),
    **of_server("delete/", Row("GET", REMOVING), Row("POST", REMOVING, {"post": "yes"})),
    **of_server("history/", Row("GET", SEEING)),
    **of_server("connect/", Row("GET", SEEING), Row("POST", SEEING)),
    **of_server("suspend/", Row("GET", holding("change")), Row("POST", holding("change"))),
    **of_server("reactivate/", Row("GET", holding("change")), Row("POST", holding("change"))),
    **of_server(
        "rotate/", Row("GET", holding("rotate_secret")), Row("POST", holding("rotate_secret"), ROTATE)
    ),
    **history("servers/commandrecord"),
    **history("tunnel/session"),
    **history("tunnel/refusal"),
    **history("tunnel/shell"),
    **history("tunnel/recording", WATCHING, WATCHING | {"elsewhere"}),
    **edited("servers/servergroup", GROUPS),
    **edited("servers/tag", TAGS),
    # API tokens in the admin: everybody's own, and superusers see all
    "admin/servers/apitoken/": [Row("GET", STAFF)],
    "admin/servers/apitoken/add/": [Row("GET", SOMEWHERE), Row("POST", SOMEWHERE)],
    f"{TOKEN}change/": [Row("GET", ROOT), Row("POST", NOBODY)],
    f"{TOKEN}delete/": [Row("GET", ROOT), Row("POST", ROOT, {"post": "yes"})],
    f"{TOKEN}history/": [Row("GET", ROOT)],
    TOKEN: [Row("GET", STAFF)],  # leads to `change/`
    # For proxies and Prometheus
    "tunnel/healthz": [Row("GET", ANYBODY)],
    "tunnel/readyz": [Row("GET", ANYBODY)],
    "tunnel/metrics": [Row("GET", NOBODY)],  # for who shows its token, or dials from an address that is named
    # REST
    "api/tunnel/v1/servers/": [Row("GET", LOGGED_IN), Row("POST", ADDING, {"name": "new"})],
    API_SERVER: [
        Row("GET", SEEING),
        Row("PATCH", holding("change"), {"notes": "x"}),
        Row("DELETE", REMOVING),
    ],
    f"{API_SERVER}suspend/": [Row("POST", holding("change"))],
    f"{API_SERVER}activate/": [Row("POST", holding("change"))],
    f"{API_SERVER}disconnect/": [Row("POST", holding("change"))],
    f"{API_SERVER}rotate-secret/": [Row("POST", holding("rotate_secret"))],
    f"{API_SERVER}commands/": [Row("POST", holding("run_command"), COMMAND)],
    "api/tunnel/v1/commands/": [Row("GET", LOGGED_IN)],
    "api/tunnel/v1/commands/<uuid:pk>/": [Row("GET", SEEING)],
    "api/tunnel/v1/sessions/": [Row("GET", LOGGED_IN)],
    "api/tunnel/v1/sessions/<uuid:pk>/": [Row("GET", SEEING)],
    "api/tunnel/v1/events/": [Row("GET", LOGGED_IN)],
    "api/tunnel/v1/schema/": [Row("GET", LOGGED_IN)],
    "api/tunnel/v1/docs/": [Row("GET", LOGGED_IN)],
    "api/tunnel/v1/me/": [Row("GET", LOGGED_IN)],
    "api/tunnel/v1/problems/<str:code>/": [Row("GET", ANYBODY)],  # tells nothing of this panel
    "api/tunnel/v1/": [Row("GET", NOBODY), Row("POST", NOBODY)],  # whatever else is below it
}
ARGUMENTS = {
    "<str:agent_id>": "{agent}",
    "<str:code>": "not_connected",
    "<uuid:recording>": "{recording}",
    "<int:pk>": "{server}",
}

SOCKETS: dict[str, frozenset[str]] = {
    "^tunnel/?$": NOBODY,  # agents alone, by their own secret
    "tunnel/ws/events/": STAFF,  # who sees no server is told of none
    "tunnel/ws/<str:agent_id>/shell/": holding("open_shell"),
}
CHANNELS = {"tunnel-background"}  # from Redis, which people do not reach

# Who has a shell on the panel's host may do everything there; `yumna` from elsewhere acts over REST, by a token.
SUBCOMMANDS = {
    "list": "GET servers/",
    "show": "GET servers/<agent_id>/",
    "add": "POST servers/",
    "run": "POST servers/<agent_id>/commands/",
    "shell": "",  # the socket above, by a token with `open_shell`
    "watch": "GET servers/",
    "suspend": "POST servers/<agent_id>/suspend/",
    "disconnect": "POST servers/<agent_id>/disconnect/",
    "reactivate": "POST servers/<agent_id>/activate/",
    "rotate-secret": "POST servers/<agent_id>/rotate-secret/",
    "doctor": "",
    "serve": "",
}


def routes() -> Iterator[str]:
    """Every route of the site, as its parts are written."""

    def walk(patterns: Any, before: str) -> Iterator[str]:
        for pattern in patterns:
            route = before + str(pattern.pattern)
            if isinstance(pattern, URLPattern):
                yield route
            else:
                yield from walk(pattern.url_patterns, route)

    yield from walk(get_resolver().url_patterns, "")


def test_every_route_of_ours_has_a_row_and_every_row_a_route():
    ours = {route for route in routes() if route.startswith(OURS)}
    assert ours - TABLE.keys() == set(), "routes without a row in TABLE"
    assert TABLE.keys() - ours == set(), "rows without a route"


def test_every_socket_channel_and_sub_command_has_a_row():
    assert {str(route.pattern) for route in websocket_urlpatterns} == SOCKETS.keys()
    assert channel_names.keys() == CHANNELS
    assert COMMANDS.keys() == SUBCOMMANDS.keys()


def test_no_other_route_of_the_site_says_anything_of_servers():
    known = (
        "admin/auth/",
        "admin/axes/",
        "admin/otp_",
        "admin/login/",
        "admin/logout/",
        "admin/password_change/",
    )
    known += ("admin/jsi18n/", "admin/r/", "admin/autocomplete/", "admin/^(?P<app_label>", "admin/(?P<url>")
    others = [
        route for route in routes() if not route.startswith(OURS + known) and route not in ("", "admin/")
    ]
    assert others == []


LISTS = ("admin/tunnel/nodes/", "admin/tunnel/nodes/data/", "admin/servers/server/", "api/tunnel/v1/servers/")
LISTS += ("api/tunnel/v1/commands/", "api/tunnel/v1/sessions/")
LISTS += ("admin/servers/commandrecord/", "admin/tunnel/session/", "admin/tunnel/refusal/")
LISTS += ("admin/tunnel/shell/",)
CALLS = [(route, row) for route, rows in TABLE.items() for row in rows]


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any) -> Iterator[World]:
    """Everybody, made once and committed: the REST interface works in threads of its own."""
    before = transports.for_server(Server(connection_type="http"))
    with django_db_blocker.unblock():
        yield make_world()
        transports.register("http", before)
        call_command("flush", verbosity=0, interactive=False)


@pytest.fixture
def _django_db_helper(world: World) -> None:
    """Stand in the place of pytest-django's, which would take everybody back after each test."""


@pytest.fixture(autouse=True)
def _no_throttle() -> None:
    cache.clear()


def address(route: str, arguments: dict[str, Any]) -> str:
    """The route with real parameters in it."""
    model = (route.split("/") + [""] * 2)[2]
    route = route.replace("commands/<uuid:pk>", "commands/{commandrecord}")
    route = route.replace("sessions/<uuid:pk>", "sessions/{session}")
    for name, value in (ARGUMENTS | {"<path:object_id>": f"{{{model}}}"}).items():
        route = route.replace(name, value)
    return "/" + route.format(**arguments)


def ask(browser: Client, route: str, row: Row, arguments: dict[str, Any]) -> Any:
    sent = {name.format(**arguments): str(value).format(**arguments) for name, value in row.sent.items()}
    path = address(route, arguments) + (f"?{row.query}" if row.query else "")
    if row.method in ("GET", "DELETE"):
        return browser.generic(row.method, path)
    if route.startswith("api/"):
        return browser.generic(row.method, path, json.dumps(sent), JSON)
    return browser.post(path, sent)


def let_in(response: Any) -> bool:
    """Not when sent to the login or the index, refused, or told that there is nothing."""
    if response.status_code in (301, 302):
        return (
            not response.headers["Location"].startswith(("/admin/login/", "/admin/?"))
            and response.headers["Location"] != "/admin/"
        )
    assert response.status_code < 500
    return response.status_code not in (401, 403, 404)


def body(response: Any) -> str:
    """What was answered, of a stream too."""

    async def read() -> bytes:
        return b"".join([piece async for piece in response.streaming_content])

    return (asyncio.run(read()) if response.streaming else response.content).decode()


def gone(route: str, arguments: dict[str, Any]) -> bool:
    """Whether the request deleted what it was about; who may not list such things is then led to the index."""
    if not route.endswith("delete/"):
        return False
    _, app, model, *_ = route.split("/")
    return not apps.get_model(app, model).objects.filter(pk=arguments[model]).exists()


@pytest.mark.parametrize(("route", "row"), CALLS, ids=[f"{row.method} {route}" for route, row in CALLS])
def test_who_is_let_in(world: World, route: str, row: Row):
    found, told = set(), set()
    arguments = world.arguments()
    for who in PEOPLE:
        if row.method != "GET":
            arguments = world.arguments()
        response = ask(world.browsers[who], route, row, arguments)
        if let_in(response) or gone(route, arguments):
            found.add(who)
        if NAME in body(response):
            told.add(who)
    assert found == row.who
    assert told <= SEEING


@pytest.mark.parametrize("route", LISTS)
def test_who_may_see_the_server_finds_it_in_the_lists(world: World, route: str):
    arguments = world.arguments()
    for who in PEOPLE:
        body = ask(world.browsers[who], route, Row("GET", SEEING), arguments).content.decode()
        assert (NAME in body) is (who in SEEING), who


@pytest.mark.parametrize("pattern", SOCKETS)
async def test_who_may_open_a_socket(redis_url: str, world: World, pattern: str, settings: Any):
    settings.ALLOWED_HOSTS = ["panel.example.org"]
    arguments = await in_thread(world.arguments)
    path = "/" + pattern.strip("^$?/") + ("/" if pattern.endswith("/") else "")
    path = path.replace("<str:agent_id>", str(arguments["agent"]))

    async def may_open(who: str) -> bool:
        cookie = world.browsers[who].cookies.get("sessionid")
        headers = [(b"host", b"panel.example.org"), (b"origin", b"https://panel.example.org")]
        headers += [(b"cookie", f"sessionid={cookie.value}".encode())] if cookie else []
        socket = WebsocketCommunicator(URLRouter(websocket_urlpatterns), path, headers)
        socket.scope |= {"scheme": "wss", "client": ["203.0.113.9", 1], "server": ["panel.example.org", 443]}
        connected, _ = await socket.connect(10)
        if connected:
            assert (NAME in await socket.receive_from(10)) is (who in SEEING), who
        await socket.disconnect()
        return bool(connected)

    # All at once: a refusal is slow on purpose.
    answers = await asyncio.gather(*map(may_open, PEOPLE))
    assert {who for who, opened in zip(PEOPLE, answers, strict=True) if opened} == SOCKETS[pattern]


def test_sub_commands_act_as_somebody_with_a_shell_on_the_host():
    assert isinstance(host_user(), Console)
    assert allowed(host_user(), Server(pk=1), "run_command")
