"""A real shell on a real agent is recorded, whoever dies meanwhile, and plays in a real browser."""

import json
import os
import urllib.request
import uuid
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests import axe
from tests.e2e.cluster import ROOT, Cluster, until
from tests.e2e.real_agent import RealAgent
from tests.e2e.terminals import terminal

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

AWAY = ("WebSocket connection", "Failed to load resource")  # what Chromium says of a worker that is not there
PICTURES = ROOT / "docs" / "pictures"  # written when SHOTS is set
LINES = 1500  # a hundredth of a second each, so that a worker dies in the middle


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    """A worker that holds the agent's socket, and one that serves the pages and writes the recordings begun there."""
    made = Cluster(tmp_path_factory.mktemp("recordings"), "uvicorn")
    try:
        made.start("holder", "pages")
        made.python(
            "from django.contrib.auth import get_user_model as g; g().objects.create_superuser('admin', password='pw')"
        )
        yield made
    finally:
        made.stop()


def origin(cluster: Cluster, worker: str = "pages") -> str:
    return f"http://127.0.0.1:{cluster.ports[worker]}"


@pytest.fixture(scope="module")
def login(cluster, browser) -> dict:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{origin(cluster)}/admin/login/")
    page.fill("[name=username]", "admin")
    page.fill("[name=password]", "pw")
    page.click("[type=submit]")
    page.wait_for_url("**/nodes/", timeout=20_000)
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture(scope="module")
def node(cluster, tmp_path_factory) -> Iterator[int]:
    """The primary key of a node whose agent is in."""
    name = f"node-{uuid.uuid4().hex[:8]}"
    secret = cluster.add(name)
    folder = tmp_path_factory.mktemp("agent")
    agent = RealAgent(folder, [cluster.url("holder")], name, secret, HOME=str(folder))
    until(lambda: cluster.get("holder", f"/test/states?id={name}") == {name: "active"}, 30, agent.log)
    yield cluster.sql(f"SELECT id FROM servers WHERE agent_id='{name}'")[0][0]
    agent.stop()


@pytest.fixture
def shell(cluster, browser, login, node):
    """A function that opens a terminal of the node."""

    def open_terminal(**options):
        url = f"{origin(cluster)}/admin/tunnel/nodes/{node}/terminal/"
        return terminal(browser, url, login, **options)

    return open_terminal


def ended(cluster: Cluster) -> tuple[str, str, int]:
    """Wait until the newest recording ended; return its key, why it did, and how much is missing."""

    def found() -> list:
        rows = cluster.sql("SELECT id, end, missing, ended_at FROM tunnel_recording ORDER BY started_at DESC")
        return rows[:1] if rows and rows[0][3] else []

    (row,) = until(found, 30, "the recording ended", pause=0.1)
    return str(uuid.UUID(str(row[0]))), row[1], row[2]


def download(cluster: Cluster, login: dict, key: str) -> bytes:
    cookies = "; ".join(f"{one['name']}={one['value']}" for one in login["cookies"])
    url = f"{origin(cluster)}/admin/tunnel/recordings/{key}/cast/?download=1"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Cookie": cookies})) as answer:
        assert "attachment" in answer.headers["Content-Disposition"]
        return bytes(answer.read())


def output(data: bytes) -> bytes:
    events = [json.loads(line) for line in data.splitlines()[1:]]
    assert [event[0] for event in events] == sorted(event[0] for event in events)
    return "".join(event[2] for event in events if event[1] == "o").encode()


def test_the_worker_that_writes_is_killed_in_mid_output_and_the_file_is_the_nodes_output(
    cluster, shell, login, tmp_path
):
    with shell(tolerated=AWAY) as made:
        made.type(
            f"printf 'be''gin\\n'; for i in $(seq {LINES}); do printf 'line %s é\\n' $i; sleep 0.01; done; exit 7\n"
        )
        expect(made.page.locator("[data-yt=recorded]")).to_have_text("● REC")
        made.wrote(b"line 300 ", 60)  # on a busy machine it is off the screen before anybody has looked
        (row,) = cluster.sql(
            "SELECT w.pid FROM tunnel_worker w JOIN tunnel_recording r ON r.turn = 1 "
            "AND r.ended_at IS NULL AND replace(r.holder, '-', '') = replace(w.id, '-', '')"
        )
        assert cluster.processes["pages"].pid == row[0], "the worker that opened the shell records it"
        cluster.kill("pages")
        until(
            lambda: cluster.sql("SELECT 1 FROM tunnel_recording WHERE turn = 2"), 15, "taken over", pause=0.1
        )
        cluster.start_worker("pages")
        cluster.wait_for("pages")
        expect(made.page.locator("#yt-terminal")).to_have_attribute("data-state", "ended", timeout=60_000)
        seen = bytes(made.wire.output)
    key, why, missing = ended(cluster)
    assert (why, missing) == ("exited", 0)
    recorded = output(download(cluster, login, key))
    assert recorded == seen
    counted = "".join(f"line {number} é\r\n" for number in range(1, LINES + 1)).encode()
    assert recorded.split(b"begin\r\n", 1)[1].startswith(counted)


@pytest.fixture
def recorded(cluster, shell) -> str:
    """The key of a recording of a short shell."""
    with shell() as made:
        made.type(
            "PS1='$ '; clear; printf '\\033[1;32mgreen\\033[0m and ünïcode\\n'; echo la''st; sleep 1; exit\n"
        )
        expect(made.page.locator("#yt-terminal")).to_have_attribute("data-state", "ended", timeout=30_000)
    return ended(cluster)[0]


def test_a_recording_plays_by_day_and_by_night_and_with_no_webassembly(cluster, browser, login, recorded):
    url = f"{origin(cluster)}/admin/tunnel/recordings/{recorded}/"
    complaints: list[str] = []
    for scheme in ("light", "dark"):
        context = browser.new_context(
            storage_state=login, color_scheme=scheme, viewport={"width": 1100, "height": 900}
        )
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
        page.goto(url)
        expect(page.locator("#yt-recording")).to_have_attribute("data-state", "player", timeout=20_000)
        page.evaluate("document.getElementById('yt-recording').yumnaPlayer.play()")
        page.wait_for_function(
            "() => document.getElementById('yt-recording').yumnaPlayer.getCurrentTime() > 0.5", timeout=20_000
        )
        page.evaluate("document.getElementById('yt-recording').yumnaPlayer.seek('100%')")
        page.wait_for_timeout(500)
        if "SHOTS" in os.environ:
            page.screenshot(path=PICTURES / ("recording.png" if scheme == "light" else "recording-dark.png"))
        assert complaints == []
        assert axe.violations(page, "#yt-recording") == []
        context.close()

    context = browser.new_context(storage_state=login, viewport={"width": 1100, "height": 900})
    page = context.new_page()

    def without_wasm(route) -> None:
        """A panel whose policy comes from elsewhere, and refuses WebAssembly."""
        answer = route.fetch()
        policy = answer.headers["content-security-policy"].replace(" 'wasm-unsafe-eval'", "")
        route.fulfill(response=answer, headers={**answer.headers, "content-security-policy": policy})

    page.route(url, without_wasm)
    page.goto(url)
    expect(page.locator("#yt-recording")).to_have_attribute("data-state", "plain", timeout=20_000)
    page.keyboard.press("9")
    page.keyboard.press("ArrowRight")
    screen = page.locator(".xterm-rows")
    expect(screen).to_contain_text("green and ünïcode")
    expect(page.locator("[data-yt=note]")).to_contain_text("WebAssembly")
    page.keyboard.press("0")
    page.keyboard.press(">")
    expect(page.locator("[data-yt=speed]")).to_have_text("1.5×")
    page.click("[data-yt=play]")
    expect(screen).to_contain_text("last", timeout=20_000)
    expect(page.locator("[data-yt=play]")).to_have_text("Play", timeout=20_000)
    if "SHOTS" in os.environ:
        page.screenshot(path=PICTURES / "recording-plain.png")
    context.close()
    watched = cluster.sql(
        "SELECT count(*) FROM servers_commandrecord WHERE service='recording' AND action='watch'"
    )
    assert watched == [(3,)]
