"""An agent behind real NAT: three network namespaces, masquerading, TLS, and `make run HOST=` as it is shipped."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.demo import Demo, eventually
from tests.faults import namespaces
from tests.faults.namespaces import ip, join
from yumna_panel.demo.places import CHECKOUT

pytestmark = [pytest.mark.e2e, pytest.mark.netns]

MASTER, ROUTER = "203.0.113.2", "203.0.113.1"  # TEST-NET-3, RFC 5737: never anybody's
AGENT, GATEWAY = "192.168.77.2", "192.168.77.1"

RULES = """
table ip nat {
  chain out { type nat hook postrouting priority srcnat; oifname "wan" masquerade; }
}
table ip gate {
  chain through {
    type filter hook forward priority filter; policy drop;
    iifname "lan" accept
    ct state established,related accept
  }
}
"""


@dataclass
class Network:
    """A master on the outside, an agent on the inside, a router that masquerades between them."""

    master: str
    router: str
    agent: str

    def inside(self, name: str, *command: str) -> tuple[str, ...]:
        """The command, run in a namespace."""
        return namespaces.inside(name, *command)

    def run(self, name: str, *command: str, **options) -> subprocess.CompletedProcess[str]:
        """Run a command in a namespace."""
        return namespaces.run(name, *command, **options)


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with namespaces.namespaces("master", "router", "agent") as names:
        made = Network(*names)
        join(made.master, "eth0", f"{MASTER}/24", made.router, "wan", f"{ROUTER}/24")
        join(made.agent, "eth0", f"{AGENT}/24", made.router, "lan", f"{GATEWAY}/24")
        ip("-n", made.agent, "route", "add", "default", "via", GATEWAY)
        made.run(made.router, "sysctl", "-qw", "net.ipv4.ip_forward=1", check=True)
        made.run(made.router, "nft", "-f", "-", input=RULES, check=True)
        yield made


@pytest.fixture(scope="module")
def demo(network, tmp_path_factory) -> Iterator[Demo]:
    data = tmp_path_factory.mktemp("nat") / "data"
    running = Demo(data, "--host", MASTER, inside=network.inside(network.master))
    try:
        yield running.wait_until_ready()
    finally:
        running.stop()


@pytest.fixture(scope="module")
def agent(network, demo, tmp_path_factory) -> Iterator[subprocess.Popen[bytes]]:
    """The second machine: the agent's files, the panel's CA, and the lines `tunnel add --env` prints."""
    home: Path = tmp_path_factory.mktemp("node")
    added = network.run(
        network.master, *manage(demo, "tunnel", "add", "behind-nat", "--env"), env=settings(demo)
    )
    assert added.returncode == 0, added.stderr
    authority = demo.places.data / "tls" / "ca.pem"
    lines = [
        line
        for line in added.stdout.splitlines()
        if not line.startswith(("MASTER_URL", "MASTER_CA_FILE", "#"))
    ]
    lines += [f"MASTER_URL=https://{MASTER}:8443", f"MASTER_CA_FILE={authority}"]
    (home / ".env").write_text("\n".join(lines) + "\n")
    (home / ".env").chmod(0o600)
    with (home / "agent.log").open("wb") as log:
        process = subprocess.Popen(
            network.inside(network.agent, sys.executable, "-m", "agent_client"),
            cwd=home,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT)},
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def manage(demo: Demo, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, str(CHECKOUT / "manage.py"), *arguments)


def settings(demo: Demo) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "DATA_DIR": str(demo.places.data)}


def reach(network: Network, name: str, address: str, port: int) -> str:
    """Try to connect from a namespace; return `connected` or the reason."""
    code = f"import socket; socket.create_connection(({address!r}, {port}), 3); print('connected')"
    tried = network.run(name, sys.executable, "-c", code)
    return (tried.stdout or tried.stderr).strip().splitlines()[-1]


def test_the_node_reaches_the_master_and_nobody_reaches_the_node(network, demo):
    assert reach(network, network.agent, MASTER, 8443) == "connected"
    assert "Network is unreachable" in reach(network, network.master, AGENT, 8443)


def test_its_tunnel_is_active_over_tls_and_answers(network, demo, agent):
    def listed() -> str:
        return network.run(
            network.master, *manage(demo, "tunnel", "list", "--state", "active"), env=settings(demo)
        ).stdout

    eventually(lambda: "behind-nat" in listed())
    command = manage(demo, "tunnel", "run", "behind-nat", "--", "ip", "-4", "-brief", "address")
    answer = network.run(network.master, *command, env=settings(demo))
    assert answer.returncode == 0, answer.stderr
    assert AGENT in answer.stdout
    shown = network.run(
        network.master, *manage(demo, "tunnel", "show", "behind-nat"), env=settings(demo)
    ).stdout
    assert ROUTER in shown, "the panel sees the router's address, not the node's"
