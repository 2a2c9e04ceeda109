"""docs/existing-panel.md, done: a stock project with exactly the four edits of the page works."""

from __future__ import annotations

import json
import re
import sys

import pytest

from tests.e2e.cluster import BY_PROCESS, until
from tests.existing.panel import EDITS, Panel, titled, wait_for_port_of

pytestmark = pytest.mark.e2e

PAGES = (
    "tunnel/nodes/",
    "servers/server/",
    "servers/server/add/",
    "servers/server/1/change/",
    "servers/tag/",
)
PAGES += ("tunnel/nodes/1/", "servers/servergroup/add/", "tunnel/session/", "tunnel/refusal/")
PAGES += ("servers/commandrecord/", "servers/server/1/suspend/", "servers/server/1/rotate/", "")


def node_is_active(panel: Panel) -> bool:
    return "Tunnel Active" in panel.manage("tunnel", "list").stdout


def connect(panel: Panel) -> None:
    """Add the server of the page, start its agent, and wait until it is there."""
    panel.once("node")
    start_agent(panel)


def start_agent(panel: Panel) -> None:
    """Start the agent of the page, and wait until the panel says that it is there."""
    before = panel.log("agent_client").count("tunnel open")
    panel.stays("agent_client")
    until(lambda: panel.log("agent_client").count("tunnel open") > before, 30, panel.log("agent_client"))
    until(lambda: node_is_active(panel), 20, panel.log("agent_client"), pause=BY_PROCESS)


def serve(panel: Panel, kind: str) -> None:
    if kind == "uvicorn":
        panel.start_uvicorn()
        return
    if kind == "runserver":
        panel.stays("runserver")
    else:
        panel.start(kind, [sys.executable, "manage.py", "tunnel", "serve", "-p", str(panel.port)])
    wait_for_port_of(panel, kind, panel.port)


@pytest.mark.parametrize("kind", ["runserver", "uvicorn", "serve"])
def test_a_stock_project_with_the_four_edits_works(panel: Panel, kind: str):
    panel.edit(*EDITS, "address").start_redis()
    assert "no issues" in panel.once("check")
    assert not re.search(r"\((tunnel|servers)\.\w+\)", panel.check("--deploy"))
    panel.once("migrate")
    panel.once("createsuperuser")
    serve(panel, kind)
    panel.stays("runworker")
    connect(panel)
    # The first lease and the first handshake come together, and this SQLite lets no reader turn writer beside a writer.
    assert "locked" not in panel.log(kind)

    assert panel.once("tunnel run").strip() == "Linux"
    assert panel.python(titled("code")[0]) == "0 Linux"
    browser = panel.browser()
    for path in PAGES:
        status, text = browser.get(f"/admin/{path}")
        assert status == 200, (path, text[:500])
    assert "web-01" in browser.get("/admin/tunnel/nodes/")[1]
    status, text = browser.get("/api/tunnel/v1/servers/")
    assert (status, json.loads(text)["results"][0]["agent_id"]) == (200, "web-01")
    written = "from servers.models import Server; print(Server.objects.get().last_usage_at)"
    until(
        lambda: panel.python(written) != "None",
        20,
        "runworker writes figures: " + panel.log("runworker"),
        pause=BY_PROCESS,
    )
    if kind == "runserver":
        assert browser.get("/static/tunnel/nodes.js")[0] == 200


LINES = {
    "apps": 'INSTALLED_APPS = ["daphne", ..., "servers", "tunnel"]',
    "layers": "CHANNEL_LAYERS = channel_layers(",
    "urls": 'path("", include("tunnel.urls"))',
    "asgi": 'ASGI_APPLICATION = "mysite.asgi.application"',
}


@pytest.mark.parametrize("missing", EDITS)
def test_the_check_names_the_one_edit_that_is_missing_with_its_line(panel: Panel, missing: str):
    panel.edit(*(edit for edit in EDITS if edit != missing))
    said = panel.check()
    if missing == "apps":  # nothing of ours runs: importing the URLs says it, below the lines of a traceback
        said = "\n".join(said.strip().splitlines()[-3:])
    assert LINES[missing] in said
    assert [line for edit, line in LINES.items() if edit != missing and line in said] == []
    assert "exit 0" not in said


@pytest.mark.parametrize(
    ("part", "line"),
    [
        (
            '"websocket": URLRouter(websocket_urlpatterns),',
            '"websocket": URLRouter(tunnel.routing.websocket_urlpatterns)',
        ),
        (
            '"channel": ChannelNameRouter(channel_names),',
            '"channel": ChannelNameRouter(tunnel.routing.channel_names)',
        ),
        (', "servers"', 'INSTALLED_APPS = ["daphne", ..., "servers", "tunnel"]'),
        (', "tunnel"', 'INSTALLED_APPS = ["daphne", ..., "servers", "tunnel"]'),
    ],
)
def test_half_an_edit_is_named_too(panel: Panel, part: str, line: str):
    panel.edit(*EDITS)
    panel.replace("mysite/settings.py" if "router" not in part.lower() else "mysite/asgi.py", part, "")
    said = panel.check()
    assert line in said
    assert "exit 0" not in said
