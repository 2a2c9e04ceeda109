"""The Node Orchestration page in a real browser: live, true, quiet, and readable on a phone and in the dark."""

import os
import shutil
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.e2e.basic_agent import BasicAgent
from tests.e2e.cluster import ROOT, Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

QUIET = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
QUIET += ["--no-first-run", "--disable-quic"]
# Written when SHOTS is set: SHOTS=1 make test ARGS="-k picture"
PICTURE = ROOT / "docs" / "pictures" / "nodes.png"
EVIL = "<img src=x onerror=document.title='owned'>"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("browser"), "uvicorn")
    try:
        made.start("a", "b")
        code = "from django.contrib.auth import get_user_model as g; g().objects.create_superuser('admin', password='pw')"
        made.python(code)
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=found, args=QUIET + sandbox)
        yield made
        made.close()


@contextmanager
def opened(browser: Browser, cluster: Cluster, worker: str = "a", **options) -> Iterator[Page]:
    """The page, logged in; at the end nothing may have been complained of or asked of another host."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
    page = context.new_page()
    origin = f"http://127.0.0.1:{cluster.ports[worker]}"
    complaints: list[str] = []
    foreign: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: request.url.startswith(origin) or foreign.append(request.url))
    page.goto(f"{origin}/admin/")
    page.fill("#id_username", "admin")
    page.fill("#id_password", "pw")
    page.click("[type=submit]")
    expect(page).to_have_title("Node Orchestration | Yumna Tunnel")
    expect(part(page, "live-words")).to_have_text("Live")
    yield page
    assert [text for text in complaints if "404" not in text and "WebSocket" not in text] == []
    assert foreign == []
    context.close()


def part(page, name: str):
    return page.locator(f"#yt-nodes [data-yt={name}]").first


def card(page: Page, agent_id: str):
    return page.locator(".yt-cards .yt-card").filter(has_text=agent_id)


def new_node(cluster: Cluster) -> tuple[str, str]:
    name = f"node-{uuid.uuid4().hex[:8]}"
    return name, cluster.add(name)


def test_a_node_comes_alive_changes_and_goes_without_a_reload(browser, cluster):
    node = new_node(cluster)
    with opened(browser, cluster) as page:
        mine = card(page, node[0])
        expect(mine).to_have_attribute("data-state", "never", timeout=5000)
        agent = BasicAgent(cluster.url("b"), *node)  # on another worker than the page
        expect(mine.locator("[data-yt=pill]")).to_have_text("Tunnel Active", timeout=2000)
        agent.ping()
        expect(mine.locator("[data-bar=cpu] .yt-percent")).to_have_text("13%", timeout=3000)
        agent.send({"type": "HEARTBEAT", "data": {"cpu": 92, "ram": 1, "ramTotal": 2, "disk": 7}})
        expect(mine.locator("[data-bar=cpu] .yt-percent")).to_have_text("92%", timeout=3000)
        expect(mine.locator("[data-bar=ram] .yt-percent")).to_have_text("50%")
        agent.stop()
        expect(mine).to_have_attribute("data-state", "reconnecting", timeout=2000)
        cluster.sql(f"UPDATE servers SET status='suspended' WHERE agent_id='{node[0]}'")
        expect(mine.locator("[data-yt=pill]")).to_have_text("Suspended", timeout=10_000)
        cluster.sql(
            f"DELETE FROM tunnel_session WHERE server_id=(SELECT id FROM servers WHERE agent_id='{node[0]}')"
        )
        cluster.sql(f"DELETE FROM servers WHERE agent_id='{node[0]}'")
        expect(mine).to_have_count(0, timeout=10_000)


def test_the_page_is_true_within_fifteen_seconds_of_the_death_of_a_worker(browser, cluster):
    node = new_node(cluster)
    with opened(browser, cluster, "a") as page:
        agent = BasicAgent(cluster.url("b"), *node)
        mine = card(page, node[0])
        expect(mine).to_have_attribute("data-state", "active", timeout=5000)
        cluster.kill("b", signal.SIGKILL)
        expect(mine).to_have_attribute("data-state", "reconnecting", timeout=15_000)
        expect(part(page, "live-words")).to_have_text("Live")
        agent.stop()
    cluster.start_worker("b")


def test_a_page_whose_worker_dies_says_so_and_recovers(browser, cluster):
    with opened(browser, cluster, "a") as page:
        cluster.kill("a", signal.SIGKILL)
        expect(part(page, "live-words")).to_have_text("Live updates paused: reconnecting…", timeout=3000)
        cluster.start_worker("a")
        expect(part(page, "live-words")).to_have_text("Live", timeout=30_000)


def test_what_a_node_says_is_shown_as_text(browser, cluster):
    node = new_node(cluster)
    with opened(browser, cluster) as page:
        cluster.sql(
            f"UPDATE servers SET name='{EVIL.replace(chr(39), chr(39) * 2)}' WHERE agent_id='{node[0]}'"
        )
        expect(card(page, node[0]).locator("[data-yt=name]")).to_have_text(EVIL, timeout=10_000)
        expect(page).to_have_title("Node Orchestration | Yumna Tunnel")
    cluster.sql(f"UPDATE servers SET name='{node[0]}' WHERE agent_id='{node[0]}'")


def test_the_search_finds_by_name_and_says_when_nothing_matches(browser, cluster):
    node, other = new_node(cluster), new_node(cluster)
    with opened(browser, cluster) as page:
        expect(card(page, other[0])).to_be_visible()
        page.keyboard.press("/")
        page.keyboard.type(node[0])
        expect(card(page, node[0])).to_be_visible()
        expect(card(page, other[0])).to_be_hidden()
        page.keyboard.type("-nothing")
        expect(part(page, "none")).to_contain_text("No node matches")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_is_readable_in_the_dark(browser, cluster, scheme):
    new_node(cluster)
    options = {"viewport": {"width": 390, "height": 844}, "color_scheme": scheme}
    with opened(browser, cluster, **options) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        colours = page.evaluate(
            "(s => [s.color, s.backgroundColor])(getComputedStyle(document.querySelector('.yt-card')))"
        )
        ink, paper = (sum(int(n) for n in colour[4:-1].split(",")[:3]) for colour in colours)
        assert (ink > paper) is (scheme == "dark")
        assert abs(ink - paper) > 380


def test_it_takes_the_picture_of_the_readme(browser, tmp_path):
    made = Cluster(tmp_path, "uvicorn")
    try:
        made.start("a")
        made.python(
            "from django.contrib.auth import get_user_model as g; g().objects.create_superuser('admin', password='pw')"
        )
        agents = []
        for name, system, usage in (
            ("db-01", "Debian GNU/Linux 12", {"cpu": 81, "ramPercent": 25, "disk": 48, "uptime": 3_546_000}),
            ("edge-jakarta", "Alpine Linux 3.22", {"cpu": 35, "ramPercent": 59, "disk": 93, "uptime": 7_200}),
            ("pi-garage", "Raspberry Pi OS 12", {"cpu": 4, "ramPercent": 53, "disk": 22, "uptime": 86_000}),
        ):
            agent = BasicAgent(made.url("a"), name, made.add(name))
            hello = {
                "type": "HELLO",
                "version": "0.1.0",
                "capabilities": ["system"],
                "host": {"platform": system},
            }
            agent.send(hello)
            agent.send({"type": "PING", "timestamp": 1, "rtt": 0.02 + len(agents) * 0.03})
            agent.send({"type": "HEARTBEAT", "data": usage})
            agents.append((agent, usage))
        made.add("agent-home-server")
        with opened(browser, made, viewport={"width": 1280, "height": 640}) as page:
            expect(part(page, "count")).to_have_text("3 of 4 tunnels active")
            agents[2][0].stop()
            for agent, usage in agents[:2]:
                agent.send({"type": "HEARTBEAT", "data": usage})
            expect(part(page, "count")).to_have_text("2 of 4 tunnels active")
            expect(card(page, "edge-jakarta").locator("[data-bar=cpu] .yt-percent")).to_have_text("35%")
            page.screenshot(path=PICTURE if os.environ.get("SHOTS") else tmp_path / "nodes.png")
        for agent, _ in agents[:2]:
            agent.stop()
    finally:
        made.stop()
