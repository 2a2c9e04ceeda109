"""The Node Orchestration page in a real browser: live, true, quiet, and readable on a phone and in the dark."""

import json
import os
import re
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import axe
from tests.e2e.basic_agent import BasicAgent
from tests.e2e.cluster import ROOT, Cluster, until
from tunnel.pages import cards, messages

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

# Written when SHOTS is set: SHOTS=1 make test ARGS="-k picture"
PICTURE = ROOT / "docs" / "pictures" / "nodes.png"
EVIL = [
    "<img src=x onerror=document.title='owned'>",
    "</script><script>document.title='owned'</script>",
    "\"><svg onload=document.title='owned'>",
    "' autofocus onfocus=document.title='owned' x='",
    "<details open ontoggle=document.title='owned'>",
    "</template><iframe src=javascript:parent.document.title='owned'>",
]
NODES = "/admin/tunnel/nodes/"


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


@contextmanager
def opened(
    browser: Browser, cluster: Cluster, worker: str = "a", query: str = "", **options
) -> Iterator[Page]:
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
    if query:
        page.goto(origin + NODES + query)
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


@pytest.mark.parametrize("view", ["cards", "table"])
def test_what_a_node_says_is_shown_as_text(browser, cluster, view):
    node = new_node(cluster)
    row = f"(SELECT id FROM servers WHERE agent_id='{node[0]}')"
    BasicAgent(cluster.url("a"), *node).stop()
    cluster.sql(f"UPDATE tunnel_session SET closed_at='2026-01-01' WHERE server_id={row}")
    with opened(browser, cluster, query=f"?view={view}") as page:
        mine = page.locator(f".yt-node:has-text('{node[0]}')")
        expect(mine).to_have_attribute("data-state", "offline", timeout=10_000)
        pk = mine.get_attribute("data-id")
        mine = page.locator(f".yt-node[data-id='{pk}']")
        for text in EVIL:
            quoted = text.replace("'", "''")
            facts = json.dumps({"platform": text}).replace("'", "''")
            cluster.sql(
                f"UPDATE servers SET name='{quoted}', agent_version='{quoted[:32]}', host_facts='{facts}' WHERE id={pk}"
            )
            cluster.sql(f"UPDATE tunnel_session SET agent_reason='{quoted}' WHERE server_id={pk}")
            expect(mine.locator("[data-yt=name]")).to_have_text(text, timeout=10_000)
            expect(mine.locator("[data-yt=agent-said]")).to_contain_text(text)
            assert mine.locator("[data-yt=os]").text_content() == text[:60]
        page.reload()
        expect(mine.locator("[data-yt=name]")).to_have_text(EVIL[-1])
        expect(page).to_have_title("Node Orchestration | Yumna Tunnel")
        assert page.locator("#yt-nodes :is(img, svg, iframe, script)").count() == 0
    forget(cluster, pk)


def forget(cluster: Cluster, pk: str | None) -> None:
    for table in ("tunnel_session", "tunnel_refusal", "servers_tags"):
        cluster.sql(f"DELETE FROM {table} WHERE server_id={pk}")
    cluster.sql(f"DELETE FROM servers WHERE id={pk}")


def test_search_and_chips_filter_at_once_and_stay_in_the_address(browser, cluster):
    node, other = new_node(cluster), new_node(cluster)
    cluster.python(
        "from servers.models import Server, Tag; "
        f"Server.objects.get(agent_id={node[0]!r}).tags.add(Tag.objects.get_or_create(name='lab &co')[0])"
    )
    with opened(browser, cluster) as page:
        loads: list[str] = []
        page.on("request", lambda request: request.is_navigation_request() and loads.append(request.url))
        expect(card(page, other[0])).to_be_visible()
        page.keyboard.press("/")
        page.keyboard.type(node[0])
        expect(card(page, node[0])).to_be_visible()
        expect(card(page, other[0])).to_be_hidden()
        expect(page).to_have_url(re.compile(rf"\?q={node[0]}$"))
        page.keyboard.type("-nothing")
        expect(part(page, "none")).to_contain_text("No node matches")
        part(page, "clear").click()
        expect(card(page, other[0])).to_be_visible()
        page.get_by_label("lab &co").check()
        page.get_by_label("Never connected").check()
        expect(card(page, other[0])).to_be_hidden()
        expect(page).to_have_url(re.compile(r"\?state=never&tag=lab\+%26co$"))
        assert loads == []
        page.reload()
        expect(card(page, node[0])).to_be_visible()
        expect(card(page, other[0])).to_be_hidden()
        page.get_by_role("link", name="Table").click()
        expect(page.locator(".yt-row:visible")).to_have_count(1)
        expect(part(page, "live-words")).to_have_text("Live")
    pk = cluster.sql(f"SELECT id FROM servers WHERE agent_id='{node[0]}'")[0][0]
    forget(cluster, pk)


def test_the_page_filters_without_its_script(browser, cluster):
    node, other = new_node(cluster), new_node(cluster)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{cluster.ports['a']}/admin/login/?next={NODES}")
    page.fill("#id_username", "admin")
    page.fill("#id_password", "pw")
    page.click("[type=submit]")
    page.fill("#yt-q", node[0])
    page.get_by_role("button", name="Filter").click()
    expect(card(page, node[0])).to_be_visible()
    expect(card(page, other[0])).to_be_hidden()
    card(page, node[0]).locator(".yt-menu summary").click()
    card(page, node[0]).get_by_role("link", name="Suspend…").click()
    page.get_by_role("button").last.click()
    page.goto(f"http://127.0.0.1:{cluster.ports['a']}{NODES}?state=suspended")
    expect(card(page, node[0])).to_be_visible()
    context.close()


def test_keys_lead_from_node_to_node(browser, cluster):
    for _ in range(3):
        new_node(cluster)
    with opened(browser, cluster) as page:
        names = page.locator(".yt-card:visible [data-yt=name]")
        expect(names.nth(2)).to_be_visible()
        page.keyboard.press("ArrowRight")
        expect(names.nth(0)).to_be_focused()
        page.keyboard.press("ArrowRight")
        expect(names.nth(1)).to_be_focused()
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowDown")
        expect(names.nth(0)).not_to_be_focused()
        page.keyboard.press("ArrowUp")
        expect(names.nth(0)).to_be_focused()
        page.keyboard.press("?")
        expect(page.get_by_role("dialog")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()
        menu = page.locator(".yt-card:visible .yt-menu").first
        menu.locator("summary").click()
        page.keyboard.press("ArrowDown")
        expect(menu.get_by_role("link", name="Overview")).to_be_focused()
        page.keyboard.press("Escape")
        expect(menu.get_by_role("link", name="Overview")).to_be_hidden()
        expect(menu.locator("summary")).to_be_focused()
        target = names.nth(0).get_attribute("href")
        names.nth(0).focus()
        page.keyboard.press("Enter")
        page.wait_for_url(f"**{target}")
        page.go_back()
        expect(names.nth(0)).to_be_visible()
        page.goto(page.url + "?state=never")
        page.keyboard.press("g")
        page.keyboard.press("n")
        page.wait_for_url(f"**{NODES}")


def test_a_browser_that_slept_asks_at_once_what_it_missed(browser, cluster):
    node = new_node(cluster)
    with opened(browser, cluster) as page:
        mine = card(page, node[0])
        expect(mine).to_have_attribute("data-state", "never")
        freeze = page.context.new_cdp_session(page)
        freeze.send("Page.setWebLifecycleState", {"state": "frozen"})
        cluster.kill("a", signal.SIGKILL)
        agent = BasicAgent(cluster.url("b"), *node)
        starts = cluster.log("a").count("Uvicorn running")
        cluster.start_worker("a")
        until(lambda: cluster.log("a").count("Uvicorn running") > starts, 30, "a is back")
        freeze.send("Page.setWebLifecycleState", {"state": "active"})
        expect(mine).to_have_attribute("data-state", "active", timeout=5000)
        expect(part(page, "live-words")).to_have_text("Live")
        agent.stop()


def test_a_socket_that_died_in_the_night_is_not_trusted_in_the_morning(browser, cluster):
    context = browser.new_context()
    page = context.new_page()
    page.clock.install()
    page.goto(f"http://127.0.0.1:{cluster.ports['a']}/admin/login/?next={NODES}")
    page.fill("#id_username", "admin")
    page.fill("#id_password", "pw")
    page.click("[type=submit]")
    page.clock.resume()
    expect(part(page, "live-words")).to_have_text("Live")
    cluster.kill("a", signal.SIGSTOP)  # the line is dead and nobody says so
    try:
        page.clock.fast_forward("08:00:00")
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        expect(part(page, "live-words")).to_have_text("Live updates paused: reconnecting…")
    finally:
        cluster.kill("a", signal.SIGCONT)
    expect(part(page, "live-words")).to_have_text("Live", timeout=20_000)
    context.close()


@pytest.mark.parametrize("view", ["cards", "table"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_is_readable_in_the_dark(browser, cluster, scheme, view):
    new_node(cluster)
    options = {"viewport": {"width": 390, "height": 844}, "color_scheme": scheme}
    with opened(browser, cluster, query=f"?view={view}", **options) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.locator(".yt-menu summary").first.click()
        assert axe.violations(page, "#yt-nodes") == []
        colours = page.evaluate(
            "[getComputedStyle(document.querySelector('.yt-node')).color,"
            " getComputedStyle(document.querySelector('.yt-menu summary')).backgroundColor]"
        )
        ink, paper = (sum(int(n) for n in colour[4:-1].split(",")[:3]) for colour in colours)
        assert (ink > paper) is (scheme == "dark")
        assert abs(ink - paper) > 380


@pytest.fixture
def filled(cluster) -> Iterator[None]:
    """So many servers that a page is whole, each with figures."""
    fill(cluster, "LEAST = 200 - Server.objects.count(); fill(LEAST, samples=0)")
    yield
    fill(cluster, "Server.objects.filter(name__startswith='node-0').delete()")


@pytest.fixture
def large(cluster) -> Iterator[None]:
    """A panel of more servers than a page shows."""
    fill(cluster, "fill(300, samples=0)")
    yield
    fill(cluster, "Server.objects.filter(name__startswith='node-0').delete()")


def fill(cluster: Cluster, code: str) -> None:
    imports = "from django.db import transaction; from servers.models import Server; from tests.bench_data import fill"
    cluster.python(f"{imports}\nwith transaction.atomic():\n    {code}", 120)


def test_a_large_panel_is_paged_and_told_of_what_it_shows(browser, cluster, large):
    node = new_node(cluster)
    with opened(browser, cluster) as page:
        sockets: list[str] = []
        loads: list[str] = []
        page.on("websocket", lambda socket: sockets.append(socket.url))
        page.on("request", lambda request: request.is_navigation_request() and loads.append(request.url))
        rows = page.locator(".yt-row")
        expect(rows).to_have_count(100)
        expect(rows.first).to_have_attribute("data-state", re.compile("offline|reconnecting"))
        first = rows.first.get_attribute("data-id")
        part(page, "next").click()
        expect(part(page, "range")).to_contain_text("101–200 of")
        expect(page).to_have_url(re.compile(r"\?page=2$"))
        expect(page.locator(f".yt-row[data-id='{first}']")).to_have_count(0)
        page.fill("#yt-q", node[0])
        expect(rows).to_have_count(1)
        expect(page).to_have_url(re.compile(rf"\?q={node[0]}$"))
        until(lambda: sockets and sockets[-1].endswith(f"?ids={rows.first.get_attribute('data-id')}"), 5)
        before = part(page, "count").text_content()
        agent = BasicAgent(cluster.url("b"), *node)
        expect(rows.first).to_have_attribute("data-state", "active", timeout=2000)
        expect(part(page, "count")).not_to_have_text(before, timeout=2000)
        agent.stop()
        assert loads == []


@pytest.mark.parametrize("view", ["cards", "table"])
def test_patches_of_two_hundred_nodes_a_second_leave_the_page_free(browser, cluster, filled, view):
    """The cost of the page's own thread; what carries the patches there is measured elsewhere."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    lines = []
    page.route_web_socket(
        re.compile("/tunnel/ws/events/"), lambda line: lines.append((line, line.connect_to_server()))
    )
    page.goto(f"http://127.0.0.1:{cluster.ports['a']}/admin/login/?next={NODES}%3Fview={view}")
    page.fill("#id_username", "admin")
    page.fill("#id_password", "pw")
    page.click("[type=submit]")
    expect(page.locator(".yt-cards .yt-node, .yt-table .yt-node")).to_have_count(200)
    expect(part(page, "live-words")).to_have_text("Live")
    pks = page.eval_on_selector_all(".yt-node", "cards => cards.map(card => Number(card.dataset.id))")
    debugger = context.new_cdp_session(page)
    debugger.send("Performance.enable", {"timeDomain": "threadTicks"})
    seconds = 6
    start = busy(debugger)
    for second in range(seconds):
        for text in figures(pks, second):
            lines[-1][0].send(text)
        page.wait_for_timeout(1000)  # the page is patched once a second: time is what is measured
    spent = busy(debugger) - start
    shown = page.locator("[data-state=active] [data-bar=cpu] .yt-percent").last
    shown.scroll_into_view_if_needed()
    expect(shown).to_have_text(f"{10 + seconds - 1}%")
    assert spent / seconds < 0.05, f"{1000 * spent / seconds:.0f} ms a second"
    context.close()


def busy(debugger) -> float:
    """The processor time of the page's main thread, in seconds."""
    metrics = {one["name"]: one["value"] for one in debugger.send("Performance.getMetrics")["metrics"]}
    return metrics["TaskDuration"]


def figures(pks: list[int], second: int) -> list[str]:
    """What the hub says when all these servers sent new figures."""
    at = round(time.time(), 3)
    usage = {
        "cpu": 10 + second,
        "ram": 2000 + second,
        "ramTotal": 8192,
        "disk": 40 + second,
        "uptime": 9000 + second,
    }
    return messages.patch([{"id": pk, **cards.of_figures(usage, 0.03, at)} for pk in pks], [], (1, 200))


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
