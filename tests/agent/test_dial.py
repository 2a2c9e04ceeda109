"""The agent's way to a master: TLS that is always verified, and the HTTP proxy of the environment."""

import base64
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from agent_client import dial as dial_module
from agent_client import proxy as proxy_module
from agent_client.address import exact_address
from agent_client.backoff import Ending
from agent_client.dial import DialFailed, dial
from agent_client.patience import Patience
from agent_client.upgrade import Credentials
from agent_client.wakeup import WakeUp
from tests.agent.real_master import PATIENCE, Master
from tests.agent.test_link import url, wait_for

SECRET = "rahasiadapur"


def try_once(address: str, ca_file: "str | None" = None, seconds: float = PATIENCE) -> None:
    """Dial once and hang up."""
    wakeup = WakeUp()
    patience = Patience(seconds, wakeup, lambda: False)
    try:
        dial(exact_address(address), Credentials("web-01", SECRET), ca_file, patience).sock.close()
    finally:
        wakeup.close()


def failure(address: str, ca_file: "str | None" = None, seconds: float = PATIENCE) -> DialFailed:
    with pytest.raises(DialFailed) as failed:
        try_once(address, ca_file, seconds)
    assert SECRET not in str(failed.value)
    return failed.value


# TLS ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_certificate_of_the_named_authority_is_trusted(authority, start_agent, host):
    with Master(tls=authority.server()) as master:
        start_agent(url(master, "wss", host), ca_file=str(authority.file))
        assert master.visit().run("agent", "ping")["data"]["pong"]


@pytest.mark.parametrize(
    ("made", "trusted", "words"),
    [
        ({}, False, "authority this machine does not trust, name it in MASTER_CA_FILE"),
        ({"address": "127.0.0.2", "name": "elsewhere"}, True, "its certificate is for another address"),
        ({"days": -1}, True, "its certificate has expired"),
    ],
    ids=["unknown authority", "another host", "expired"],
)
def test_a_certificate_that_proves_nothing_is_refused_in_words(authority, made, trusted, words):
    with Master(tls=authority.server(**made)) as master:
        failed = failure(url(master, "wss"), str(authority.file) if trusted else None)
        assert words in str(failed)
        assert failed.ending is Ending.UNREACHABLE
        assert not master.tries.acquire(blocking=False), "the secret must not be sent before TLS is judged"


def test_an_environment_that_asks_for_the_keys_of_tls_gets_none(authority, tmp_path, monkeypatch):
    keys = tmp_path / "keys"
    keys.touch()  # Python writes a comment into it whatever becomes of the connection
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    with Master(tls=authority.server()) as master:
        try_once(url(master, "wss"), str(authority.file))
    assert all(line.startswith("#") for line in keys.read_text().splitlines())


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
def test_tls_older_than_1_2_is_refused(authority):
    context = authority.server()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with Master(tls=context) as master:
        assert "older than 1.2" in str(failure(url(master, "wss"), str(authority.file)))


def test_a_port_without_tls_is_told_apart(master_without_tls):
    assert "does not speak TLS on this port" in str(failure(f"wss://127.0.0.1:{master_without_tls}/tunnel"))


@pytest.fixture
def master_without_tls() -> Iterator[int]:
    def serve(connection: socket.socket) -> None:
        connection.recv(64)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with listening(serve) as port:
        yield port


def test_a_port_where_nobody_answers_uses_up_the_deadline_and_no_more():
    with listening(lambda connection: connection.recv(65536) and connection.recv(65536)) as port:
        failed = failure(f"ws://127.0.0.1:{port}/tunnel", seconds=0.5)
    assert "did not answer the WebSocket handshake in time" in str(failed)


def test_a_closed_port_and_an_unknown_name_are_told_apart():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert "connection refused" in str(failure(f"ws://127.0.0.1:{taken.getsockname()[1]}/tunnel"))
    assert "name of the host cannot be resolved" in str(failure("wss://no-such-host.invalid/tunnel"))


# Proxy ----------------------------------------------------------------------------------------------------------


@contextmanager
def listening(serve) -> Iterator[int]:
    """Serve connections on a free port, each in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def one(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(PATIENCE)
            serve(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threads.append(threading.Thread(target=one, args=[listener.accept()[0]]))
                threads[-1].start()

    threads.append(threading.Thread(target=accept))
    threads[-1].start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in threads:
            thread.join(PATIENCE)


class Proxy:
    """An HTTP proxy that sends every CONNECT to one port, or answers it with `answer`."""

    def __init__(self, target: int, answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> None:
        self.target, self.answer = target, answer
        self.heads: list[str] = []

    def __call__(self, connection: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        self.heads.append(head.decode())
        connection.sendall(self.answer)
        if b" 200 " in self.answer:
            self._carry(connection)

    def _carry(self, connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self.target)) as master:
            ends = {connection: master, master: connection}
            while True:
                for ready in select.select(list(ends), [], [], PATIENCE)[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    ends[ready].sendall(data)


@pytest.fixture
def through(monkeypatch):
    """Have the environment name a proxy, as the only one."""

    def name_it(port: int, login: str = "", variable: str = "https_proxy") -> None:
        for name in ("http_proxy", "https_proxy", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.setenv(variable, f"http://{login}127.0.0.1:{port}")

    return name_it


def test_a_proxy_of_the_environment_is_asked_for_the_master_and_sees_tls_only(
    authority, start_agent, through
):
    with Master(tls=authority.server(name="master.test")) as master:
        proxy = Proxy(master.port)
        with listening(proxy) as port:
            agent = start_agent("wss://master.test:8443/tunnel", ca_file=str(authority.file))
            through(port, "some%20body:s%40cret@")
            wait_for(lambda: proxy.heads, 30)
            assert master.visit().run("agent", "ping")["data"]["pong"]
            agent.stop()
    request, *headers = proxy.heads[0].split("\r\n")
    assert request == "CONNECT master.test:8443 HTTP/1.1"
    login = base64.b64encode(b"some body:s@cret").decode()
    assert f"Proxy-Authorization: Basic {login}" in headers
    assert SECRET not in proxy.heads[0]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "wants a user name and a password"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "the proxy refused the connection with status 403"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "the proxy does not speak HTTP"),
        (b"", "the proxy broke off or sent too much"),
        (b"HTTP/1.1 200 " + b"x" * proxy_module.LARGEST_ANSWER, "the proxy broke off or sent too much"),
    ],
    ids=["login", "forbidden", "no proxy", "nothing", "endless"],
)
def test_a_proxy_that_refuses_is_said_to(through, answer, words):
    with listening(Proxy(0, answer)) as port:
        through(port, "user:hunter2@")
        failed = failure("wss://master.test/tunnel")
    assert words in str(failed)
    assert "hunter2" not in str(failed)
    assert failed.ending is Ending.UNREACHABLE


@pytest.mark.parametrize("named", ["socks5://127.0.0.1:1", "https://127.0.0.1:1", "http://:80", "http://h:x"])
def test_a_proxy_of_another_kind_is_refused_in_words(monkeypatch, named):
    monkeypatch.setenv("https_proxy", named)
    assert "https_proxy" in str(failure("wss://master.test/tunnel"))


@pytest.mark.parametrize(
    ("address", "environment", "used"),
    [
        ("wss://master.test/tunnel", {"https_proxy": "http://p:3128"}, True),
        ("wss://master.test/tunnel", {"HTTPS_PROXY": "p:3128"}, True),
        ("wss://master.test/tunnel", {"http_proxy": "http://p:3128"}, False),
        ("wss://master.test/tunnel", {"https_proxy": "http://p:3128", "no_proxy": "master.test"}, False),
        ("wss://a.master.test/tunnel", {"https_proxy": "http://p:3128", "no_proxy": ".master.test"}, False),
        ("wss://master.test/tunnel", {"https_proxy": "http://p:3128", "no_proxy": "*"}, False),
        ("ws://127.0.0.1/tunnel", {"http_proxy": "http://p:3128"}, False),
    ],
    ids=str,
)
def test_the_environment_decides_whether_a_proxy_is_used(monkeypatch, through, address, environment, used):
    through(0)
    monkeypatch.delenv("https_proxy")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = proxy_module.proxy_for(exact_address(address))
    assert (found is not None) is used
    if found is not None:
        assert (found.host, found.port) == ("p", 3128)


def test_of_several_addresses_a_dead_one_does_not_use_up_the_time(monkeypatch):
    """Broken IPv6 is common: the name has an address that leads nowhere."""
    with Master() as master, socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        held = [socket.socket() for _ in range(4)]  # fill the queue: the kernel drops what comes next
        for one in held:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        info = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        both = [(*info, full.getsockname()), (*info, ("127.0.0.1", master.port))]
        monkeypatch.setattr(dial_module, "resolve", lambda *_: both)
        monkeypatch.setattr(dial_module, "LONGEST_TRY", 0.3)
        monkeypatch.setattr(dial_module, "SHORTEST_TRY", 0.1)
        try_once("ws://panel.test/tunnel")
        for one in held:
            one.close()
