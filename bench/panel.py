"""The panel under measurement: two web workers in production settings, with a database and a Redis of their own."""

from __future__ import annotations

import http.client
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.fleet import Identity
from tests.e2e.basic_agent import BasicAgent
from tests.e2e.cluster import Cluster

PATIENCE = 60.0  # seconds for one answer; what takes longer is no figure but a fault
SETTINGS = {
    "DJANGO_SETTINGS_MODULE": "bench.site",
    "DEBUG": "0",
    "ALLOWED_HOSTS": "127.0.0.1",
    "LOG_LEVEL": "WARNING",
    # Plain HTTP on loopback: TLS is the proxy's work and not measured.
    "TUNNEL_TLS_ONLY": "1",
    "SECURE_SSL_REDIRECT": "0",
    "TUNNEL_API_COMMANDS_A_MINUTE": "0",  # what is measured is the command, not the throttle
}
LOG_IN = """
from django.contrib.auth import get_user_model
from django.test import Client
user = get_user_model().objects.filter(username="admin").first()
user = user or get_user_model().objects.create_superuser("admin")
client = Client()
client.force_login(user)
print(client.cookies["sessionid"].value)
"""


class Panel:
    """A cluster with an administrator's session; `a` and `b` are its web workers."""

    def __init__(self, folder: Path, server: str) -> None:
        settings = {**SETTINGS, "SECRET_KEY": secrets.token_hex(32), "STATIC_ROOT": str(folder / "static")}
        self.cluster = Cluster(folder, server, **settings)
        self.session = ""

    def start(self) -> Panel:
        """Start all of it and log in."""
        self.cluster.manage("collectstatic", "--noinput", "-v0")
        self.cluster.start("a", "b")
        self.cluster.start_background()
        self.session = self.cluster.python(LOG_IN).splitlines()[-1]
        return self

    def identities(self, names: list[str], worker: str) -> list[Identity]:
        """Add servers, unless they are there, and return who their agents are and where they dial first."""
        printed = self.cluster.python(f"from bench.data import secrets; secrets({names!r})", seconds=PATIENCE)
        urls = [
            self.cluster.url(name) for name in sorted(self.cluster.ports, key=lambda name: name != worker)
        ]
        made = json.loads(printed.splitlines()[-1])
        return [Identity(urls, name, made[name]) for name in names]

    def agent(self, name: str, worker: str) -> BasicAgent:
        """Add a server and let its agent dial in to this worker."""
        return BasicAgent(self.cluster.url(worker), name, self.cluster.add(name))

    def json(self, worker: str, path: str) -> dict[str, Any]:
        """Ask a worker on a connection of its own: servers hang up those that are idle for some seconds."""
        visitor = self.visitor(worker)
        try:
            return visitor.json(path)
        finally:
            visitor.close()

    def visitor(self, worker: str) -> Visitor:
        """Return a logged-in browser's connection to a worker."""
        return Visitor(self.cluster.ports[worker], self.session)


@contextmanager
def running(server: str) -> Iterator[Panel]:
    """A panel under `uvicorn` or `serve`, ended with its data at the end."""
    with TemporaryDirectory(prefix="yumna-bench-") as folder:
        panel = Panel(Path(folder), server)
        try:
            yield panel.start()
        finally:
            panel.cluster.stop()


@dataclass(frozen=True)
class Answer:
    """What came back, and after how many seconds its last byte."""

    status: int
    body: bytes
    seconds: float

    def json(self) -> dict[str, Any]:
        """Return the body as an object."""
        return dict(json.loads(self.body))


class Visitor:
    """One keep-alive connection with the session's cookie."""

    def __init__(self, port: int, session: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._headers = {"Cookie": f"sessionid={session}"}

    def get(self, path: str) -> Answer:
        """Get a page."""
        started = time.perf_counter()
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        return Answer(answer.status, content, time.perf_counter() - started)

    def json(self, path: str) -> dict[str, Any]:
        """Get an object of one of the addresses that measure.

        Raises:
            RuntimeError: it was not answered.
        """
        answer = self.get(path)
        if answer.status != 200:
            raise RuntimeError(f"{path} answers {answer.status}: {answer.body[:500]!r}")
        return answer.json()

    def close(self) -> None:
        """Hang up."""
        self._connection.close()
