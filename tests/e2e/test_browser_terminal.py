"""A real shell on a real agent in a real browser, and what it survives."""

import os
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests import axe
from tests.e2e.cluster import ROOT, Cluster, until
from tests.e2e.real_agent import RealAgent
from tests.e2e.terminals import Terminal, terminal

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

THEMES = {"unfold": "tests.e2e.site_unfold", "jazzmin": "tests.e2e.site_jazzmin"}
OTHERS = {**THEMES, "careful": "tests.e2e.site_careful"}
PICTURES = ROOT / "docs" / "pictures"  # written when SHOTS is set
AWAY = ("WebSocket connection", "Failed to load resource")  # what Chromium says of a worker that is not there
TEN_MEGABYTES = 10_000_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    """A worker that holds the agent's socket, one whose pages reach it over Redis, and one for each other site."""
    made = Cluster(tmp_path_factory.mktemp("terminal"), "uvicorn")
    try:
        made.start("holder", "pages")
        for worker, settings in OTHERS.items():
            made.environment["DJANGO_SETTINGS_MODULE"] = settings
            made.start_worker(worker)
        made.environment["DJANGO_SETTINGS_MODULE"] = "tests.e2e.site"
        made.python(
            "from django.contrib.auth import get_user_model as g\n"
            "from servers.models import Grant, ServerGroup\n"
            "g().objects.create_superuser('admin', password='pw')\n"
            "group = ServerGroup.objects.create(name='all')\n"
            "for name, rights in {'watcher': ['open_shell'], 'seer': ['view', 'run_command']}.items():\n"
            "    user = g().objects.create_user(name, password='pw', is_staff=True)\n"
            "    Grant.objects.create(server_group=group, user=user, permissions=rights)\n"
        )
        for worker in OTHERS:
            until(lambda worker=worker: _answers(made, worker), 60, f"{worker} answers")
        yield made
    finally:
        made.stop()


def _answers(cluster: Cluster, worker: str) -> bool:
    try:
        urllib.request.urlopen(f"{origin(cluster, worker)}/admin/login/", timeout=20).close()
    except OSError:
        return False
    return True


def origin(cluster: Cluster, worker: str) -> str:
    return f"http://127.0.0.1:{cluster.ports[worker]}"


@pytest.fixture(scope="module")
def logins(cluster, browser) -> dict:
    """The cookies of each person; they count for every port of this host."""
    states = {}
    for name in ("admin", "watcher", "seer"):
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{origin(cluster, 'pages')}/admin/login/")
        page.fill("[name=username]", name)
        page.fill("[name=password]", "pw")
        page.click("[type=submit]")
        page.wait_for_url("**/nodes/", timeout=20_000)
        states[name] = context.storage_state()
        context.close()
    return states


@pytest.fixture(scope="module")
def node(cluster, tmp_path_factory) -> Iterator[int]:
    """The primary key of a node whose agent is in."""
    name = "web-01"
    secret = cluster.add(name)
    pk = cluster.sql(f"SELECT id FROM servers WHERE agent_id='{name}'")[0][0]
    cluster.python(
        "from servers.models import *; ServerGroup.objects.get().servers.set(Server.objects.all())"
    )
    folder = tmp_path_factory.mktemp("agent")
    # A service manager, or a shell that started it in the background, leaves an agent deaf to Ctrl-C: its shells must
    # not be. Its home is its own, for a log-in shell runs what this machine's owner has in his.
    deaf = ("sh", "-c", 'trap "" INT QUIT; exec "$@"', "sh")
    agent = RealAgent(folder, [cluster.url("holder")], name, secret, inside=deaf, HOME=str(folder))
    until(lambda: cluster.get("pages", f"/test/states?id={name}") == {name: "active"}, 30, agent.log)
    yield pk
    agent.stop()


@pytest.fixture
def opened(cluster, browser, logins, node):
    """A function that opens a terminal of the node."""

    def open_terminal(worker: str = "pages", who: str = "admin", query: str = "", **options):
        url = f"{origin(cluster, worker)}/admin/tunnel/nodes/{node}/terminal/{query}"
        return terminal(browser, url, logins[who], **options)

    return open_terminal


def at_a_prompt(made: Terminal, folder: Path) -> Terminal:
    """Begin in a folder, with a prompt that is the same everywhere."""
    made.type(f"PS1='$ '; cd '{folder}'; clear; echo re''ady\n")
    made.shows("ready\n$")
    return made


def test_a_person_works_in_a_shell_as_over_ssh(opened, tmp_path):
    with opened() as made:
        at_a_prompt(made, tmp_path)
        made.type("vim -u NONE notes.txt\n")
        made.shows("notes.txt")
        made.type("ihéllo wörld")
        made.press("Escape")
        made.type(":wq\n")
        until(
            lambda: (
                (tmp_path / "notes.txt").exists() and (tmp_path / "notes.txt").read_text() == "héllo wörld\n"
            ),
            20,
            made.screen,
        )
        made.shows("$")
        made.type("top -d 0.3\n")
        made.shows("load average")
        first = made.screen()
        until(lambda: "load average" in made.screen() and made.screen() != first, 20, "top draws again")
        made.type("q")
        made.shows("\n$")
        made.type("clear; echo sl''eeps; sleep 1000\n")
        made.shows("sleeps")
        made.press("Control+c")
        made.type("echo $?\n")
        made.shows("130")
        made.type("clear; yes\n")
        made.shows("y\ny\ny\ny\ny\ny\ny\ny\ny\ny")
        made.press("Control+c")
        made.type("clear; echo st''opped\n")
        made.shows("stopped")
        made.type("clear; printf '\\xff\\xfe caf\\xc3\\xa9\\n'\n")
        made.shows("café")
        assert made.page.locator("[data-yt=state]").text_content().startswith("Live")


def test_the_shell_has_the_size_of_the_window_and_follows_it(opened, tmp_path):
    with opened() as made:
        at_a_prompt(made, tmp_path)

        def agree() -> str:
            """Ask the shell for its size until the page says the same, and return it."""
            said = made.page.locator("[data-yt=size]").text_content().split("×")
            made.type(f"clear; stty size | sed 's/^/is /;s/$/ {len(asked)}/'\n")
            asked.append(said)
            until(lambda: f" {len(asked) - 1}\n$" in made.screen(), 20, made.screen)
            return "×".join(said) if f"is {said[1]} {said[0]} " in made.screen() else ""

        asked: list[list[str]] = []
        before = until(agree, 20, "the size of the window")
        made.page.set_viewport_size({"width": 720, "height": 560})
        after = until(lambda: agree().replace(before, ""), 30, "another size")
        made.page.click("[data-yt=larger]")
        until(lambda: agree().replace(after, ""), 30, "a larger font has fewer characters")


def test_ten_megabytes_arrive_whole(opened, tmp_path):
    content = b"".join(b"%09d line of the file\n" % number for number in range(TEN_MEGABYTES // 27))
    (tmp_path / "much.txt").write_bytes(content)
    with opened() as made:
        at_a_prompt(made, tmp_path)
        made.type("clear; cat much.txt; echo en''d\n")
        made.shows("end", 120)
        assert content.replace(b"\n", b"\r\n") in bytes(made.wire.output)
        assert (made.wire.gaps, made.wire.twice) == (0, 0)


def test_a_refresh_shows_the_screen_as_it_was(opened, tmp_path):
    (tmp_path / "text").write_text("".join(f"line {number}\n" for number in range(500)))
    with opened() as made:
        at_a_prompt(made, tmp_path)
        made.type("clear; seq 1 5; vim -u NONE text\n")
        made.shows("line 5")
        made.type("100Gix")
        made.shows("xline 99")
        before = made.screen()
        shell = made.shell
        made.page.reload()
        made.live()
        until(lambda: made.screen() == before, 20, made.screen)
        assert made.shell == shell
        made.press("Escape")
        made.type(":q!\n")
        made.shows("1\n2\n3\n4\n5\n$")
        made.type("clear; exit 7\n")
        expect(made.state).to_contain_text("exit code 7", timeout=20_000)
        made.press("Enter")
        made.live()
        assert made.shell != shell


@pytest.mark.parametrize("victim", ["pages", "holder"])
def test_a_worker_killed_in_mid_output_loses_nothing(cluster, opened, tmp_path, victim):
    with opened(tolerated=AWAY) as made:
        at_a_prompt(made, tmp_path)
        made.type(
            "clear; for i in $(seq 1 60); do seq $((i * 1000)) $((i * 1000 + 999)); sleep 0.1; done; echo al''l\n"
        )
        made.wrote(b"5000\r\n")
        cluster.kill(victim, signal.SIGKILL)
        expect(made.page.locator("#yt-terminal")).to_have_attribute(
            "data-state", "cut" if victim == "pages" else "lost", timeout=20_000
        )
        expect(made.state).to_contain_text("your shell keeps running")
        cluster.start_worker(victim)
        cluster.wait_for(victim)
        made.live(90)
        made.shows("all", 60)
        expected = "".join(f"{number}\r\n" for number in range(1000, 61000)).encode()
        assert expected in bytes(made.wire.output)
        assert made.wire.gaps == 0


@contextmanager
def granted(cluster: Cluster, before: str, meanwhile: str) -> Iterator[None]:
    """Have the grants of some rights be others for a while."""
    cluster.sql(f"UPDATE servers_grant SET permissions='{meanwhile}' WHERE permissions='{before}'")
    try:
        yield
    finally:
        cluster.sql(f"UPDATE servers_grant SET permissions='{before}' WHERE permissions='{meanwhile}'")


def test_a_second_browser_watches_and_types_only_where_it_may(cluster, opened, tmp_path):
    with opened() as made, opened("holder", "watcher", f"?shell={made.shell}&watch=1") as watcher:
        at_a_prompt(made, tmp_path)
        watcher.shows("ready")
        expect(made.page.locator("[data-yt=people]")).to_have_text("watcher watches", timeout=10_000)
        expect(watcher.page.locator("[data-yt=people]")).to_have_text("admin types")
        expect(watcher.state).to_contain_text("Watching")
        watcher.type("echo from the wat''cher\n")
        expect(watcher.page.locator("[data-yt=notice-text]")).to_contain_text("You are watching")
        made.type("echo by the ow''ner\n")
        for one in (made, watcher):
            one.shows("by the owner")
            assert "watcher" not in one.screen().replace("cat", "")
        assert watcher.wire.typed == []
        with opened("pages", "watcher", f"?shell={made.shell}") as bold:  # asks to type, and may not
            bold.shows("by the owner")
            bold.type("x\n")
            notice = bold.page.locator("[data-yt=notice-text]")
            expect(notice).to_contain_text("You are watching")
            with granted(cluster, '["open_shell"]', '["open_shell", "change"]'):
                expect(notice).to_contain_text("You may type into this shell now", timeout=15_000)
                bold.type("echo by the bo''ld\n")
                made.shows("by the bold")
            expect(notice).to_contain_text("You may only watch this shell now", timeout=15_000)
            bold.type("echo too la''te\n")
            made.type("echo by the ow''ner again\n")
            bold.shows("owner again")
            assert "too late" not in made.screen()
            assert [one["gap"] for one in bold.wire.states if one["t"] == "opened"] == [0, 0, 0]
        with opened("holder", "admin", f"?shell={made.shell}") as second:
            second.shows("by the owner")
            second.type("echo from the sec''ond\n")
            made.shows("from the second")


def test_who_may_not_open_shells_gets_403(cluster, browser, logins, node):
    context = browser.new_context(storage_state=logins["seer"])
    page = context.new_page()
    answer = page.goto(f"{origin(cluster, 'pages')}/admin/tunnel/nodes/{node}/terminal/")
    assert answer.status == 403
    page.goto(f"{origin(cluster, 'pages')}/admin/tunnel/nodes/{node}/")
    expect(page.locator(".yt-tabs")).not_to_contain_text("Terminal")
    context.close()


ATTACK = r"""
\033[c \033[>c \033[5n \033[6n \033[?6n \033[21t \033[18t \033[14t \033[?1004h \033[?1$p \033[4$p \033P$qm\033\\ \033P+q544e\033\\
\033]10;?\007 \033]11;?\007 \033]4;1;?\007 \033]52;c;?\007 \033]52;c;b3duZWQ=\007 \033[=c \033[>q \033[x \033Z
\033]0;<img src=x onerror=document.title='owned'>\007 \033]8;;javascript:document.title='owned'\007here\033]8;;\007 e''nd
"""


def test_what_a_node_shows_does_nothing_to_who_looks(opened, tmp_path, cluster):
    (tmp_path / "attack").write_text(ATTACK.replace("\n", " ").replace("''", ""))
    with opened(permissions=["clipboard-read", "clipboard-write"]) as made:
        at_a_prompt(made, tmp_path)
        made.page.evaluate("navigator.clipboard.writeText('mine')")
        made.type(
            "clear; stty -echo raw; printf \"$(cat attack)\"; timeout 3 cat > answers; stty sane; clear; echo do''ne\n"
        )
        made.shows("done", 30)
        assert (tmp_path / "answers").read_bytes() == b"\x1b[?1;2c\x1b[>0;276;0c"
        expect(made.page.locator("[data-yt=notice-text]")).to_contain_text("5 bytes into your clipboard")
        assert made.page.evaluate("navigator.clipboard.readText()") == "mine"
        assert "owned" not in made.page.title().replace("='owned'", "")
        made.page.click("[data-yt=notice-do]")
        until(
            lambda: made.page.evaluate("navigator.clipboard.readText()") == "owned", 5, "the person copied it"
        )
        made.type(
            "clear; printf '\\033]8;;javascript:alert(1)\\007bad\\033]8;;\\007 \\033]8;;https://panel.example.org/x\\007go''od\\033]8;;\\007\\n'\n"
        )
        made.shows("bad good")
        for word, asked in (("bad", False), ("good", True)):
            click_on(made, word)
            dialog = made.page.locator("[data-yt=ask]")
            expect(dialog).to_be_visible() if asked else expect(dialog).to_be_hidden()
        expect(made.page.locator("[data-yt=ask-detail]")).to_have_text("https://panel.example.org/x")
        made.press("Escape")


def click_on(made: Terminal, word: str) -> None:
    """Click on a word of the screen with Ctrl held, as one follows a link."""
    place = made.page.evaluate(
        "word => { const rows = [...document.querySelectorAll('.xterm-rows > div')];"
        " for (const row of rows) { const at = row.textContent.indexOf(word); if (at < 0 || row.textContent.includes('printf')) continue;"
        " const box = row.getBoundingClientRect(); const width = document.querySelector('.xterm-screen').getBoundingClientRect().width / document.querySelector('[data-yt=size]').textContent.split('×')[0];"
        " return [box.left + (at + 1) * width, box.top + box.height / 2]; } }",
        word,
    )
    made.page.mouse.move(*place)
    made.page.wait_for_timeout(200)  # the terminal looks for links under the pointer
    made.page.keyboard.down("Control")
    made.page.mouse.click(*place)
    made.page.keyboard.up("Control")


def test_a_long_paste_asks_and_keys_in_it_are_taken_out(opened, tmp_path):
    with opened(permissions=["clipboard-read", "clipboard-write"]) as made:
        at_a_prompt(made, tmp_path)
        made.type("clear; echo go''es; cat > pasted\n")
        made.shows("goes")
        made.page.evaluate("navigator.clipboard.writeText('a\\x1b[201~\\x03b')")
        made.press("Control+Shift+v")
        made.shows("a[201~b")
        made.page.evaluate("navigator.clipboard.writeText('1\\n2\\n3\\n4\\n5\\n6\\n')")
        made.press("Control+Shift+v")
        expect(made.page.locator("[data-yt=ask-words]")).to_have_text("Paste 6 lines into the terminal?")
        made.page.click("[data-yt=ask-no]")
        made.press("Control+Shift+v")
        made.page.click("[data-yt=ask-yes]")
        made.shows("5\n6")
        made.press("Control+d")
        until(lambda: (tmp_path / "pasted").read_text() == "a[201~b1\n2\n3\n4\n5\n6\n", 10, "all of it, once")


def test_search_finds_copies_and_lists_who_else_is_there(cluster, opened, node):
    with opened(permissions=["clipboard-read", "clipboard-write"]) as made:
        made.type("clear; seq 1 300\n")
        made.shows("299\n300")
        made.press("Control+Shift+f")
        made.page.keyboard.type("29")
        expect(made.page.locator("[data-yt=found]")).to_have_text("13 of 13", timeout=15_000)
        made.press("Escape")
        made.page.click("[data-yt=more] summary")
        made.page.click("[data-yt=copy-all]")
        until(lambda: "\n299\n300\n" in made.page.evaluate("navigator.clipboard.readText()"), 5, "copied")
        made.page.click("[data-yt=more] summary")
        made.page.click("[data-yt=share]")
        watch = f"{made.page.url.split('?')[0]}?shell={made.shell}&watch=1"
        until(lambda: made.page.evaluate("navigator.clipboard.readText()") == watch, 5, "a link to watch")
        page = made.page.context.new_page()
        page.goto(f"{origin(cluster, 'holder')}/admin/tunnel/nodes/{node}/")
        mine = page.locator(f".yt-shell:has(a[href*='{made.shell}'])")
        expect(mine).to_contain_text("your shell")
        expect(mine).to_contain_text("open at admin")
        page.close()
        made.page.click("[data-yt=more] summary")
        made.page.click("[data-yt=end]")
        made.page.click("[data-yt=ask-yes]")
        expect(made.page.locator("#yt-terminal")).to_have_attribute("data-state", "ended", timeout=20_000)


@pytest.mark.parametrize("worker", ["pages", *THEMES])
def test_it_is_readable_in_every_admin_by_day_and_night(opened, worker):
    for scheme in ("light", "dark"):
        with opened(worker, color_scheme=scheme) as made:
            if worker == "jazzmin":
                made.page.evaluate(f"localStorage.setItem('jazzmin-theme-mode', '{scheme}')")
                made.page.reload()
                made.live()
            made.type("PS1='$ '; clear; ls --color=always /; echo do''ne\n")
            made.shows("done")
            own = "#yt-terminal"
            assert axe.violations(made.page, own if worker != "pages" else "html") == []
            ground = made.page.evaluate(
                "getComputedStyle(document.querySelector('.yt-screen')).backgroundColor"
            )
            assert (ground == "rgb(12, 15, 19)") is (scheme == "dark")
            colours = made.page.evaluate(
                "new Set([...document.querySelectorAll('.xterm-rows span')].map(e => getComputedStyle(e).color)).size"
            )
            assert colours > 1


def test_a_phone_has_the_keys_it_lacks_and_no_sideways_scroll(opened, tmp_path):
    phone = {"viewport": {"width": 390, "height": 780}, "has_touch": True, "is_mobile": True}
    with opened(**phone) as made:
        at_a_prompt(made, tmp_path)
        made.type("clear; echo sl''eeps; sleep 1000\n")
        made.shows("sleeps")
        made.page.tap("[data-key=Control]")
        made.type("c")
        made.type("echo $?\n")
        made.shows("130\n$")
        made.page.tap("[data-key=ArrowUp]")
        made.shows("130\n$ echo $?")
        assert made.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert axe.violations(made.page, "#yt-terminal") == []


def test_who_loses_the_right_is_shown_out_within_15_seconds(cluster, opened):
    with opened(who="watcher") as made, granted(cluster, '["open_shell"]', '["view"]'):
        expect(made.page.locator("#yt-terminal")).to_have_attribute("data-state", "ended", timeout=15_000)
        expect(made.state).to_contain_text("you may not open shells here")


STAMP = """
import time
from django.contrib.sessions.models import Session
for row in Session.objects.all():
    kept = {**row.get_decoded(), "servers_second_factor": [row.get_decoded()["_auth_user_id"], time.time() - %d]}
    Session.objects.filter(pk=row.pk).update(session_data=Session.objects.encode(kept))
"""


def test_a_second_factor_that_is_too_old_is_asked_for_and_leads_back_to_the_shell(cluster, opened):
    cluster.python(STAMP % 0)
    with opened("careful", tolerated=("WebSocket connection", "status of 403")) as made:
        shell = made.shell
        made.page.route_web_socket("**/shell/", lambda socket: socket.close())  # a proxy lets no more through
        made.page.reload()
        expect(made.page.locator("#yt-terminal")).to_have_attribute("data-state", "cut")
        cluster.python(STAMP % 3600)
        made.page.wait_for_url("**/second-factor/**", timeout=20_000)
        assert shell in made.page.url


def test_modes_that_were_set_before_what_is_kept_outlive_a_refresh(opened, tmp_path):
    with opened() as made:
        at_a_prompt(made, tmp_path)
        made.type(
            "clear; printf '\\033[?1h'; seq 1 300000; echo al''l; cat -v\n"
        )  # 2 MB, of which half is kept
        made.shows("all", 60)
        made.press("ArrowUp")
        made.shows("^[OA")
        made.page.reload()
        made.live()
        made.shows("^[OA", 30)
        made.press("ArrowUp")
        made.shows("^[OA^[OA")
        assert made.wire.gaps > 0
        made.press("Control+c")


LOST = """
from datetime import timedelta
from django.utils import timezone
from tunnel.models import Shell
Shell.objects.create(server_id=%d, handle="lost")
Shell.objects.update(opened_at=timezone.now() - timedelta(minutes=1))
"""


def test_the_background_worker_asks_the_node_and_ends_what_it_knows_no_more(cluster, node):
    cluster.python(LOST % node)
    cluster.start_background()
    ends = "SELECT \"end\" FROM tunnel_shell WHERE handle='lost'"
    until(lambda: cluster.sql(ends) == [("gone",)], 30, "the lost shell is over")
    cluster.kill("background", signal.SIGTERM)
    assert "Traceback" not in cluster.log("background")


def test_a_killed_agent_is_said_and_its_shell_is_gone_when_it_is_back(cluster, browser, logins, tmp_path):
    secret = cluster.add("web-02")
    pk = cluster.sql("SELECT id FROM servers WHERE agent_id='web-02'")[0][0]

    def start(name: str) -> RealAgent:
        folder = tmp_path / name
        return RealAgent(folder, [cluster.url("holder")], "web-02", secret, HOME=str(tmp_path))

    url = f"{origin(cluster, 'pages')}/admin/tunnel/nodes/{pk}/terminal/"
    with terminal(browser, url, logins["admin"], live=False) as made:
        expect(made.state).to_contain_text("Waiting for web-02", timeout=20_000)
        agent = start("first")
        at_a_prompt(made.live(60), tmp_path)
        agent.stop(signal.SIGKILL)
        expect(made.page.locator("#yt-terminal")).to_have_attribute("data-state", "lost", timeout=20_000)
        made.type("x")
        expect(made.page.locator("[data-yt=notice-text]")).to_contain_text("Not sent")
        agent = start("second")
        try:
            expect(made.page.locator("#yt-terminal")).to_have_attribute("data-state", "ended", timeout=60_000)
            expect(made.state).to_contain_text("the node knows this shell no more")
            agent.process.send_signal(signal.SIGSTOP)
            made.press("Enter")
            expect(made.state).to_contain_text("Opening a shell on web-02", timeout=20_000)
            made.page.clock.install()
            made.page.clock.fast_forward(6000)
            expect(made.state).to_contain_text("Waiting for web-02 to answer")
            agent.process.send_signal(signal.SIGCONT)
            made.live()
        finally:
            agent.stop()


def test_the_picture_of_a_terminal_shows_one(opened, tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "deploy.sh").write_text(
        "#!/bin/sh\nfor step in build test release; do printf '\\033[32m✓\\033[0m %s\\n' $step; done\n"
    )
    (tmp_path / "deploy.sh").chmod(0o755)
    lines = [
        "\033[32m200\033[0m GET /kitchen/orders 14 ms",
        "\033[32m201\033[0m POST /kitchen/orders 31 ms",
        "\033[33m404\033[0m GET /favicon.ico 1 ms",
        "\033[31m500\033[0m GET /kitchen/stock 2041 ms",
    ]
    (tmp_path / "logs" / "app.log").write_text("".join(f"{line}\n" for line in lines))
    with opened(viewport={"width": 1120, "height": 640}) as made:
        at_a_prompt(made, tmp_path)
        made.type("PS1='\\[\\e[1;32m\\]cook@web-01\\[\\e[0m\\]:\\[\\e[1;34m\\]~\\[\\e[0m\\]$ '; clear\n")
        for line in ("ls --color", "tail -n 4 logs/app.log", "./deploy.sh"):
            made.type(f"{line}\n")
            made.shows(line)
        made.shows("release\ncook@web-01:~$")
        made.page.screenshot(path=(PICTURES if os.environ.get("SHOTS") else tmp_path) / "terminal.png")
