"""`yumna-agent doctor` against real sockets, TLS and masters: each fault is found by name, and nothing beyond it is tried."""

import io
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from agent_client import doctor, finding
from agent_client.address import exact_address
from agent_client.finding import Exit, Finding
from agent_client.settings import Settings
from tests.agent.certificates import Authority
from tests.agent.raw_master import RawMaster, ack, frame, frames, read_all, text
from tests.agent.real_master import PATIENCE, Master
from tests.agent.test_dial import Proxy, listening, through  # noqa: F401 - a fixture
from tests.agent.test_link import url
from tests.docs.pages import ROOT
from tests.ports import free_port
from tunnel.cli.exits import Exit as PanelExit

SECRET = "rahasiadapur"
SHORT = 0.5  # seconds a step, where a test waits for the end of them


@dataclass(frozen=True)
class Seeded:
    """What a fault leaves to be found."""

    address: str
    trusts: bool = True
    deadline: float = PATIENCE


def settings(address: str, ca_file: "str | None" = None) -> Settings:
    return Settings("tunnel", (exact_address(address),), "agent-home-server", SECRET, ca_file, True)


def walk(address: str, ca_file: "str | None" = None, deadline: float = PATIENCE) -> "list[Finding]":
    return list(doctor.findings(settings(address, ca_file), deadline))


# Faults ---------------------------------------------------------------------------------------------------------


def tls(**made: object) -> Callable[[Authority], AbstractContextManager[Seeded]]:
    """A master whose certificate is `made` so."""

    @contextmanager
    def seed(authority: Authority) -> Iterator[Seeded]:
        with Master(tls=authority.server(**made)) as master:
            yield Seeded(url(master, "wss"))
            assert not master.tries.acquire(blocking=False), (
                "the secret must not be sent before TLS is judged"
            )

    return seed


@contextmanager
def unknown_name(_authority: Authority) -> Iterator[Seeded]:
    yield Seeded("wss://no-such-host.invalid/tunnel")


@contextmanager
def closed_port(_authority: Authority) -> Iterator[Seeded]:
    yield Seeded(f"ws://127.0.0.1:{free_port()}/tunnel")


@contextmanager
def dropped_packets(_authority: Authority) -> Iterator[Seeded]:
    """The queue of the port is full: the kernel drops what comes next, as a firewall does."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        held = [socket.socket() for _ in range(4)]
        for one in held:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        yield Seeded(f"ws://127.0.0.1:{full.getsockname()[1]}/tunnel", deadline=SHORT)
        for one in held:
            one.close()


@contextmanager
def unknown_authority(authority: Authority) -> Iterator[Seeded]:
    with Master(tls=authority.server()) as master:
        yield Seeded(url(master, "wss"), trusts=False)


@contextmanager
def old_tls(authority: Authority) -> Iterator[Seeded]:
    context = authority.server()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with Master(tls=context) as master:
        yield Seeded(url(master, "wss"))


@contextmanager
def no_tls(_authority: Authority) -> Iterator[Seeded]:
    def serve(connection: socket.socket) -> None:
        connection.recv(64)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with listening(serve) as port:
        yield Seeded(f"wss://127.0.0.1:{port}/tunnel")


def stripping(target: int) -> Callable[[socket.socket], None]:
    """A reverse proxy that passes requests on without the hop-by-hop headers, as nginx does unless told otherwise."""

    def serve(connection: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        lines = [
            line for line in head.split(b"\r\n") if not line.lower().startswith((b"upgrade:", b"connection:"))
        ]
        lines.insert(1, b"Connection: close")
        with socket.create_connection(("127.0.0.1", target), timeout=PATIENCE) as panel:
            panel.sendall(b"\r\n".join(lines))
            connection.sendall(read_all(panel))

    return serve


@contextmanager
def stripped_upgrade(_authority: Authority) -> Iterator[Seeded]:
    with Master() as master, listening(stripping(master.port)) as port:
        yield Seeded(f"ws://127.0.0.1:{port}/tunnel")


def answered(status: int, **headers: str) -> Callable[[Authority], AbstractContextManager[Seeded]]:
    """A master that answers the handshake with a status."""

    @contextmanager
    def seed(_authority: Authority) -> Iterator[Seeded]:
        with Master() as master:
            master.refusal = (status, headers)
            yield Seeded(url(master))

    return seed


def raw(
    serve: Callable[[socket.socket], object] = read_all,
    *,
    answer: "bytes | None" = None,
    deadline: float = PATIENCE,
) -> Callable[[Authority], AbstractContextManager[Seeded]]:
    """A master that answers the handshake with these bytes, or serves what it likes after one."""

    @contextmanager
    def seed(_authority: Authority) -> Iterator[Seeded]:
        with RawMaster(serve, answer=answer) as master:
            yield Seeded(f"ws://127.0.0.1:{master.port}/tunnel", deadline=deadline)

    return seed


def clock(seconds: float) -> Callable[[Authority], AbstractContextManager[Seeded]]:
    """A master whose clock differs from this one."""

    @contextmanager
    def seed(_authority: Authority) -> Iterator[Seeded]:
        with Master() as master:
            master.clock = lambda: time.time() + seconds
            yield Seeded(url(master))

    return seed


HALF_UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: close\r\n\r\n"
FAULTS = {
    "DNS": (unknown_name, "name", Exit.NO_LAYER, "there is no address for no-such-host.invalid", "resolv.conf"),
    "TCP": (closed_port, "connection", Exit.NO_LAYER, "connection refused", "firewall"),
    "packets dropped": (dropped_packets, "connection", Exit.NO_LAYER, "no answer within 0.5 s", "firewall"),
    "TLS name": (
        tls(address="127.0.0.2", name="elsewhere"),
        "TLS",
        Exit.NO_LAYER,
        "its certificate is for another address",
        "MASTER_URL",
    ),
    "untrusted CA": (unknown_authority, "TLS", Exit.NO_LAYER, "authority this machine does not trust", "MASTER_CA_FILE="),
    "expired": (tls(days=-1), "TLS", Exit.NO_LAYER, "has expired", "this node's clock says"),
    "not valid yet": (tls(since=2), "TLS", Exit.NO_LAYER, "not valid yet", "this node's clock says"),
    "old TLS": (old_tls, "TLS", Exit.NO_LAYER, "older than 1.2", "TLS 1.2 or newer"),
    "no TLS": (no_tls, "TLS", Exit.NO_LAYER, "does not speak TLS", "https:// port"),
    "stripped Upgrade": (stripped_upgrade, "handshake", Exit.NO_LAYER, "lost on the way", "Upgrade $http_upgrade"),
    "upgrade answered 200": (
        raw(answer=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        "handshake",
        Exit.NO_LAYER,
        "lost on the way: this is a plain HTTP answer (200)",
        "Upgrade $http_upgrade",
    ),
    "upgrade answered 400": (answered(400), "handshake", Exit.NO_LAYER, "(400)", "Upgrade $http_upgrade"),
    "upgrade half stripped": (raw(answer=HALF_UPGRADED), "handshake", Exit.NO_LAYER, "is none", "Upgrade $http_upgrade"),
    "no such path": (answered(404), "handshake", Exit.NO_LAYER, "(404)", "check the path of MASTER_URL"),
    "redirect": (answered(302, Location="/x"), "handshake", Exit.NO_LAYER, "a redirect (302)", "the final address"),
    "refused": (answered(403), "handshake", Exit.REFUSED, "wrong secret, suspended, unknown", "tunnel doctor agent-"),
    "panel failed": (answered(500), "handshake", Exit.NO_LAYER, "the panel failed (500)", "the panel's log"),
    "proxy without a panel": (answered(502), "handshake", Exit.NO_LAYER, "does not reach it (502)", "upstream"),
    "panel stops": (answered(503), "handshake", Exit.NO_LAYER, "cannot judge now", "manage.py tunnel doctor"),
    "no HTTP": (raw(answer=b"SSH-2.0-OpenSSH\r\n"), "handshake", Exit.NO_LAYER, "is none", "Upgrade"),
    "nobody answers": (raw(answer=b"", deadline=SHORT), "handshake", Exit.NO_LAYER, "within 0.5 s", "panel's log"),
    "no greeting": (raw(deadline=SHORT), "panel", Exit.NO_LAYER, "no HANDSHAKE_ACK within", "tunnel doctor agent-"),
    "closed at once": (
        raw(lambda line: line.sendall(frame(8, (1013).to_bytes(2, "big")))),
        "panel",
        Exit.NO_LAYER,
        "closed with code 1013",
        "tunnel doctor agent-",
    ),
    "no PONG": (
        raw(lambda line: (line.sendall(ack()), read_all(line)), deadline=SHORT),
        "panel",
        Exit.NO_LAYER,
        "no PONG within",
        "tunnel doctor agent-",
    ),
    "clock behind": (clock(75), "clock", Exit.FAILED, "75 s behind the panel's", "timedatectl set-ntp true"),
    "clock ahead": (clock(-3600), "clock", Exit.FAILED, "3600 s ahead of the panel's", "timedatectl set-ntp true"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_by_name_and_ends_the_walk(fault: str, authority: Authority):
    seed, step, code, detail, fix = FAULTS[fault]
    with seed(authority) as seeded:
        *before, last = walk(seeded.address, str(authority.file) if seeded.trusts else None, seeded.deadline)
    assert all(each.ok is not False for each in before)
    assert (last.step, last.ok, last.code) == (step, False, code), last
    assert detail in last.detail
    assert fix in last.fix
    assert all(SECRET not in each.detail + each.fix for each in [*before, last])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "wants a user name and a password"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "refused the connection with status 403"),
    ],
    ids=["login", "forbidden"],
)
def test_a_proxy_that_refuses_is_told_from_a_panel_that_does(through, answer, words):  # noqa: F811
    with listening(Proxy(0, answer)) as port:
        through(port, "user:hunter2@")
        found = walk("wss://panel.test/tunnel")
    assert [each.step for each in found] == [
        "settings",
        "address",
        "proxy",
        "name",
        "connection",
        "way through the proxy",
    ]
    assert words in found[-1].detail
    assert "no_proxy" in found[-1].fix
    assert all("hunter2" not in each.detail for each in found)


def test_a_proxy_on_the_way_is_named_and_the_rest_goes_through_it(authority, through):  # noqa: F811
    with Master(tls=authority.server(name="panel.test")) as master, listening(Proxy(master.port)) as port:
        through(port)
        found = walk("wss://panel.test/tunnel", str(authority.file))
    assert found[-1].step == "clock"
    assert all(each.ok is not False for each in found)


def test_a_proxy_that_cannot_be_used_is_the_first_fault(monkeypatch):
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:1")
    last = walk("wss://panel.test/tunnel")[-1]
    assert (last.step, last.ok) == ("proxy", False)


SILENT_RESOLVER = """
import socket, sys
from agent_client import doctor
from agent_client.address import exact_address
from agent_client.settings import Settings
resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
resolver.bind(("127.0.0.1", 53))
address = exact_address("wss://panel.example.org/tunnel")
sys.exit(doctor.run(Settings("tunnel", (address,), "agent-home-server", "x"), deadline=1.0))
"""


@pytest.mark.netns
def test_a_resolver_that_never_answers_costs_one_deadline(tmp_path: Path):
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    (tmp_path / "doctor.py").write_text(SILENT_RESOLVER)
    inside = 'ip link set lo up && mount --bind "$1/resolv.conf" /etc/resolv.conf && exec "$0" "$1/doctor.py"'
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", inside, sys.executable, str(tmp_path)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == Exit.NO_LAYER, done.stderr
    assert "✗ name: the resolver said nothing of panel.example.org within 1 s" in done.stdout


# Health ---------------------------------------------------------------------------------------------------------


def test_a_healthy_way_passes_every_step_and_is_told_on_one_line_each(authority):
    out = io.StringIO()
    with Master(tls=authority.server(days=60)) as master:
        assert doctor.run(settings(url(master, "wss"), str(authority.file)), out) == Exit.DONE
        visit = master.visit()
        assert visit.over.wait(PATIENCE)
    assert visit.headers["Sec-WebSocket-Protocol"] == "yumna.tunnel.check.v1"
    lines = out.getvalue().splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "✓ settings", "✓ address", "✓ name", "✓ connection", "✓ TLS", "✓ handshake", "✓ panel", "✓ clock"
    ]  # fmt: skip
    assert "for localhost, 127.0.0.1" in out.getvalue()


def test_a_master_that_knows_no_check_is_said_to_have_opened_a_session():
    def serve(line: socket.socket) -> None:
        line.sendall(ack())
        ping = json.loads(frames(line.recv(4096))[0][1])
        line.sendall(text({"type": "PONG", "timestamp": ping["timestamp"], "serverTime": time.time()}))
        read_all(line)

    with RawMaster(serve) as master:
        found = {each.step: each for each in walk(f"ws://127.0.0.1:{master.port}/tunnel")}
    assert found["handshake"].ok is None
    assert "an agent that runs here was cut" in found["handshake"].detail
    assert found["clock"].ok


def test_every_master_of_the_list_is_visited_and_the_first_fault_gives_the_code():
    out = io.StringIO()
    with Master() as refusing, Master() as well:
        refusing.refusal = (403, {})
        both = tuple(exact_address(url(master)) for master in (refusing, well))
        assert doctor.run(replace(settings(url(well)), masters=both), out) == Exit.REFUSED
    assert out.getvalue().count("address:") == 2
    assert "✓ clock" in out.getvalue()


def test_a_terminal_without_the_signs_gets_words():
    raw_bytes = io.BytesIO()
    out = io.TextIOWrapper(raw_bytes, encoding="ascii", write_through=True)
    finding.tell(Finding("TLS", False, "für Köln", "renew it"), out)
    assert raw_bytes.getvalue() == b"FAILED TLS: f?r K?ln\n    -> renew it\n"


def test_the_exit_codes_are_those_of_the_panels_commands():
    assert {code.name: int(code) for code in Exit} == {code.name: int(PanelExit[code.name]) for code in Exit}


@pytest.mark.parametrize(
    ("changed", "code", "words"),
    [
        ({}, Exit.NO_LAYER, "✗ connection: "),
        ({"AGENT_ID": "?"}, Exit.USAGE, "AGENT_ID is '?'"),
        ({"MASTER_URL": "http://panel.example.org"}, Exit.USAGE, "is not encrypted"),
    ],
    ids=["unreachable", "id", "address"],
)
def test_as_a_program_it_ends_with_its_code_and_never_shows_the_secret(
    tmp_path: Path, changed: "dict[str, str]", code: Exit, words: str
):
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "PYTHONIOENCODING": "utf-8",
        "MASTER_URL": f"ws://127.0.0.1:{free_port()}",
        "AGENT_ID": "web-01",
        "AGENT_SECRET": SECRET,
        "ALLOW_INSECURE": "1",
        **changed,
    }
    command = [sys.executable, "-m", "agent_client", "doctor"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    assert words in done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
