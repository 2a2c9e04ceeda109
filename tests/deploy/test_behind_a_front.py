"""The whole walk behind the shipped nginx and Caddy files: real TLS, two web workers, settings as documented."""

import os
import re
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.deploy.crossing import Crossing
from tests.deploy.fronts import Front
from tests.deploy.panel import PASSWORD, Panel
from tests.deploy.shipped import HOST, ROOT
from tests.deploy.visitor import Visitor, dial, state_of
from tests.e2e.cluster import until

pytestmark = [pytest.mark.e2e, pytest.mark.deploy]

NODE, PERSON, FORGER = "127.0.0.2", "127.0.0.3", "127.0.0.4"  # where they dial from
FORGED = "203.0.113.99"  # TEST-NET-3, RFC 5737: never anybody's


@pytest.fixture(scope="module")
def panel(tmp_path_factory) -> Iterator[Panel]:
    made = Panel(tmp_path_factory.mktemp("panel"))
    try:
        yield made.start()
    finally:
        made.stop()


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def front(request, panel, tmp_path_factory) -> Iterator[Front]:
    made = Front(request.param, tmp_path_factory.mktemp(request.param), panel.port)
    try:
        yield made.start()
    finally:
        made.stop()


@pytest.fixture(scope="module")
def person(front) -> Iterator[Visitor]:
    with Crossing(PERSON) as crossing:
        made = Visitor(front, crossing.url)
        assert made.log_in().status == 200
        yield made


class Node:
    """`python3 -m agent_client` behind a proxy of its network, with the CA file it was given."""

    def __init__(
        self, folder: Path, front: Front, agent_id: str, secret: str, proxy: str, *, trusting: bool = True
    ) -> None:
        folder.mkdir()
        lines = [f"MASTER_URL=wss://{HOST}:{front.https}", f"AGENT_ID={agent_id}", f"AGENT_SECRET={secret}"]
        if trusting:
            lines.append(f"MASTER_CA_FILE={front.authority.file}")
        (folder / ".env").write_text("\n".join(lines))
        (folder / ".env").chmod(0o600)
        self._log = folder / "agent.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "agent_client"],
                cwd=folder,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "https_proxy": proxy},
                stdout=log,
                stderr=log,
            )

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(15)


@pytest.fixture(scope="module")
def node(panel, front, tmp_path_factory) -> Iterator[tuple[str, Node]]:
    """A real agent, in, with its id."""
    agent_id = f"behind-{front.name}"
    folder = tmp_path_factory.mktemp("node") / "agent"
    with Crossing(NODE) as crossing:
        made = Node(folder, front, agent_id, panel.add(agent_id), crossing.url)
        try:
            until(lambda: "tunnel open" in made.log(), 20, f"the agent is in: {made.log()} {front.log()}")
            yield agent_id, made
        finally:
            made.stop()


def rows(panel: Panel, query: str, *values: str) -> list[tuple]:
    with sqlite3.connect(panel.folder / "db.sqlite3", timeout=20) as connection:
        found = connection.execute(query, values).fetchall()
    connection.close()
    return found


def address_of_session(panel: Panel, agent_id: str) -> str:
    query = "SELECT address FROM tunnel_session s JOIN servers n ON n.id = server_id WHERE agent_id = ?"
    return rows(panel, query + " ORDER BY s.opened_at DESC", agent_id)[0][0]


def refusal(dialling) -> tuple[int, bytes]:
    with pytest.raises(InvalidStatus) as caught:
        dialling()
    return caught.value.response.status_code, caught.value.response.body


def test_the_deployment_checks_find_nothing_in_the_shipped_settings(panel):
    panel.manage("check", "--deploy", "--fail-level", "WARNING")


def test_a_person_logs_in_over_https_and_gets_cookies_for_https_alone(front, person):
    page = person.open("/admin/tunnel/nodes/")
    assert "Node Orchestration" in page.body
    assert page.headers["Strict-Transport-Security"] == "max-age=3600"
    assert {cookie.name for cookie in person.cookies if cookie.secure} >= {"sessionid", "csrftoken"}
    assert all(cookie.secure for cookie in person.cookies)


def test_static_files_carry_their_hash_and_may_be_kept_for_ever(front, person):
    page = person.open("/admin/tunnel/nodes/").body
    names = re.findall(r'(?:href|src)="(/static/[^"]+\.(?:css|js))"', page)
    assert any("tunnel/nodes" in name for name in names)
    for name in names:
        assert re.search(r"\.[0-9a-f]{12}\.(css|js)$", name), name
        answer = person.open(name)
        assert answer.status == 200
        assert "immutable" in answer.headers["Cache-Control"]


def test_the_live_page_sees_the_agent_come_in_from_its_own_address(panel, front, person, node):
    agent_id, _ = node
    with person.live(Origin=front.url) as live:
        state_of(live, agent_id, "active")
    assert address_of_session(panel, agent_id) == NODE
    assert "Tunnel Active" in person.open("/admin/tunnel/nodes/").body


@pytest.mark.parametrize(
    "origin",
    ["", "null", f"http://{HOST}:{{port}}", f"https://{HOST}", f"https://{HOST}.evil.example:{{port}}"],
)
def test_a_live_page_of_another_origin_is_refused(front, person, origin):
    headers = {"Origin": origin.format(port=front.https)} if origin else {}
    assert refusal(lambda: person.live(**headers))[0] == 403


def test_a_command_runs_through_the_tunnel_behind_it(panel, node):
    agent_id, _ = node
    done = panel.manage("tunnel", "run", agent_id, "--", "sh", "-c", "echo here; exit 3", check=False)
    assert (done.returncode, done.stdout) == (3, "here\n")


def test_what_a_client_writes_about_its_address_does_not_count(panel, front):
    agent_id = f"forger-{front.name}"
    headers = {"X-Agent-ID": agent_id, "X-Agent-Secret": panel.add(agent_id)}
    forged = {"X-Forwarded-For": FORGED, "Forwarded": f"for={FORGED}", "X-Forwarded-Proto": "http"}
    with dial(front, "/tunnel", {**headers, **forged}, source=FORGER) as agent:
        assert "HANDSHAKE_ACK" in agent.recv(timeout=10)
        assert address_of_session(panel, agent_id) == FORGER


def test_a_failed_log_in_counts_for_the_address_it_came_from(panel, front):
    with Crossing(FORGER) as crossing:
        stranger = Visitor(front, crossing.url)
        assert (
            "Please enter the correct username"
            in stranger.log_in("wrong", **{"X-Forwarded-For": FORGED}).body
        )
    query = "SELECT DISTINCT ip_address FROM axes_accessattempt WHERE username = 'admin'"
    assert rows(panel, query) == [(FORGER,)]


def test_a_refused_agent_gets_the_panels_own_403(panel, front):
    wrong = {"X-Agent-ID": "nobody-here", "X-Agent-Secret": "wrong"}
    status, body = refusal(lambda: dial(front, "/tunnel", wrong))
    direct = f"ws://127.0.0.1:{panel.port}/tunnel"
    same = refusal(lambda: connect(direct, additional_headers=wrong, proxy=None, open_timeout=20))
    assert (status, body) == same
    assert status == 403


def test_an_agent_that_does_not_know_the_certificate_keeps_its_secret(panel, front, tmp_path):
    agent_id = f"careful-{front.name}"
    with Crossing(NODE) as crossing:
        agent = Node(tmp_path / "agent", front, agent_id, panel.add(agent_id), crossing.url, trusting=False)
        try:
            until(lambda: "certificate" in agent.log(), 15, agent.log())
        finally:
            agent.stop()
    assert agent_id not in front.log() + panel.log()


def test_the_metrics_of_a_worker_are_told_on_its_host_and_not_outside(panel, front, person):
    with urllib.request.urlopen(f"http://127.0.0.1:{panel.port}/tunnel/metrics", timeout=20) as answer:
        assert "yumna_tunnel_agents_connected" in answer.read().decode()
    assert person.open("/tunnel/metrics").status == 404
    assert person.open("/tunnel/readyz").body == '{"database": "ok", "layer": "ok", "worker": "ok"}'


def test_a_body_of_one_upload_piece_passes_and_a_huge_one_does_not(front, person):
    assert person.open("/admin/login/", b"x" * (1024 * 1024)).status == 403  # Django's answer: no CSRF token
    refused = person.open("/admin/login/", b"x" * (3 * 1024 * 1024)).status
    assert refused == (413 if front.name == "nginx" else 502)  # Caddy notices while it passes the body on


@pytest.mark.parametrize("role", ["web", "worker"])
def test_the_healthcheck_of_the_containers_tells_well_from_ill(panel, role):
    check = [sys.executable, "deploy/compose/healthcheck.py", role]
    well = subprocess.run(check, cwd=ROOT, env=panel.environment, capture_output=True, text=True, timeout=30)
    assert (well.returncode, well.stderr) == (0, "")
    away = {
        "UVICORN_PORT": "9",
        "REDIS_URL": "redis://127.0.0.1:9/0",
        "DATABASE_URL": "sqlite:////nowhere/at/all",
    }
    ill = subprocess.run(check, cwd=ROOT, env={**panel.environment, **away}, capture_output=True, timeout=60)
    assert ill.returncode == 1


def test_nothing_secret_is_in_the_logs(panel, front, node, person):
    everything = front.log() + panel.log() + node[1].log()
    assert "/admin/login/" in everything
    session = next(cookie.value for cookie in person.cookies if cookie.name == "sessionid")
    for secret in (PASSWORD, session, (panel.folder / "secret_key").read_text()):
        assert secret not in everything


@pytest.mark.browser
def test_a_browser_shows_the_tunnel_active(front, node):
    from playwright.sync_api import expect

    from tests.e2e.chromium import chromium

    with chromium(f"--host-resolver-rules=MAP {HOST} 127.0.0.1") as browser:
        # Chromium trusts only what is in its own store; the certificate itself is judged by the tests above.
        page = browser.new_context(ignore_https_errors=True).new_page()
        page.goto(f"{front.url}/admin/")
        page.fill("#id_username", "admin")
        page.fill("#id_password", PASSWORD)
        page.click("[type=submit]")
        expect(page.locator("#yt-nodes [data-yt=live-words]").first).to_have_text("Live", timeout=15_000)
        card = page.locator(".yt-cards .yt-card").filter(has_text=node[0])
        expect(card.locator("[data-yt=pill]")).to_have_text("Tunnel Active")
