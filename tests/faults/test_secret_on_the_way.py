"""The secret on its way: never in clear, never to another host than the master, whoever stands between; every byte is kept."""

import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.agent.certificates import Authority
from tests.agent.real_master import Master
from tests.agent.test_dial import Proxy, listening
from tests.e2e.cluster import SERVERS, Cluster, until
from tests.e2e.real_agent import RealAgent
from tests.faults.chaos import Chaos
from tests.faults.nodes import start_on_both_servers

pytestmark = pytest.mark.e2e

AGENT_ID, SECRET = "careful-node", "canary-5b1d0c77-on-the-way"
NAME = "master.test"  # RFC 6761: nobody's; only a proxy is asked for it
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
PORTAL = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{port}/log-in\r\nContent-Length: 0\r\n\r\n"


# From the agent -------------------------------------------------------------------------------------------------


@dataclass
class Way:
    """One agent and what listens on its way; `words` is what its log must say."""

    agent: RealAgent
    words: str
    tap: Chaos  # keeps every byte
    masters: tuple[Master, ...]  # who must not have seen a request


class Ways:
    """All agents at once: each dials over a tap that keeps what it sends."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self.stack = folder, stack
        (folder / "other").mkdir()
        self.authority, self.other_authority = Authority(folder), Authority(folder / "other")
        self.thief = stack.enter_context(Chaos(self.listen(lambda connection: connection.recv(65536))))
        self.made: dict[str, Way] = {}

    def listen(self, serve) -> int:
        return self.stack.enter_context(listening(serve))

    def master(self, tls: ssl.SSLContext) -> Master:
        return self.stack.enter_context(Master(tls=tls))

    def dial(self, name: str, words: str, port: int, *masters: Master) -> Way:
        """Have an agent dial 127.0.0.1 over a tap before `port`."""
        tap = self.stack.enter_context(Chaos(port))
        return self._start(name, words, f"wss://127.0.0.1:{tap.port}/tunnel", tap, masters)

    def dial_through(self, name: str, words: str, proxy: int, *masters: Master) -> Way:
        """Have an agent dial a master that only a proxy reaches, over a tap before the proxy."""
        tap = self.stack.enter_context(Chaos(proxy))
        proxies = {"https_proxy": f"http://127.0.0.1:{tap.port}"}
        return self._start(name, words, f"wss://{NAME}/tunnel", tap, masters, **proxies)

    def _start(
        self, name: str, words: str, url: str, tap: Chaos, masters: tuple[Master, ...], **more: str
    ) -> Way:
        more = {"MASTER_CA_FILE": str(self.authority.file), **more}
        agent = RealAgent(self.folder / name, [url], AGENT_ID, SECRET, **more)
        self.stack.callback(agent.stop)
        self.made[name] = Way(agent, words, tap, masters)
        return self.made[name]


def old_tls(context: ssl.SSLContext) -> ssl.SSLContext:
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def answering(answer: bytes):
    """Return what reads a little and answers in plain text, whatever was said."""

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer)
        while connection.recv(65536):
            pass

    return serve


@pytest.fixture(scope="module")
def ways(tmp_path_factory) -> Iterator[Ways]:
    with ExitStack() as stack:
        made = Ways(tmp_path_factory.mktemp("ways"), stack)
        good = made.authority.server()
        named = made.authority.server(name=NAME, address="127.0.0.9")
        elsewhere = made.master(made.authority.server(name="elsewhere.test", address="127.0.0.2"))
        foreign = made.master(made.other_authority.server())
        foreign_named = made.master(made.other_authority.server(name=NAME))
        old = made.master(old_tls(made.authority.server()))
        portal = PORTAL.replace(b"{port}", str(made.thief.port).encode())
        made.dial("no TLS", "does not speak TLS", made.listen(answering(PLAIN)))
        made.dial("portal", "does not speak TLS", made.listen(answering(portal)))
        made.dial("TLS 1.1", "older than 1.2", old.port, old)
        made.dial("unknown authority", "does not trust", foreign.port, foreign)
        made.dial("another host", "for another address", elsewhere.port, elsewhere)
        made.dial_through("proxy that lies", "does not speak TLS", made.listen(LyingProxy()))
        made.dial_through("proxy with a portal", "refused the connection", made.listen(answering(portal)))
        intercepting = made.listen(Proxy(foreign_named.port))
        made.dial_through("proxy that intercepts", "does not trust", intercepting, foreign_named)
        for scheme in ("ws", "wss"):
            sending_away = made.master(good)
            sending_away.refusal = (302, {"Location": f"{scheme}://127.0.0.1:{made.thief.port}/tunnel"})
            made.dial(f"redirect to {scheme}", "redirect", sending_away.port)
        made.dial("good", "tunnel open", made.master(good).port)
        made.dial_through("good proxy", "tunnel open", made.listen(Proxy(made.master(named).port)))
        yield made


class LyingProxy(Proxy):
    """Says that it has connected, and then plays the master itself, in clear."""

    def __init__(self) -> None:
        super().__init__(0)

    def _carry(self, connection: socket.socket) -> None:
        answering(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")(connection)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
def test_whoever_stands_on_the_way_sees_nothing_of_the_secret(ways, seen):
    for name, way in ways.made.items():
        until(lambda way=way: way.words in way.agent.log, 30, f"{name}: {way.agent.log}")
    wire = b""
    for name, way in ways.made.items():
        assert way.tap.upward, f"{name}: the agent dialled"
        wire += way.tap.upward + way.tap.downward
        assert SECRET not in way.agent.log
        for master in way.masters:
            assert not master.tries.acquire(blocking=False), f"{name}: a request was sent"
        assert way.agent.process.poll() is None, f"{name}: the agent tries again later"
    seen(
        "bytes of the secret in clear on the way", wire.count(SECRET.encode()) * len(SECRET), "bytes", most=0
    )
    assert AGENT_ID.encode() not in wire
    assert ways.thief.connections == 0, "nobody was sent to another host"


def test_the_tap_would_have_seen_it(tmp_path):
    """The control: the same agent on plain ws to this machine, where that is allowed."""
    with Master() as master, Chaos(master.port) as tap:
        agent = RealAgent(tmp_path / "agent", [f"ws://127.0.0.1:{tap.port}/tunnel"], AGENT_ID, SECRET)
        try:
            master.visit(20)
        finally:
            agent.stop()
        assert SECRET.encode() in tap.upward


# To the panel ---------------------------------------------------------------------------------------------------

PROXY, STRANGER = "127.0.0.9", "127.0.0.8"
HTTPS = {"X-Forwarded-Proto": "https"}
FORGED = {
    "in clear": (STRANGER, {}),
    "in clear from this machine": ("127.0.0.1", {}),
    "protocol forged": (STRANGER, HTTPS),
    "protocol and address forged": (STRANGER, {**HTTPS, "X-Forwarded-For": PROXY}),
    "forged as in RFC 7239": (STRANGER, {"Forwarded": f"for={PROXY};proto=https"}),
    "other headers forged": (STRANGER, {"X-Forwarded-Ssl": "on", "X-Scheme": "https", "X-Url-Scheme": "wss"}),
    "the proxy says http": (PROXY, {"X-Forwarded-Proto": "http"}),
    "the proxy says http after a forger": (PROXY, {"X-Forwarded-Proto": "https, http"}),
    "the proxy says nothing": (PROXY, {}),
}


@pytest.fixture(scope="module")
def panel(tmp_path_factory) -> Iterator[tuple[Cluster, str]]:
    """A panel in production, without TLS of its own, that believes one proxy; on both servers."""
    production = {"DEBUG": "0", "SECRET_KEY": "k" * 60, "SECURE_SSL_REDIRECT": "0"}
    folder = tmp_path_factory.mktemp("panel")
    cluster = Cluster(folder, "uvicorn", TUNNEL_TRUSTED_PROXIES=PROXY, **production)
    try:
        start_on_both_servers(cluster, {server: server for server in SERVERS})
        yield cluster, cluster.add(AGENT_ID)
    finally:
        cluster.stop()


def knock(port: int, secret: str, source: str, headers: dict[str, str]) -> tuple[int, bytes]:
    """Dial with the right id and secret; returns the status and the body of the answer."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0))
    shown = {"X-Agent-ID": AGENT_ID, "X-Agent-Secret": secret, **headers}
    url = f"ws://127.0.0.1:{port}/tunnel"
    try:
        with connect(url, sock=sock, additional_headers=shown, compression=None, proxy=None):
            return 101, b""
    except InvalidStatus as exc:
        return exc.response.status_code, exc.response.body


@pytest.mark.parametrize("server", SERVERS)
def test_a_right_secret_over_a_connection_that_is_not_secure_is_refused_like_a_wrong_one(panel, server):
    cluster, secret = panel
    port = cluster.ports[server]
    with ThreadPoolExecutor(len(FORGED)) as pool:
        told = list(pool.map(lambda case: knock(port, secret, *case), FORGED.values()))
    wrong = knock(port, "wrong", PROXY, HTTPS)
    assert wrong[0] == 403
    assert dict(zip(FORGED, told, strict=True)) == dict.fromkeys(FORGED, wrong)
    assert cluster.sql("SELECT count(*) FROM tunnel_session WHERE closed_at IS NULL") == [(0,)]
    assert cluster.log(server).count("the connection is not secure") == len(FORGED)
    assert secret not in cluster.log(server)
    assert knock(port, secret, PROXY, {"X-Forwarded-Proto": "http, https"})[0] == 101
    until(lambda: cluster.sql("SELECT count(*) FROM tunnel_session WHERE closed_at IS NULL") == [(0,)], 20)
