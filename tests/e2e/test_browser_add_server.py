"""From "Add server" to a standing tunnel in a real browser: one page, live, and the secret shown once."""

import json
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, WebSocketRoute, expect
from websockets.exceptions import InvalidStatus

from tests import axe
from tests.e2e.basic_agent import BasicAgent
from tests.e2e.cluster import Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.browser]
EVIL = "<img src=x onerror=document.title='owned'>"
OUR_PAGES = (
    "connect",
    "rotate",
    "delete",
)  # lists and forms are Django's own, Select2 and its names included
WRONG = "yts_" + "x" * 43


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("adding"), "uvicorn")
    try:
        made.start("a", "b")
        code = "from django.contrib.auth import get_user_model as g; g().objects.create_superuser('admin', password='pw')"
        made.python(code)
        yield made
    finally:
        made.stop()


@contextmanager
def logged_in(browser: Browser, cluster: Cluster, **options) -> Iterator[Page]:
    """A page on the form to add a server; at the end nothing was complained of or asked of another host."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    page = context.new_page()
    origin = f"http://127.0.0.1:{cluster.ports['a']}"
    complaints: list[str] = []
    foreign: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request", lambda request: request.url.startswith((origin, "blob:")) or foreign.append(request.url)
    )
    page.goto(f"{origin}/admin/login/?next=/admin/servers/server/add/")
    page.fill("#id_username", "admin")
    page.fill("#id_password", "pw")
    page.click("[type=submit]")
    yield page
    assert [text for text in complaints if "404" not in text and not text.startswith("[DOM]")] == []
    assert foreign == []
    context.close()


def words(page: Page):
    return page.locator("#yt-waiting [data-yt=words]")


def attempts(page: Page):
    return page.locator("#yt-waiting [data-yt=events] li")


def add(page: Page, name: str) -> tuple[str, str]:
    """Fill in the name, and return the agent id and the secret that the next page shows."""
    page.fill("#id_name", name)
    page.click("[name=_save]")
    expect(words(page)).to_have_text("Waiting for the agent to connect…")
    expect(page).to_have_url(re.compile("/connect/$"))  # which a script of the page sets
    return page.locator("#yt-id-1").inner_text(), page.locator("#yt-secret-1").inner_text()


def knock(cluster: Cluster, agent_id: str, secret: str) -> None:
    with pytest.raises(InvalidStatus):
        BasicAgent(cluster.url("b"), agent_id, secret)


def test_a_name_a_refusal_and_the_tunnel_without_a_reload(browser, cluster):
    with logged_in(browser, cluster) as page:
        name = f"web-{uuid.uuid4().hex[:8]}"
        agent_id, secret = add(page, name)
        assert agent_id == name
        knock(cluster, agent_id, WRONG)
        expect(attempts(page).first).to_contain_text("refused: wrong secret, from 127.0.0.1", timeout=8000)
        agent = BasicAgent(cluster.url("b"), agent_id, secret)  # on another worker than the page
        expect(words(page)).to_contain_text("Tunnel Active", timeout=2000)
        expect(attempts(page).first).to_contain_text("dialled from 127.0.0.1")
        expect(page.locator("[data-yt=open]")).to_be_visible()
        agent.send({"type": "PING", "timestamp": 1, "rtt": 0.031})
        agent.send({"type": "HEARTBEAT", "data": {"cpu": 1}})
        expect(words(page)).to_have_text("Tunnel Active, 31 ms", timeout=15_000)
        page.click("[data-yt=open]")
        expect(page.locator("body")).to_contain_text(name)
        agent.stop()


def test_loading_the_page_again_neither_adds_nor_shows_anything_again(browser, cluster):
    with logged_in(browser, cluster) as page:
        agent_id, secret = add(page, f"once-{uuid.uuid4().hex[:8]}")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.method))
        page.reload()
        expect(words(page)).to_have_text("Waiting for the agent to connect…")
        assert "POST" not in asked
        assert secret not in page.content()
        assert agent_id in page.content()
        page.go_back()
        page.go_forward()
        expect(words(page)).to_be_visible()
        assert secret not in page.content()
        assert cluster.sql(f"SELECT count(*) FROM servers WHERE agent_id LIKE '{agent_id}%'") == [(1,)]


def test_the_lines_are_copied_or_selected_and_saved_without_asking_the_panel(browser, cluster):
    with logged_in(browser, cluster) as page:
        agent_id, secret = add(page, f"file-{uuid.uuid4().hex[:8]}")
        lines = page.locator("#yt-env-1").text_content() or ""
        assert f"AGENT_ID={agent_id}\nAGENT_SECRET={secret}\n" in lines
        asked: list[str] = []
        page.on("request", lambda request: request.url.startswith("blob:") or asked.append(request.url))
        with page.expect_download() as download:
            page.click("[data-save]")
        assert download.value.suggested_filename == f"{agent_id}.env"
        assert Path(download.value.path()).read_text() == lines
        button = page.locator("[data-copy=yt-env-1]")
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        button.click()
        expect(button).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == lines
        expect(button).to_have_text("Copy the four lines", timeout=4000)
        page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")  # as without TLS
        button.click()
        expect(button).to_have_text("Selected: press Ctrl+C")
        assert secret in page.evaluate("getSelection().toString()")
        assert [url for url in asked if "/waiting/" not in url] == []


def test_after_a_rotation_the_page_waits_for_the_new_secret(browser, cluster):
    with logged_in(browser, cluster) as page:
        name = f"turn-{uuid.uuid4().hex[:8]}"
        agent_id, old = add(page, name)
        agent = BasicAgent(cluster.url("b"), agent_id, old)
        expect(words(page)).to_contain_text("Tunnel Active", timeout=2000)
        page.goto(page.url.replace("/connect/", "/rotate/"))
        page.click("[data-verb=rotate]")
        expect(words(page)).to_have_text("Waiting for the agent to connect…")
        new = page.locator("#yt-secret-1").inner_text()
        assert new != old
        assert agent.closed(10) == 4003
        knock(cluster, agent_id, old)
        expect(attempts(page).filter(has_text="wrong secret")).to_have_count(1, timeout=8000)
        again = BasicAgent(cluster.url("b"), agent_id, new)
        expect(words(page)).to_contain_text("Tunnel Active", timeout=2000)
        again.stop()


def test_a_hostile_name_is_text_on_every_page_of_the_way(browser, cluster):
    with logged_in(browser, cluster) as page:
        name = f"{EVIL}{uuid.uuid4().hex[:8]}"
        agent_id, _ = add(page, name)
        connect = page.url
        for verb in ("connect", "change", "rotate", "suspend", "delete", "history"):
            page.goto(connect.replace("/connect/", f"/{verb}/"))
            expect(page.locator("body")).to_contain_text(EVIL)
            assert "owned" not in page.title().replace(EVIL, "")
            assert page.locator("img[src=x]").count() == 0
        page.goto(re.sub(r"/\d+/connect/", "/", connect))
        expect(page.locator("#result_list")).to_contain_text(EVIL)
        assert page.locator("img[src=x]").count() == 0
        assert re.fullmatch(r"[a-z0-9-]+", agent_id)


def test_the_pills_of_the_list_change_without_a_reload(browser, cluster):
    name = f"pill-{uuid.uuid4().hex[:8]}"
    secret = cluster.add(name)
    with logged_in(browser, cluster) as page:
        page.goto(page.url.replace("/add/", f"/?q={name}"))
        pill = page.locator("[data-pill]")
        expect(pill).to_have_text("Never connected")
        agent = BasicAgent(cluster.url("b"), name, secret)
        expect(pill).to_have_text("Tunnel Active", timeout=3000)
        agent.stop()
        expect(pill).to_have_text("Reconnecting…", timeout=3000)


def test_the_pills_are_marked_as_old_while_nothing_keeps_them_true(browser, cluster):
    name = f"pill-{uuid.uuid4().hex[:8]}"
    cluster.add(name)
    lines: list[WebSocketRoute] = []
    with logged_in(browser, cluster) as page:
        page.route_web_socket(re.compile("/tunnel/ws/events/"), lambda line: lines.append(line))
        page.clock.install()
        page.goto(page.url.replace("/add/", f"/?q={name}"))
        pill, old = page.locator("[data-pill]"), page.locator("[data-pill][data-old]")
        expect(pill).to_have_count(1)
        _say(page, lines, 1, {"type": "snapshot", "cards": []})
        page.clock.run_for(16_000)  # nothing more is said: given up after 12 s, and dialled again
        expect(old).to_have_count(1)
        _say(page, lines, 2, {"type": "snapshot", "cards": []})
        expect(old).to_have_count(0)
        page.evaluate("Math.random = () => 1e5")  # the next attempt is hours away
        lines[1].close(code=4013)
        expect(old).to_have_count(1)
        page.evaluate("window.dispatchEvent(new Event('online'))")
        _say(page, lines, 3, {"type": "snapshot", "cards": []})
        expect(old).to_have_count(0)
        lines[2].close(code=4003)
        expect(old).to_have_count(1)
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        page.clock.run_for(60_000)
        assert len(lines) == 3
        expect(old).to_have_count(1)


def _say(page: Page, lines: list[WebSocketRoute], number: int, message: dict[str, object]) -> None:
    """Let the last socket say something, as soon as the page has opened so many."""
    give_up = time.monotonic() + 5
    while len(lines) < number and time.monotonic() < give_up:
        page.wait_for_timeout(20)  # playwright tells of new sockets only while it is asked something
    assert len(lines) == number
    lines[-1].send(json.dumps(message))


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)]
)
def test_the_pages_shut_nobody_out_and_fit_a_phone(browser, cluster, scheme, width):
    cluster.python(
        "from servers.models import *; from django.contrib.auth import get_user_model as g;"
        "made, new = ServerGroup.objects.get_or_create(name='Home');"
        "Grant.objects.get_or_create(server_group=made, user=g().objects.get(), defaults={'permissions': ['view']})"
    )
    with logged_in(browser, cluster, color_scheme=scheme, viewport={"width": width, "height": 844}) as page:
        origin = page.url.split("/admin/")[0]
        problems = {"add": axe.violations(page)}
        agent_id, secret = add(page, f"wide-{uuid.uuid4().hex[:8]}")
        knock(cluster, agent_id, WRONG)
        expect(attempts(page)).to_have_count(1, timeout=8000)
        problems["secret"] = axe.violations(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        agent = BasicAgent(cluster.url("b"), agent_id, secret)
        expect(words(page)).to_contain_text("Tunnel Active", timeout=5000)
        problems["connected"] = axe.violations(page)
        connect = page.url
        agent.stop()
        pages = {verb: connect.replace("/connect/", f"/{verb}/") for verb in ("connect", "rotate", "delete")}
        group = cluster.sql("SELECT id FROM servers_servergroup WHERE name='Home'")[0][0]
        pages["group"] = f"{origin}/admin/servers/servergroup/{group}/change/"
        for name in ("servers/server", "servers/commandrecord", "tunnel/session", "tunnel/refusal"):
            pages[name] = f"{origin}/admin/{name}/"
        for name, url in pages.items():
            page.goto(url)
            if name in OUR_PAGES:
                problems[name] = axe.violations(page)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert {name: found for name, found in problems.items() if found} == {}
