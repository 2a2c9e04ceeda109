"""`make run` as a newcomer meets it: real processes, a data folder with an awkward name, nothing set."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import sys

import pytest

from tests.e2e.cluster import BY_PROCESS
from tests.e2e.demo import Browser, Demo, clean_environment, eventually, is_gone, remove_left_folders
from yumna_panel.demo.places import CHECKOUT

pytestmark = pytest.mark.e2e
AWKWARD = "my data; 100% #1 %(x)s 'quoted'"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    running = Demo(tmp_path_factory.mktemp("demo") / AWKWARD)
    try:
        yield running.wait_until_ready()
    finally:
        running.stop()


@pytest.fixture
def started(tmp_path):
    """Start demos of a test's own, and stop what is left."""
    running: list[Demo] = []

    def start(*arguments: str, data: str = AWKWARD) -> Demo:
        running.append(Demo(tmp_path / data, *arguments))
        return running[-1].wait_until_ready()

    yield start
    for one in running:
        if one.process.poll() is None:
            one.stop()


def test_the_block_comes_last_and_its_tunnel_is_active(demo):
    assert "1 of 1 tunnels active" in demo.text
    assert demo.lines[-1].split() == ["stop", "Ctrl-C"]


def test_the_login_leads_to_the_dashboard_with_this_machine_on_it(demo):
    page = Browser(demo.url).log_in("/admin/", "admin", demo.password)
    assert page.url == f"{demo.url}/admin/tunnel/nodes/"
    assert "this-machine" in page.read().decode()


def test_the_admin_index_is_still_reached_after_the_login(demo):
    browser = Browser(demo.url)
    browser.log_in("/admin/", "admin", demo.password)
    index = browser.get("/admin/")
    assert index.url == f"{demo.url}/admin/"
    assert "/admin/tunnel/node/" in index.read().decode()
    assert browser.get("/admin/tunnel/node/").url == f"{demo.url}/admin/tunnel/nodes/"


def test_a_login_on_the_way_to_a_page_leads_to_that_page(demo):
    page = Browser(demo.url).log_in("/admin/servers/server/", "admin", demo.password)
    assert page.url == f"{demo.url}/admin/servers/server/"


def test_the_printed_command_is_answered(demo):
    done = demo.manage("tunnel", "run", "this-machine", "--", "uptime")
    assert done.returncode == 0, done.stderr
    assert "load average" in done.stdout


def test_the_agent_is_never_root_and_it_says_who_it_is_instead(demo):
    user = demo.manage("tunnel", "run", "this-machine", "--", "id", "-un").stdout.strip()
    assert user != "root"
    assert (f"the agent of this-machine runs as {user}" in demo.text) == (os.geteuid() == 0)


def test_an_agents_commands_see_nothing_of_the_panels_environment(demo):
    environment = demo.manage("tunnel", "run", "this-machine", "--", "env").stdout
    assert "HOME=" in environment
    for name in ("REDIS_URL", "DATA_DIR", "DJANGO_SETTINGS_MODULE", "YUMNA_", "AGENT_SECRET"):
        assert name not in environment


def test_a_second_run_says_where_the_first_one_is(demo):
    second = subprocess.run(
        [sys.executable, "-m", "yumna_panel.demo"],
        cwd=CHECKOUT,
        env=clean_environment(demo.places.data),
        capture_output=True,
        text=True,
    )
    assert second.returncode == 1
    assert f"the demo is already running at {demo.url}/admin/" in second.stderr


def test_one_more_agent_joins_and_leaves(demo):
    agent = subprocess.Popen(
        [sys.executable, "-m", "yumna_panel.demo.extra_agent", "number two"],
        cwd=CHECKOUT,
        env=clean_environment(demo.places.data),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: "2 of 2 tunnels active" in demo.manage("tunnel", "list").stdout, pause=BY_PROCESS)
    finally:
        agent.send_signal(signal.SIGINT)
    assert agent.wait(20) == 0
    eventually(lambda: "1 of 2 tunnels active" in demo.manage("tunnel", "list").stdout, pause=BY_PROCESS)


def test_all_data_is_for_its_owner_only(demo):
    for path in [demo.places.data, *demo.places.data.rglob("*")]:
        if not path.is_symlink():
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_no_secret_stands_in_a_log_or_a_process_list(demo):
    secrets = [demo.password, demo.places.secret_key.read_text()]
    secrets += [path.read_text() for path in demo.places.agents.glob("*.secret")]
    lines = [" ".join(process.cmdline()) for process in demo.supervisor().children(recursive=True)]
    seen = demo.logs() + "\n".join(lines)
    assert len(secrets) >= 3
    assert not [secret for secret in secrets if secret in seen]


@pytest.mark.parametrize("name", ["redis", "web", "worker", "agent"])
def test_what_is_killed_comes_back(demo, name):
    killed = demo.programs()[name]
    killed.kill()
    eventually(lambda: len(demo.programs()) == 5 and killed not in demo.programs().values())
    eventually(
        lambda: demo.manage("tunnel", "run", "this-machine", "--", "true").returncode == 0, pause=BY_PROCESS
    )


def test_a_restarted_web_worker_loses_no_port(demo):
    web = [process for name, process in demo.programs().items() if name.startswith("web")]
    web[0].kill()
    for _ in range(20):  # the other one holds the same socket
        assert Browser(demo.url).get("/admin/login/").status == 200


def test_ctrl_c_stops_all_and_a_second_start_keeps_the_data(started):
    first = started()
    pids = [first.supervisor().pid, *(process.pid for process in first.programs().values())]
    assert len(pids) == 6
    port = first.state()["port"]
    assert first.stop() == 0
    assert all(is_gone(pid) for pid in pids)
    assert not first.places.state.exists()
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind(("127.0.0.1", port))
    second = started()
    assert second.password == first.password
    assert "1 of 1 tunnels active" in second.text


def test_a_taken_port_is_said(started):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8000))
            taken.listen()
        except OSError:  # then somebody else has it, which is as good
            taken.close()
        demo = started()
        port = demo.state()["port"]
    assert port != 8000
    assert f"port 8000 is taken, using {port}" in demo.text


@pytest.mark.linux  # which alone ends children with a killed parent
@pytest.mark.parametrize("whom", ["demo", "supervisor"])
def test_nothing_outlives_a_kill(started, whom):
    demo = started()
    pids = [demo.supervisor().pid, *(process.pid for process in demo.programs().values())]
    os.kill(demo.process.pid if whom == "demo" else pids[0], signal.SIGKILL)
    for pid in pids:
        eventually(lambda pid=pid: is_gone(pid))
    demo.process.wait(20)
    remove_left_folders(demo.places)


def test_for_other_machines_it_speaks_tls_with_debug_off(started):
    demo = started("--host", "localhost")
    assert re.fullmatch(r"https://localhost:8\d+", demo.url)
    assert "MASTER_CA_FILE=ca.pem" in demo.text
    browser = Browser(demo.url, demo.places.certificates / "ca.pem")
    page = browser.log_in("/admin/", "admin", demo.password)
    html = page.read().decode()
    assert page.url == f"{demo.url}/admin/tunnel/nodes/"
    assert "Secure" in browser.get("/admin/login/").headers.get("Set-Cookie", "Secure")
    for static in re.findall(r'(?:href|src)="(/static/[^"]+)"', html):
        assert browser.get(static).status == 200
    with pytest.raises(Exception, match="404") as refusal:
        browser.get("/no/such/page/")
    assert "DEBUG" not in refusal.value.read().decode()
    assert demo.manage("tunnel", "run", "this-machine", "--", "true").returncode == 0


def test_the_printed_lines_connect_a_second_agent(started, tmp_path):
    demo = started("--host", "localhost")
    added = demo.manage("tunnel", "add", "second", "--env", TUNNEL_PUBLIC_URL=demo.url)
    node = tmp_path / "node"
    node.mkdir(mode=0o700)
    (node / "ca.pem").write_bytes((demo.places.certificates / "ca.pem").read_bytes())
    (node / ".env").write_text(f"{added.stdout}\nMASTER_CA_FILE=ca.pem\n")
    (node / ".env").chmod(0o600)
    (node / "agent_client").symlink_to(CHECKOUT / "agent_client")
    environment = {"PATH": os.environ["PATH"], "HOME": str(node)}
    agent = subprocess.Popen(
        [sys.executable, "-m", "agent_client"], cwd=node, env=environment, stderr=subprocess.DEVNULL
    )
    try:
        eventually(
            lambda: demo.manage("tunnel", "run", "second", "--", "true").returncode == 0, pause=BY_PROCESS
        )
    finally:
        agent.terminate()
        agent.wait()


@pytest.mark.parametrize("host", ["0.0.0.0", "https://x", "a b"])
def test_a_host_that_is_none_is_one_sentence(tmp_path, host):
    done = subprocess.run(
        [sys.executable, "-m", "yumna_panel.demo", "--host", host],
        cwd=CHECKOUT,
        env=clean_environment(tmp_path / "data"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "is no host name or IPv4 address" in done.stderr
    assert not (tmp_path / "data").exists()


def test_an_extra_agent_without_a_demo_is_one_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "yumna_panel.demo.extra_agent", "two"],
        cwd=CHECKOUT,
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "the demo is not running" in done.stdout
