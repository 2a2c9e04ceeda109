"""The page of one server in a real browser: live, quiet, safe, readable, and at home in three admins."""

import os
import threading
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, expect

from tests import axe
from tests.e2e.basic_agent import BasicAgent
from tests.e2e.cluster import ROOT, Cluster, until
from tests.e2e.real_agent import RealAgent

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

THEMES = {"plain": "tests.e2e.site", "unfold": "tests.e2e.site_unfold", "jazzmin": "tests.e2e.site_jazzmin"}
PICTURES = ROOT / "docs" / "pictures"  # written when SHOTS is set
# Django's widget for tags: its search field has no label of its own.
OF_DJANGO = (".select2-container",)
PAYLOADS = [
    "<img src=x onerror=document.title='owned'>",
    "\"'><script>document.title='owned'</script>",
    "</script><script>document.title='owned'</script>",
    "{{ 7*7 }}{% load x %}\u202eevil\u202c",
    "javascript:document.title='owned'",
    "\x1b]0;owned\x07\x1b[2J<svg/onload=document.title='owned'>",
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    """One database, one Redis, and a worker for each theme."""
    made = Cluster(tmp_path_factory.mktemp("browser"), "uvicorn")
    try:
        made.start("plain")
        for theme in ("unfold", "jazzmin"):
            made.environment["DJANGO_SETTINGS_MODULE"] = THEMES[theme]
            made.start_worker(theme)
        made.environment["DJANGO_SETTINGS_MODULE"] = THEMES["plain"]
        for theme in ("unfold", "jazzmin"):
            until(lambda theme=theme: answers(made, theme), 60, f"{theme} answers")
        made.python(
            "from django.contrib.auth import get_user_model as g; g().objects.create_superuser('admin', password='pw')"
        )
        yield made
    finally:
        made.stop()


def answers(cluster: Cluster, worker: str) -> bool:
    try:
        urllib.request.urlopen(f"{origin(cluster, worker)}/admin/login/", timeout=20).close()
    except OSError:
        return False
    return True


def origin(cluster: Cluster, worker: str) -> str:
    return f"http://127.0.0.1:{cluster.ports[worker]}"


@pytest.fixture
def node(cluster) -> tuple[str, str, int]:
    """A new server: its agent id, its secret, its primary key."""
    name = f"node-{uuid.uuid4().hex[:8]}"
    secret = cluster.add(name)
    return name, secret, cluster.sql(f"SELECT id FROM servers WHERE agent_id='{name}'")[0][0]


@pytest.fixture(scope="module")
def login(cluster, browser) -> dict:
    """The cookies of a superuser; they count for every port of this host."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{origin(cluster, 'plain')}/admin/login/")
    page.fill("[name=username]", "admin")
    page.fill("[name=password]", "pw")
    page.click("[type=submit]")
    expect(page).to_have_title("Node Orchestration | Yumna Tunnel", timeout=20_000)
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def opened(cluster, browser, login):
    """A function that opens a server's page.

    At its end nothing may have been complained of, but what is `tolerated`, or asked of another host.
    """

    @contextmanager
    def open_page(
        pk: int, worker: str = "plain", tolerated: tuple[str, ...] = (), **options
    ) -> Iterator[Page]:
        size = {"width": 1280, "height": 900}
        context = browser.new_context(**{"viewport": size, "storage_state": login, **options})
        page = context.new_page()
        complaints: list[str] = []
        foreign: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        here = (origin(cluster, worker), origin(cluster, worker).replace("http", "ws"))
        page.on("request", lambda request: request.url.startswith(here) or foreign.append(request.url))
        if worker == "jazzmin":  # which has a switch of its own for the night
            scheme = options.get("color_scheme", "light")
            page.add_init_script(f"localStorage.setItem('jazzmin-theme-mode', '{scheme}')")
        page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
        page.goto(f"{origin(cluster, worker)}/admin/tunnel/nodes/{pk}/")
        if options.get("java_script_enabled", True):
            expect(part(page, "live-words")).to_have_text("Live", timeout=15_000)
        yield page
        assert [text for text in complaints if not any(word in text for word in tolerated)] == []
        assert foreign == []
        context.close()

    return open_page


def part(page, name: str):
    return page.locator(f"#yt-server [data-yt={name}]").first


def reply(page, name: str):
    return page.locator(f".yt-replies .yt-reply >> nth=0 >> [data-yt={name}]")


def test_it_follows_the_link_without_a_reload(opened, cluster, node):
    name, secret, pk = node
    with opened(pk) as page:
        page.evaluate("window.before = true")
        expect(part(page, "pill")).to_have_text("Never connected")
        assert axe.violations(page) == []
        expect(part(page, "run")).to_be_disabled()
        agent = BasicAgent(cluster.url("jazzmin"), name, secret)  # on another worker than the page
        expect(part(page, "pill")).to_have_text("Tunnel Active", timeout=5000)
        expect(part(page, "address")).to_have_text("127.0.0.1", timeout=5000)
        expect(part(page, "run")).to_be_enabled()
        expect(page.locator(".yt-events .yt-event >> nth=0")).to_have_attribute("data-kind", "opened")
        agent.send({"type": "HEARTBEAT", "data": {"cpu": 92, "ram": 1, "ramTotal": 2, "disk": 7}})
        expect(page.locator("[data-chart=cpu] [data-yt=value]")).to_have_text("92%", timeout=5000)
        expect(page.locator("[data-chart=ram] [data-yt=value]")).to_have_text("50%")
        expect(page.locator("[data-chart=cpu] canvas")).to_be_visible()
        expect(page.locator("[data-yt=rows] tr >> nth=0")).to_contain_text("92%")
        with page.expect_response("**/data/"):  # what was pushed is not taken back by what is read
            cluster.sql(f"UPDATE servers SET last_usage_at=NULL, agent_version='9' WHERE id={pk}")
        expect(part(page, "version")).to_have_text("9")
        expect(page.locator("[data-chart=cpu] [data-yt=value]")).to_have_text("92%")
        agent.stop()
        expect(part(page, "pill")).to_have_text("Reconnecting…", timeout=5000)
        expect(part(page, "disabled")).to_contain_text("reconnecting", timeout=5000)
        expect(part(page, "run")).to_be_disabled()
        expect(page.locator(".yt-events .yt-event >> nth=0")).to_contain_text("Disconnected")
        assert page.evaluate("window.before")
        for table, column in (
            ("tunnel_session", "server_id"),
            ("tunnel_sample", "server_id"),
            ("servers", "id"),
        ):
            cluster.sql(f"DELETE FROM {table} WHERE {column}={pk}")
        expect(part(page, "live-words")).to_contain_text("was deleted", timeout=15_000)
        expect(part(page, "run")).to_be_disabled()


def test_a_program_is_run_by_a_real_agent_and_its_answer_is_shown(opened, cluster, node, tmp_path):
    name, secret, pk = node
    agent = RealAgent(tmp_path, [cluster.url("plain")], name, secret)
    try:
        with opened(pk) as page:
            expect(part(page, "run")).to_be_enabled(timeout=20_000)
            line = page.locator("[name=line]")
            line.fill("printf '%s|' $HOME *.txt 'a  b'")
            page.keyboard.press("Control+Enter")
            expect(reply(page, "headline")).to_have_text("Exit code 0")
            expect(reply(page, "stdout")).to_have_text("$HOME|*.txt|a  b|")
            line.fill("echo out; echo err >&2; exit 3")
            page.check("[name=shell]")
            page.click("[data-yt=run]")
            expect(reply(page, "headline")).to_have_text("Exit code 3")
            expect(reply(page, "stdout")).to_have_text("out")
            expect(reply(page, "stderr")).to_have_text("err")
            line.fill("half a line")
            line.press("ArrowUp")
            line.press("ArrowUp")
            expect(line).to_have_value("printf '%s|' $HOME *.txt 'a  b'")
            for _ in range(2):
                line.press("ArrowDown")
            expect(line).to_have_value("half a line")
            page.uncheck("[name=shell]")
            line.fill("/no/such/program")
            page.keyboard.press("Control+Enter")
            expect(reply(page, "code")).to_have_text("not_found")
            expect(reply(page, "ran")).to_have_text("It ran.")
            page.check("[name=mode][value=action]")
            page.fill("[name=service]", "agent")
            page.fill("[name=action]", "ping")
            page.keyboard.press("Control+Enter")
            expect(reply(page, "data")).to_contain_text('"pong": true')
            expect(page.locator("[data-yt=commands] tr")).to_have_count(4, timeout=5000)
            expect(part(page, "commands")).to_contain_text("Failed")
            expect(page.locator(".yt-replies .yt-reply")).to_have_count(4)
    finally:
        agent.stop()


def test_what_is_wrong_is_said_at_its_field(opened, cluster, node):
    name, secret, pk = node
    agent = BasicAgent(cluster.url("plain"), name, secret)
    with opened(pk) as page:
        page.fill("[name=line]", "  ")
        page.keyboard.press("Control+Enter")
        expect(page.locator("[data-wrong=line]")).to_have_text("Write the program and its arguments.")
        page.fill("[name=line]", "uptime")
        page.keyboard.press("Control+Enter")
        expect(page.locator("[data-wrong=line]")).to_be_hidden()
        expect(reply(page, "headline")).to_have_text("Answered")
    agent.stop()


def test_a_node_that_does_not_answer_holds_nobody_up(opened, cluster, node):
    name, secret, pk = node
    agent = BasicAgent(cluster.url("plain"), name, secret, answer=lambda message: None)
    with opened(pk) as page:
        cookies = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}
        token = page.locator("[name=csrfmiddlewaretoken]").first.input_value()

        def ask() -> None:
            data = urllib.parse.urlencode(
                {"mode": "program", "line": "sleep 60", "timeout": "12", "csrfmiddlewaretoken": token}
            ).encode()
            request = urllib.request.Request(
                f"{origin(cluster, 'plain')}/admin/tunnel/nodes/{pk}/command/", data
            )
            request.add_header("Cookie", "; ".join(f"{key}={value}" for key, value in cookies.items()))
            request.add_header("Accept", "application/json")
            told.append(urllib.request.urlopen(request, timeout=60).read().decode())

        told: list[str] = []
        threads = [threading.Thread(target=ask, name=f"slow command {number}") for number in range(40)]
        for thread in threads:
            thread.start()
        sent = lambda: sum(message["type"] == "EXEC_COMMAND" for message in list(agent.seen))  # noqa: E731
        until(lambda: sent() == 40, 20, "all commands are under way at once")
        began = time.monotonic()
        page.reload()
        expect(part(page, "live-words")).to_have_text("Live", timeout=5000)
        assert time.monotonic() - began < 5
        assert told == []
        page.fill("[name=line]", "sleep 60")
        page.keyboard.press("Control+Enter")
        expect(part(page, "run")).to_have_text("Running…")
        page.click("[data-yt=stop]")
        expect(reply(page, "error")).to_contain_text("You stopped waiting")
        assert agent.wait_for("CANCEL", 10)
        expect(part(page, "run")).to_have_text("Run")
        for thread in threads:
            thread.join(60)
        assert len(told) == 40
        assert all('"no_reply"' in one for one in told)
    agent.stop()


def test_nothing_a_node_says_is_executed(opened, cluster, node):
    name, secret, pk = node

    def evil(message: dict) -> dict:
        payload = PAYLOADS[len(agent.seen) % len(PAYLOADS)]
        if message["action"] == "exec":
            return {"id": message["id"], "data": {"exitCode": 0, "stdout": payload, "stderr": payload}}
        if message["action"] == "fail":
            return {
                "requestId": message["id"],
                "status": "error",
                "data": None,
                "error": payload,
                "code": payload,
            }
        return {"id": message["id"], "data": {payload: [payload, {payload: payload}]}}

    agent = BasicAgent(cluster.url("plain"), name, secret, evil)
    code = f"""
from servers.models import *; from tunnel.models import *
evil = {PAYLOADS!r}
every = ' '.join(evil)
s = Server.objects.get(pk={pk})
Server.objects.filter(pk={pk}).update(name=every[:100] + '{name}', agent_version=evil[0][:32], capabilities=evil,
    host_facts={{'platform': every, 'hostname': every, 'arch': every}})
s.tags.set([Tag.objects.get_or_create(name=one[:50])[0] for one in evil])
for one in evil:
    Session.objects.create(server=s, worker=Worker.objects.first(), secret_version=1, closed_at='2026-01-01T00:00Z',
        close_reason='rubbish', close_detail=one, agent_reason=one, agent_away_seconds=1)
    CommandRecord.objects.create(server=s, server_name='x', service=one[:64], action=one[:64], params={{'shell': one}},
        actor=one, state='failed', code=one[:64], error=one)
"""
    cluster.python(code)
    with opened(pk) as page:
        title = page.title()
        for _ in PAYLOADS:
            page.fill("[name=line]", "echo")
            page.keyboard.press("Control+Enter")
            expect(part(page, "run")).to_have_text("Run")
        page.check("[name=mode][value=action]")
        for action in ("fail", "other") * 3:
            page.fill("[name=service]", PAYLOADS[0][:60])
            page.fill("[name=action]", action)
            page.keyboard.press("Control+Enter")
            expect(part(page, "run")).to_have_text("Run")
        expect(page.locator(".yt-replies .yt-reply")).to_have_count(12)
        cluster.sql(f"UPDATE servers SET agent_version='<b>changed</b>' WHERE id={pk}")
        expect(part(page, "version")).to_have_text("<b>changed</b>", timeout=10_000)
        assert page.title() == title
        grown = "#yt-server :is(img, svg, script:not([type='application/json']), iframe, b, a[href^='javascript'])"
        assert page.locator(grown).count() == 0
        shown = page.locator("#yt-server").inner_text()
        assert "\u202e" not in shown
        assert "\x1b" not in shown
        assert "<img src=x" in shown
        page.goto(f"{origin(cluster, 'plain')}/admin/servers/server/{pk}/change/")
        assert page.locator("nav.yt-tabs a").count() == 6
        assert page.title() != "owned"
    agent.stop()


def test_it_works_without_a_script(opened, cluster, node):
    name, secret, pk = node
    agent = BasicAgent(
        cluster.url("plain"),
        name,
        secret,
        lambda message: {"id": message["id"], "data": {"exitCode": 2, "stdout": "o", "stderr": "<e>"}},
    )
    with opened(pk, java_script_enabled=False) as page:
        expect(page.locator(".yt-of-action")).to_be_hidden()
        page.fill("[name=line]", "false")
        page.click("[data-yt=run]")
        expect(reply(page, "headline")).to_have_text("Exit code 2")
        expect(reply(page, "stderr")).to_have_text("<e>")
        expect(page.locator("[name=line]")).to_have_value("false")
    agent.stop()


@pytest.fixture(scope="module")
def long_lived(cluster) -> Iterator[tuple[int, BasicAgent]]:
    """A server with an hour of figures, a gap among them, a history of its link and commands."""
    secret = cluster.add("db-01")
    agent = BasicAgent(cluster.url("plain"), "db-01", secret)
    cluster.python("""
import datetime, math
from django.utils import timezone
from servers.models import *; from tunnel.models import *
Worker.objects.update(host='panel-1', pid=412)
s, now, worker = Server.objects.get(name='db-01'), timezone.now(), Worker.objects.first()
ago = lambda **d: now - datetime.timedelta(**d)
Server.objects.filter(pk=s.pk).update(host_facts={'platform': 'Debian GNU/Linux 12 (bookworm)', 'hostname': 'db-01.internal',
    'arch': 'x86_64'}, agent_version='0.1.0')
s.tags.add(Tag.objects.create(name='prod'))
for i in range(118):
    if not 40 < i < 55:
        Sample.objects.create(server=s, at=ago(seconds=30 * (119 - i)), cpu=50 + 40 * math.sin(i / 9), ram=50 + i / 10,
            disk=48.2, rtt_seconds=.03 + .01 * math.sin(i / 3))
Session.objects.create(server=s, worker=worker, secret_version=1, address='203.0.113.7', opened_at=ago(hours=5),
    closed_at=ago(hours=2), close_reason='silent', close_detail='no byte for 18 s')
Refusal.objects.create(server=s, reason='wrong_secret', address='203.0.113.9', times=14, last_at=ago(hours=1))
for i, (argv, state, code) in enumerate([(['systemctl', 'status', 'nginx'], 'succeeded', ''), (['cat', '/no/such'], 'failed', 'not_found')]):
    CommandRecord.objects.create(server=s, server_name='db-01', service='system', action='exec', params={'argv': argv},
        actor='admin', state=state, code=code, duration_seconds=.03, created_at=ago(minutes=9 + i))
""")
    agent.ping()
    yield cluster.sql("SELECT id FROM servers WHERE agent_id='db-01'")[0][0], agent
    agent.stop()


@pytest.fixture
def lived_in(long_lived) -> int:
    return long_lived[0]


def test_one_cursor_tells_all_figures_of_a_moment(opened, cluster, lived_in):
    with opened(lived_in) as page:
        drawing = page.locator("[data-chart=cpu] .u-over")
        drawing.hover(position={"x": 60, "y": 40})
        said = [
            page.locator(f"[data-chart={name}] [data-yt=value]") for name in ("cpu", "ram", "disk", "rtt")
        ]
        for one in said:
            expect(one).to_contain_text(" at ")
        assert len({one.inner_text().split(" at ")[1] for one in said}) == 1
        page.mouse.move(0, 0)
        expect(said[2]).not_to_contain_text(" at ")


@pytest.mark.parametrize(
    ("theme", "scheme", "height", "name"),
    [("plain", "light", 1240, "server"), ("unfold", "dark", 960, "unfold")],
)
def test_it_takes_the_picture_of_the_docs(opened, cluster, long_lived, tmp_path, theme, scheme, height, name):
    pk, agent = long_lived
    usage = {
        "cpu": 67,
        "ram": 9984,
        "ramTotal": 16_000,
        "disk": 48.2,
        "diskUsed": 98_700,
        "diskTotal": 204_800,
    }
    with opened(pk, theme, viewport={"width": 1280, "height": height}, color_scheme=scheme) as page:
        agent.send({"type": "PING", "timestamp": 1, "rtt": 0.038})
        agent.send({"type": "HEARTBEAT", "data": {**usage, "uptime": 3_546_000}})
        expect(page.locator("[data-chart=ram] [data-yt=amount]")).to_have_text("9.8 of 15.6 GiB")
        expect(part(page, "rtt")).to_have_text("38 ms")
        page.fill("[name=line]", "systemctl is-active nginx")
        page.mouse.move(0, 0)
        page.screenshot(path=(PICTURES if os.environ.get("SHOTS") else tmp_path) / f"{name}.png")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("theme", THEMES)
def test_it_is_readable_in_every_admin_by_day_and_by_night(opened, cluster, lived_in, theme, scheme):
    with opened(lived_in, theme, color_scheme=scheme) as page:
        part(page, "rows").evaluate("rows => rows.closest('details').open = true")
        page.fill("[name=line]", "uptime")
        page.keyboard.press("Control+Enter")
        expect(reply(page, "headline")).to_be_visible()
        whole = theme == "plain"  # the frame around is the theme's own
        assert axe.violations(page, within="html" if whole else "#yt-server") == []
        colours = page.evaluate(
            "(s => [s.color, s.backgroundColor])(getComputedStyle(document.querySelector('.yt-panel')))"
        )
        ink, paper = (sum(int(n) for n in colour[4:-1].split(",")[:3]) for colour in colours)
        assert (ink > paper) is (scheme == "dark")
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert axe.violations(page, within="#yt-server") == []
        page.goto(f"{origin(cluster, theme)}/admin/servers/server/{lived_in}/change/")
        expect(page.locator("nav.yt-tabs [aria-current=page]")).to_have_text("Settings")
        if whole:
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert axe.violations(page, within="html" if whole else ".yt-tabs", without=OF_DJANGO) == []


def test_a_page_whose_worker_dies_polls_and_comes_back(opened, cluster, lived_in):
    with opened(lived_in, "jazzmin", tolerated=("WebSocket", "Failed to load")) as page:
        cluster.kill("jazzmin")
        expect(part(page, "live-words")).to_have_text("Live updates paused: reconnecting…", timeout=5000)
        cluster.environment["DJANGO_SETTINGS_MODULE"] = THEMES["jazzmin"]
        cluster.start_worker("jazzmin")
        cluster.environment["DJANGO_SETTINGS_MODULE"] = THEMES["plain"]
        expect(part(page, "live-words")).to_have_text("Live", timeout=60_000)
