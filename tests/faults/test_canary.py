"""Secrets that nobody may find again: a whole run with its faults, then every place is searched for each of them."""

import base64
import contextlib
import http.client
import json
import socket
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from websockets.exceptions import InvalidStatus

from tests.bench_rest import MAKE_TOKEN
from tests.e2e.basic_agent import BasicAgent
from tests.e2e.cluster import Cluster, until
from tests.faults.nodes import Nodes, start_on_both_servers

pytestmark = pytest.mark.e2e

SECRET_KEY = "canary-9d41-of-the-panel-" + "k3Y" * 12
REDIS_PASSWORD = "canary-77ab-of-redis"
WRONG_SECRET = "canary-c0de-of-a-stranger"
PRODUCTION = {
    "DEBUG": "0",
    "SECRET_KEY": SECRET_KEY,
    "ALLOWED_HOSTS": "127.0.0.1",
    "SECURE_SSL_REDIRECT": "0",  # the pages are fetched on plain loopback
    "TUNNEL_TLS_ONLY": "1",  # stands for a front; nothing leaves this machine
    "TUNNEL_METRICS_ALLOW": "127.0.0.1",
    "LOG_LEVEL": "DEBUG",
}
WORKERS = {"uvicorn": "a", "serve": "b"}
MAKE_SESSION = """
from importlib import import_module
from django.conf import settings
from django.contrib.auth import get_user_model
session = import_module(settings.SESSION_ENGINE).SessionStore()
user = get_user_model().objects.get(username="bench")
user.is_staff = True
user.save()
session["_auth_user_id"], session["_auth_user_hash"] = str(user.pk), user.get_session_auth_hash()
session["_auth_user_backend"] = settings.AUTHENTICATION_BACKENDS[-1]
session.save()
print(session.session_key)
"""
PAGES = [
    "/admin/",
    "/admin/tunnel/nodes/",
    "/admin/tunnel/nodes/{pk}/",
    "/admin/servers/server/",
    "/admin/servers/server/{pk}/change/",
    "/admin/servers/server/{pk}/history/",
    "/admin/servers/apitoken/",
    "/admin/servers/commandrecord/",
    "/admin/tunnel/session/",
    "/admin/tunnel/refusal/",
    "/tunnel/metrics",
    "/tunnel/healthz",
    "/tunnel/readyz",
]
REST = [
    "servers/",
    "servers/{id}/",
    "me/",
    "commands/",
    "sessions/",
    "events/",
    "schema/",
    "problems/not_found/",
    "no/such/thing/",
]


class LockedCluster(Cluster):
    """A cluster whose Redis asks for a password, given to it over its socket and so on no command line."""

    def start_redis(self) -> None:
        super().start_redis()
        self.redis(f"CONFIG SET requirepass {REDIS_PASSWORD}")

    def redis(self, command: str) -> bytes:
        """Say one line to Redis."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.redis_socket)
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(65536)


class Run:
    """What happened, and every place a secret could have got to, by name."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.places: dict[str, str] = {}
        self.codes: dict[tuple[str, str, str], int] = {}  # of when, worker and path
        self.nodes = Nodes(cluster, folder, ("told", "crashing"))
        self._pk = cluster.sql("SELECT id FROM servers WHERE agent_id='told'")[0][0]
        self.token = cluster.python(MAKE_TOKEN).splitlines()[-1]
        self._cookie = cluster.python(MAKE_SESSION).splitlines()[-1]
        self.secrets = {
            "of the panel": SECRET_KEY,
            "of redis": REDIS_PASSWORD,
            "of a stranger": WRONG_SECRET,
            "of a program": self.token,
            **{f"of {name}": secret for name, secret in self.nodes.secrets.items()},
        }

    def happen(self) -> None:
        """Go through everything that might let go of a secret."""
        with self._watching():
            self._handshakes()
            self._commands()
            self._look("in order")
            self._crash_agents()
            self._lose("the database", self._without_database)
            self._lose("redis", self._without_redis)
        for name in self.cluster.processes:
            self.places[f"log of {name}"] = self.cluster.log(name)
        for name, agent in self.nodes.agents.items():
            self.places[f"log of the agent {name}"] = agent.log
        for file in self.cluster.folder.glob("db.sqlite3*"):
            self.places[f"database {file.name}"] = file.read_bytes().decode("latin-1")

    def _handshakes(self) -> None:
        for worker in WORKERS.values():
            for agent_id in ("told", "nobody-here", "!"):
                with pytest.raises(InvalidStatus, match="403") as refused:
                    BasicAgent(self.cluster.url(worker), agent_id, WRONG_SECRET)
                response = refused.value.response
                self.places[f"refusal of {agent_id} by {worker}"] = f"{response.headers}{response.body!r}"
        wrong = self.nodes.secrets["told"]
        self.nodes.secrets["told"] = WRONG_SECRET
        stranger = self.nodes.start("told", self.cluster.url("b"))
        until(lambda: "403" in stranger.log or "refused" in stranger.log, 30, "the agent was refused")
        stranger.stop()
        self.places["log of a refused agent"] = stranger.log
        self.nodes.secrets["told"] = wrong
        self.nodes.start("told", self.cluster.url("a"))
        self.nodes.start("crashing", self.cluster.url("b"))
        self.nodes.wait_until_in()

    def _commands(self) -> None:
        for worker in WORKERS.values():
            for argv in (["env"], ["sh", "-c", "cat /proc/$$/environ /proc/$PPID/cmdline | tr '\\0' '\\n'"]):
                body = {"service": "system", "action": "exec", "params": {"argv": argv}}
                status, answer = self._ask(worker, "/api/tunnel/v1/servers/told/commands/", body)
                assert status == 200, answer
                self.places[f"children's environment by {argv[0]}, asked on {worker}"] = answer
            for action in ("agent.getConfig", "system.getInfo", "system.listProcesses"):
                self.places[f"{action} on {worker}"] = json.dumps(self.nodes.call("told", action))

    def _look(self, when: str) -> None:
        paths = [page.format(pk=self._pk) for page in PAGES]
        paths += [f"/api/tunnel/v1/{page.format(id='told')}" for page in REST]
        for worker in WORKERS.values():
            for path in paths:
                status, text = self._ask(worker, path)
                self.codes[when, worker, path] = status
                self.places[f"{path} of {worker}, {when}"] = text

    def _crash_agents(self) -> None:
        agent = self.nodes.agents["crashing"]
        self.nodes.call("crashing", "faults.fail")
        self.nodes.call("crashing", "faults.break-link")  # a traceback, and it dials again
        until(lambda: "Traceback" in agent.log, 20, "the agent wrote a traceback")

    def _lose(self, what: str, lost) -> None:
        with lost():
            self._look(f"without {what}")
            for worker in WORKERS.values():
                with pytest.raises((InvalidStatus, OSError, AssertionError)):
                    BasicAgent(self.cluster.url(worker), "told", WRONG_SECRET)
                path = "/api/tunnel/v1/servers/crashing/commands/"
                self._ask(worker, path, {"service": "agent", "action": "ping", "params": {}})

    @contextlib.contextmanager
    def _without_database(self) -> Iterator[None]:
        self.cluster.sql("ALTER TABLE servers RENAME TO servers_aside")
        try:
            yield
        finally:
            self.cluster.sql("ALTER TABLE servers_aside RENAME TO servers")

    @contextlib.contextmanager
    def _without_redis(self) -> Iterator[None]:
        """It is gone, and what comes in its place knows another password: clients are refused with theirs."""
        self.cluster.kill("redis")
        super(LockedCluster, self.cluster).start_redis()
        self.cluster.redis("CONFIG SET requirepass another-one")
        yield

    def _ask(self, worker: str, path: str, body: object = None) -> tuple[int, str]:
        """Ask as a program with its token, or as a person with a session; returns status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.cluster.ports[worker], timeout=60)
        headers = {"Content-Type": "application/json"}
        if path.startswith("/api/"):
            headers["Authorization"] = f"Token {self.token}"
        else:
            headers["Cookie"] = f"sessionid={self._cookie}"
        with contextlib.closing(connection):
            connection.request("POST" if body else "GET", path, json.dumps(body) if body else None, headers)
            response = connection.getresponse()
            return response.status, f"{response.headers}{response.read().decode()}"

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        """Keep what the processes of this test show of themselves to everybody on the machine."""
        stop, shown = threading.Event(), set()

        def watch() -> None:
            while not stop.wait(0.2):
                for process in psutil.Process().children(recursive=True):
                    with contextlib.suppress(psutil.Error):  # it has just ended
                        shown.add(" ".join(process.cmdline()))

        with ThreadPoolExecutor(1, thread_name_prefix="watch") as pool:
            running = pool.submit(watch)
            try:
                yield
            finally:
                stop.set()
            running.result()
        self.places["command lines"] = "\n".join(shown)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Iterator[Run]:
    cluster = LockedCluster(tmp_path_factory.mktemp("panel"), "uvicorn", **PRODUCTION)
    cluster.environment["STATIC_ROOT"] = str(cluster.folder / "static")
    cluster.environment["REDIS_URL"] = f"unix://:{REDIS_PASSWORD}@{cluster.redis_socket}"
    made = None
    try:
        cluster.manage(
            "collectstatic", "--no-input", "-v0"
        )  # pages without DEBUG name the files by their content
        start_on_both_servers(cluster, WORKERS)
        cluster.start_background()
        made = Run(cluster, tmp_path_factory.mktemp("nodes"))
        made.happen()
        yield made
    finally:
        if made is not None:
            made.nodes.stop()
        cluster.stop()


def forms(secret: str) -> set[str]:
    """The ways a secret is written where it is not meant to be: plain, quoted, in base64, in hex, cut short."""
    plain = secret.encode()
    return {
        secret,
        secret[:20],
        secret[-20:],
        urllib.parse.quote(secret, safe=""),
        base64.b64encode(plain).decode().rstrip("=")[:-1],
        plain.hex(),
    }


def test_a_secret_is_found_nowhere_after_a_run_with_all_its_faults(run, seen):
    found = [
        (whose, place)
        for whose, secret in run.secrets.items()
        for place, text in run.places.items()
        if any(form in text for form in forms(secret))
    ]
    seen("places searched", len(run.places), "places")
    assert not found


def test_the_run_went_where_secrets_could_be_lost(run):
    """The search would be empty if the pages were errors in order, or the faults no errors."""
    in_order = {
        key: status for key, status in run.codes.items() if key[0] == "in order" and "no/such" not in key[2]
    }
    assert set(in_order.values()) == {200}, {key: status for key, status in in_order.items() if status != 200}
    for worker in WORKERS.values():
        assert run.codes["without the database", worker, "/admin/servers/server/"] == 500
        assert run.codes["without the database", worker, "/api/tunnel/v1/servers/"] >= 500
        assert "Traceback" in run.cluster.log(worker)
        assert "refused from 127.0.0.1" in run.cluster.log(worker)
        assert "AuthenticationError" in run.cluster.log(worker) or "password" in run.cluster.log(worker)
    assert "PATH=" in run.places["children's environment by env, asked on a"]
    assert "uvicorn" in run.places["command lines"]
    assert any("told" in text for place, text in run.places.items() if place.startswith("database"))
