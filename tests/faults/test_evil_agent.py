"""Agents with a key that put every evil text into every field they can set, and everywhere it may come out: no effect.

| what an agent can set | where |
|---|---|
| headers of the handshake | `Evil.knock`: a wrong secret and ids that are none, from addresses that are none |
| HELLO, HEARTBEAT, EVENT, PING | `Evil.speak`; one node a text, which stands in each of its fields |
| replies to programs, to actions, and errors | `Evil.answer` |
| the reason of its close | `Stage.leave` |
| what is no message, floods, forged replies | tests/faults/test_floods.py, test_fuzz.py |
"""

import contextlib
import csv
import http.client
import io
import json
import os
import pty
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent_client.protocol.handshake import SUBPROTOCOL
from tests.bench_rest import MAKE_TOKEN
from tests.e2e.basic_agent import BasicAgent
from tests.e2e.cluster import ROOT, Cluster, until
from tests.faults import postgres
from tests.faults.counts import count
from tests.faults.payloads import FORGED, NO_JSON, NUMBERS, TEXTS, TRAPS, mark
from tests.faults.test_canary import MAKE_SESSION
from tests.tunnel.receivers import mail_server, web_server

pytestmark = pytest.mark.e2e

WORKERS = {"a": "uvicorn", "b": "serve"}  # their logs are text and JSON
LOOKED_AT = count(2, len(TEXTS))  # nodes whose own pages are visited
DATABASES = ["sqlite", *count([], [pytest.param("postgres", marks=pytest.mark.postgres)])]
FIGURES = ("cpu", "ram", "ramTotal", "ramPercent", "disk", "diskUsed", "diskTotal", "load", "uptime", "netRx")
MEANWHILE = 16  # knocks and questions at once
DROPPED = "never-to-be-seen"
PROXY = {"X-Forwarded-Proto": "https"}  # every caller passes for the panel's proxy, whose words it believes
ENVIRONMENT = {
    "LOG_LEVEL": "INFO",
    "TUNNEL_TRUSTED_PROXIES": "127.0.0.1",
    "TUNNEL_METRICS_ALLOW": "127.0.0.1",
    "TUNNEL_API_COMMANDS_A_MINUTE": "0",
    "TUNNEL_API_READS_A_MINUTE": "0",
    "TUNNEL_SILENCE": "900",  # they ping once
}


class Evil:
    """The node of one text."""

    def __init__(self, number: int, port: int, secret: str) -> None:
        self.number, self.text, self.name = number, TEXTS[number], f"evil-{number:03}"
        self._port, self._secret = port, secret
        self.agent: BasicAgent | None = None

    def come(self) -> None:
        """Dial in, every other one as a basic agent, and speak."""
        options = {"subprotocols": [SUBPROTOCOL]} if self.number % 2 else {}
        more = {**PROXY, "User-Agent": one_line(self.text), "X-Forwarded-For": one_line(self.text)}
        url = f"ws://127.0.0.1:{self._port}/tunnel"
        self.agent = BasicAgent(url, self.name, self._secret, self.answer, more, **options)
        self.babble()
        self.speak()
        self.agent.send({"type": "PING", "timestamp": 7, "rtt": 0.001})
        self.agent.wait_for("PONG", 30)

    def babble(self) -> None:
        """Say what is no message, as often as a session bears."""
        for bad in NO_JSON:
            self.agent.socket.send(f'{{"type":"HELLO","version":"{DROPPED}","policy":{{"x":{bad}}}}}')

    def speak(self) -> None:
        """Say everything an agent may say of itself; no session ends of it."""
        send, text = self.agent.send, self.text
        others = [other[:64] for other in TEXTS]
        send(
            {
                "type": "HELLO",
                "session": text[:128],
                "version": text[:64],
                "capabilities": others,
                "policy": {text: [text, TRAPS, *NUMBERS[:10]], **TRAPS},
                "machineId": text[:128],
                "host": {**dict.fromkeys(("hostname", "platform", "arch", "python", text), text), **TRAPS},
                "last": {"reason": text[:200], "away": 1e300},
            }
        )
        for shift in range(2):
            figures = {
                name: NUMBERS[(self.number + shift + at) % len(NUMBERS)] for at, name in enumerate(FIGURES)
            }
            send({"type": "HEARTBEAT", "data": {**figures, text: text, **TRAPS, "netTx": text}})
        send({"type": "EVENT", "name": text[:64], "data": {text: TRAPS}})
        send({"type": text[:64], "id": text})
        send({"requestId": text[:128], "status": "success", "data": text})
        send({"type": "PING", "timestamp": 1e308, "rtt": 1e308})

    def answer(self, message: dict) -> dict:
        """Answer a program, a failure or anything else with the text."""
        me, text = {"requestId": message["id"], "status": "success", "error": None}, self.text
        number = NUMBERS[self.number % len(NUMBERS)]
        action = message.get("action")
        if action == "exec":
            return {**me, "data": {"exitCode": number, "stdout": text, "stderr": text, "truncated": text}}
        if action == "fail":
            return {**me, "status": "error", "data": None, "error": text, "code": text}
        if action == "all":  # as much as a page may be shown at once
            return {**me, "data": {"exitCode": 3, "stdout": "\n".join(TEXTS), "stderr": " ".join(TEXTS)}}
        rows = [{"name": text, "user": text, "pid": number, "command": text}]
        return {**me, "data": {"processes": rows, text: {text: [text, number]}, "numbers": NUMBERS, **TRAPS}}

    def knock(self) -> None:
        """Shake hands with a wrong secret, and with ids that are none; the panel refuses."""
        evil = self.text.encode("utf-8", "surrogatepass")[:300]
        for agent_id, secret in ((self.name.encode(), b"wrong"), (evil, evil)):
            lines = [
                b"GET /tunnel HTTP/1.1",
                b"Host: 127.0.0.1",
                b"Upgrade: websocket",
                b"Connection: Upgrade",
            ]
            lines += [b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==", b"Sec-WebSocket-Version: 13"]
            lines += [b"X-Forwarded-Proto: https", b"X-Forwarded-For: " + one_line(self.text).encode()]
            lines += [b"X-Agent-ID: " + agent_id, b"X-Agent-Secret: " + secret, b"User-Agent: " + evil]
            # A web server may answer nothing to what is no HTTP, and wait for more.
            address = ("127.0.0.1", self._port)
            with (
                contextlib.suppress(ConnectionError, TimeoutError),
                socket.create_connection(address, 2) as connection,
            ):
                connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n")
                answer = connection.recv(4096)
                assert answer == b"" or answer.split(b" ")[1] in (b"400", b"403"), (self.text, answer)


def one_line(text: str) -> str:
    """The text as a client library lets it into a header."""
    return "".join(sign for sign in text if " " <= sign <= "~")[:200].strip() or "-"


class Stage:
    """A panel on which all of them have been, and what it takes to look at it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        names = [f"evil-{number:03}" for number in range(len(TEXTS))]
        add = f"from servers import identity\nfor name in {names}: print(name, identity.create(name)[1])"
        *added, self.token, self.cookie = cluster.python(f"{add}\n{MAKE_TOKEN}\n{MAKE_SESSION}").splitlines()
        secrets = dict(line.split() for line in added[-len(names) :])
        ports = [cluster.ports[worker] for worker in WORKERS]
        self.all = [Evil(at, ports[at // 2 % len(ports)], secrets[name]) for at, name in enumerate(names)]
        self.pks = dict(cluster.sql("SELECT agent_id, id FROM servers"))
        self.replies: list[tuple[int, str, dict[str, str]]] = []

    def play(self) -> None:
        """Have all of them come, speak, and be asked through the other worker."""
        with ThreadPoolExecutor(MEANWHILE) as pool:
            list(pool.map(Evil.come, self.all))
            list(pool.map(Evil.knock, self.all))
            for said in pool.map(self._ask, self.all):
                self.replies += said
        told = "SELECT COUNT(*) FROM servers WHERE machine_id <> ''"
        until(lambda: self.cluster.sql(told)[0][0] == len(self.all), 30, "all is in the database")

    def _ask(self, one: Evil) -> list[tuple[int, str, dict[str, str]]]:
        path = f"/api/tunnel/v1/servers/{one.name}/commands/"
        orders = [{"service": "evil", "action": action, "params": {}} for action in ("tell", "fail")]
        orders.append(
            {"service": "system", "action": "exec", "params": {"argv": [one.text.replace("\0", "")]}}
        )
        key = f"key-{one.number}"
        return [self.get(path, "a", order, key=f"{key}-{order['action']}") for order in (*orders, orders[0])]

    def get(
        self, path: str, worker: str = "a", body: object = None, key: str = ""
    ) -> tuple[int, str, dict[str, str]]:
        """Ask as a program under /api/, as a person elsewhere; returns status, text and headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.cluster.ports[worker], timeout=60)
        headers = {"Cookie": f"sessionid={self.cookie}"}
        if path.startswith("/api/"):
            headers = {"Authorization": f"Token {self.token}", "Content-Type": "application/json"}
            headers |= {"Idempotency-Key": key} if key else {}
        with contextlib.closing(connection):
            data = json.dumps(body) if body else None
            connection.request("POST" if body else "GET", path, data, headers)
            response = connection.getresponse()
            return response.status, response.read().decode(), dict(response.headers.items())

    def leave(self) -> None:
        """Hang up, with the text as the reason."""
        for one in self.all:
            if one.agent is not None:
                one.agent.socket.close(4000 + one.number, one.text.encode()[:100].decode("utf-8", "ignore"))
                one.agent.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from tests.e2e.chromium import chromium  # here: most tests of this file need none

    with chromium() as made:
        yield made


@pytest.fixture(scope="module", params=DATABASES)
def stage(request, tmp_path_factory) -> Iterator[Stage]:
    with contextlib.ExitStack() as stack:
        environment = dict(ENVIRONMENT)
        if request.param == "postgres":
            environment["DATABASE_URL"] = stack.enter_context(postgres.running()).make("evil")
        yield from staged(Cluster(tmp_path_factory.mktemp("panel"), "uvicorn", **environment))


def staged(cluster: Cluster) -> Iterator[Stage]:
    made = None
    try:
        cluster.start()
        for name, server in WORKERS.items():
            cluster.server = server
            cluster.environment["LOG_FORMAT"] = "text" if name == "a" else "json"
            cluster.start_worker(name)
        cluster.start_background()
        made = Stage(cluster)
        for name in WORKERS:
            cluster.wait_for(name, 60)
        made.play()
        yield made
    finally:
        if made is not None:
            made.leave()
        cluster.stop()


# What people see ------------------------------------------------------------------------------------------------

WATCH = """
window.owned = () => { window.ownedTimes = (window.ownedTimes || 0) + 1 };
window.violated = [];
document.addEventListener('securitypolicyviolation', e => window.violated.push(e.violatedDirective + ' ' + e.blockedURI));
"""
LOOK = """() => {
    const found = [], hidden = /[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff]/;
    for (const one of document.querySelectorAll('*')) {
        for (const {name, value} of one.attributes) {
            if (name === 'data-evil' || name.startsWith('on')) found.push(one.outerHTML.slice(0, 200));
            if (!name.startsWith('data-') && hidden.test(value)) found.push(`hidden in ${name}: ${value}`);
        }
        for (const address of [one.href, one.src, one.action, one.data, one.formAction]) {
            if (typeof address !== 'string' || !address) continue;
            const host = URL.canParse(address) ? new URL(address).host : '';
            if (host !== location.host) found.push(`address ${address}`);
        }
        if (['SCRIPT', 'STYLE'].includes(one.tagName)) continue;
        for (const node of one.childNodes)
            if (node.nodeType === 3 && hidden.test(node.data)) found.push(`hidden: ${JSON.stringify(node.data.slice(0, 200))}`);
    }
    if (window.ownedTimes) found.push(`a script ran ${window.ownedTimes} times`);
    if ({}.polluted !== undefined) found.push('a prototype was changed');
    return found.concat(window.violated);
}"""
LISTS = [
    "/admin/",
    "/admin/tunnel/nodes/?view=cards",
    "/admin/tunnel/nodes/?view=table",
    "/admin/servers/server/?all=",
    "/admin/servers/commandrecord/?all=",
    "/admin/tunnel/session/?all=",
    "/admin/tunnel/refusal/?all=",
    "/admin/servers/apitoken/",
]
OF_NODE = [
    "/admin/tunnel/nodes/{pk}/",
    "/admin/servers/server/{pk}/change/",
    "/admin/servers/server/{pk}/history/",
    "/admin/servers/server/{pk}/connect/",
    "/admin/servers/server/{pk}/suspend/",
    "/admin/servers/server/{pk}/delete/",
]
ROWS = {
    "tunnel/session": "tunnel_session",
    "tunnel/refusal": "tunnel_refusal",
    "servers/commandrecord": "servers_commandrecord",
}


FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")


class Looks:
    """A person's browser: what it was made to do, and what it saw."""

    def __init__(self, stage: Stage, page: Any) -> None:
        self.page, self.seen = page, ""
        self.found: list[tuple[str, Any]] = []
        self._origin = f"http://127.0.0.1:{stage.cluster.ports['a']}"
        page.add_init_script(WATCH)
        page.on("dialog", lambda dialog: (self._note(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("popup", lambda popup: self._note(f"window {popup.url}"))
        page.on("download", lambda download: self._note(f"download {download.url}"))
        page.on("pageerror", lambda error: self._note(f"error {error}"))
        page.on("console", lambda message: message.type == "error" and self._note(f"said {message.text}"))
        ours = (self._origin, self._origin.replace("http", "ws"))
        page.on("request", lambda request: request.url.startswith(ours) or self._note(f"asked {request.url}"))

    def visit(self, path: str) -> None:
        """Open a page and look at it."""
        answer = self.page.goto(self._origin + path)
        if answer.status != 200:
            self._note(f"status {answer.status}")
        self.look()

    def look(self) -> None:
        """Look at what is shown now."""
        for effect in self.page.evaluate(LOOK):
            self._note(effect)
        self.seen += self.page.locator("body").inner_text()

    def _note(self, effect: Any) -> None:
        self.found.append((self.page.url, effect))


@pytest.fixture
def looks(stage, browser) -> Iterator[Looks]:
    host = {"domain": "127.0.0.1", "path": "/"}
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_cookies([{"name": "sessionid", "value": stage.cookie, **host}])
    page = context.new_page()
    page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    yield Looks(stage, page)
    context.close()


@pytest.mark.browser
def test_an_effect_would_be_seen(looks):
    """A page without a policy on which they all stand as they are."""
    text = "<!DOCTYPE html>" + "</iframe></style></math></template></object><p>".join(TEXTS)

    def serve(route: Any) -> None:
        mine = route.request.url.endswith("/all-of-them")
        route.fulfill(body=text, content_type="text/html") if mine else route.abort("aborted")

    looks.page.route("**/*", serve)
    looks.visit("/all-of-them")
    for effect in ("a script ran", "data-evil", "asked http", "address http", "hidden"):
        assert effect in str(looks.found)


@pytest.mark.browser
@pytest.mark.timeout(3600)
def test_pages_show_what_agents_say_as_text(stage, looks, seen):
    for path in LISTS:
        looks.visit(path)
    pks = [stage.pks[one.name] for one in stage.all]
    for pk in pks[:LOOKED_AT]:
        for path in OF_NODE:
            looks.visit(path.format(pk=pk))
    for model, table in ROWS.items():
        rows = stage.cluster.sql(f"SELECT id FROM {table} ORDER BY id LIMIT {LOOKED_AT}")
        for (row,) in rows:
            looks.visit(f"/admin/{model}/{row}/change/")
    speak_before_a_live_page(stage, looks, stage.all[0])
    run_on_a_page(stage, looks, stage.all[1])
    assert looks.found == []
    shown = [one.number for one in stage.all if mark(one.number) in looks.seen]
    assert shown == list(range(len(TEXTS)))  # all of it was there to have an effect
    seen("texts in a browser", len(shown), "texts")


def speak_before_a_live_page(stage: Stage, looks: Looks, one: Evil) -> None:
    """Let a node say all texts one after the other while somebody looks; the script puts them there."""
    from playwright.sync_api import expect

    page = looks.page
    one.come()  # it was silent while the other pages were looked at
    looks.visit(f"/admin/tunnel/nodes/{stage.pks[one.name]}/")
    for text in TEXTS:
        one.text = text
        one.speak()
    one.text = TEXTS[one.number]
    one.agent.send({"type": "HELLO", "version": "last-of-all"})
    expect(page.locator("#yt-server [data-yt=version]").first).to_have_text("last-of-all", timeout=20_000)
    looks.look()


def run_on_a_page(stage: Stage, looks: Looks, one: Evil) -> None:
    """Ask a node on its page, by each of the ways to answer."""
    from playwright.sync_api import expect

    page = looks.page
    one.come()
    looks.visit(f"/admin/tunnel/nodes/{stage.pks[one.name]}/")
    page.check("[name=mode][value=action]")
    texts, one.text = one.text, "\n".join(text[:300] for text in TEXTS)
    for number, action in enumerate(("all", "fail", "tell", "exec"), 1):
        page.fill("[name=service]", TEXTS[0][:60])
        page.fill("[name=action]", action)
        page.keyboard.press("Control+Enter")
        expect(page.locator(".yt-replies .yt-reply")).to_have_count(number, timeout=20_000)
        looks.look()
    one.text = texts


def test_programs_are_answered_in_json_that_holds_it_as_text(stage, seen):
    paths = [
        f"/api/tunnel/v1/{path}/" for path in ("servers", "commands", "sessions", "events", "me", "schema")
    ]
    paths += [f"/api/tunnel/v1/servers/{one.name}/" for one in stage.all]
    paths += [f"/admin/tunnel/nodes/{stage.pks[one.name]}/data/" for one in stage.all[:LOOKED_AT]]
    with ThreadPoolExecutor(MEANWHILE) as pool:
        answers = [*stage.replies, *pool.map(stage.get, [*paths, "/admin/tunnel/nodes/data/"])]
    for status, text, headers in answers:
        assert status in (200, 502), text
        assert headers["Content-Type"].split(";")[0] in ("application/json", "application/problem+json")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "X-Evil" not in headers
        assert text.isascii()
        json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    said = "".join(json.dumps(json.loads(text)) for _, text, _ in answers)
    assert [at for at in range(len(TEXTS)) if mark(at) not in said] == []
    assert DROPPED not in said
    replayed = [headers for _, _, headers in stage.replies if "Idempotency-Replayed" in headers]
    assert len(replayed) == len(TEXTS)
    seen("answers in JSON", len(answers), "answers")


EXPORT = """
import sys
from django.apps import apps
from django.test import Client
client = Client(headers={{"host": "127.0.0.1"}})
client.cookies["sessionid"] = {cookie!r}
for model in {models}:
    keys = list(apps.get_model(model.replace("/", ".")).objects.values_list("pk", flat=True))
    answer = client.post(f"/admin/{{model}}/", {{"action": "export_csv", "_selected_action": keys}})
    assert answer["Content-Type"].startswith("text/csv"), (answer.status_code, answer.content[:500])
    sys.stdout.write(answer.content.decode().removeprefix("\ufeff"))
"""


def test_no_cell_of_a_table_for_spreadsheets_is_a_formula(stage):
    text = stage.cluster.python(EXPORT.format(cookie=stage.cookie, models=list(ROWS)))
    cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
    assert [at for at in range(len(TEXTS)) if mark(at) not in text] == []
    assert [cell for cell in cells if cell.strip().startswith(FORMULA) and cell != "-"] == []
    assert [cell for cell in cells if not cell.isprintable()] == []


# What terminals, logs and alerts show ---------------------------------------------------------------------------

COMMANDS = """
import sys
from django.core.management import call_command
def tunnel(*words):
    print("----", *words, flush=True)
    try:
        call_command("tunnel", *words)
    except SystemExit as exc:
        assert exc.code is None or 0 <= exc.code < 256, exc.code
for more in {more}:
    tunnel("list", *more)
    for number in range({count}):
        tunnel("show", f"evil-{{number:03}}", *more)
    tunnel("run", "--all", "--parallel", "32", *more, "--", "x")
    for number in range({numbers} * bool(more)):
        tunnel("run", f"evil-{{number:03}}", *more, "--", "x")
"""


def test_no_terminal_and_no_program_gets_a_control_character(stage):
    numbers = {"count": len(TEXTS), "numbers": len(NUMBERS)}
    with ThreadPoolExecutor(2) as pool:
        on_terminal = pool.submit(in_a_terminal, stage.cluster, COMMANDS.format(more=[[]], **numbers))
        code = COMMANDS.format(more=[[], ["--json"]], **numbers)
        piped = pool.submit(stage.cluster.manage, "shell", "-v0", "-c", code, seconds=120).result()
    as_text, _, as_json = piped.stdout.partition("---- list --json\n")
    shown = re.sub(r"\x1b\[\d+m", "", on_terminal.result())  # colours are ours
    for text in (shown, as_text, piped.stderr):
        lines = [line.replace("\t", "") for line in text.replace("\r\n", "\n").split("\n")]
        assert [line for line in lines if not line.isprintable()] == []
        assert FORGED not in lines
    for text in (shown, as_text):
        assert [at for at in range(len(TEXTS)) if mark(at) not in text] == []
    records = [line for line in as_json.splitlines() if not line.startswith("----")]
    assert len(records) == 3 * len(TEXTS) + len(NUMBERS)
    for line in records:
        assert line.isascii()
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def in_a_terminal(cluster: Cluster, code: str) -> str:
    """Run code in a process whose output is a terminal; returns what that was given."""
    ours, theirs = pty.openpty()
    environment = {**cluster.environment, "TERM": "xterm", "COLUMNS": "200"}
    command = [sys.executable, "manage.py", "shell", "-v0", "-c", code]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        given = b""
        with contextlib.suppress(OSError):  # the end of a terminal
            while data := os.read(ours, 65536):
                given += data
    os.close(ours)
    assert process.returncode == 0, given[-2000:]
    return given.decode()


def test_a_line_of_a_log_is_a_line(stage):
    text = stage.cluster.log("a") + stage.cluster.log("background")
    assert [line for line in text.split("\n") if not line.isprintable()] == []
    assert not [line for line in text.split("\n") if line.startswith(FORGED[:23])]
    for line in stage.cluster.log("b").splitlines():
        if not line.startswith("serving "):
            assert json.loads(line)["ts"]
    for log in (text, stage.cluster.log("b")):
        assert "Traceback" not in log
    both = text + stage.cluster.log("b")
    assert [at for at in range(len(TEXTS)) if mark(at) not in both] == []


def test_the_figures_for_prometheus_hold_no_word_of_an_agent(stage):
    for worker in WORKERS:
        status, text, headers = stage.get("/tunnel/metrics", worker)
        assert (status, headers["X-Content-Type-Options"]) == (200, "nosniff")
        assert len(list(text_string_to_metric_families(text))) > 5
        assert [at for at in range(len(TEXTS)) if mark(at) in text] == []


TELL = """
from datetime import timedelta
from django.db.models.functions import Now
from tunnel import alerts
from tunnel.models import Session, Worker
alerts.GRACE = timedelta(0)
Session.objects.filter(closed_at__isnull=False).update(closed_at=Now() - timedelta(minutes=10))
watch = alerts.Watch()
watch.look()
assert watch.wait(60)
"""


def test_an_alert_holds_no_word_of_an_agent(stage):
    stage.leave()
    gone = "SELECT COUNT(*) FROM tunnel_session WHERE closed_at IS NULL"
    until(lambda: stage.cluster.sql(gone)[0][0] == 0, 30, "all are gone")
    with mail_server() as mails, web_server() as posts:
        stage.cluster.environment |= {
            "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
            "EMAIL_HOST": "127.0.0.1",
            "EMAIL_PORT": str(mails.port),
            "TUNNEL_ALERT_EMAILS": "ops@example.org",
            "TUNNEL_ALERT_WEBHOOK": posts.url,
        }
        stage.cluster.python(TELL)
    ((_, message),) = mails.taken
    ((_, _, body),) = posts.taken
    assert json.loads(body)["count"] == len(TEXTS)
    said = message.get_payload(decode=True).decode() + body.decode()
    assert "evil-000" in said
    assert [at for at in range(len(TEXTS)) if mark(at) in said] == []
    assert "".join(said.split("\r\n")).isprintable()
