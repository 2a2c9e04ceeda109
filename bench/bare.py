"""Starts programs that stand beside the panel in the table: one or two workers of an application, and a Redis."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.fleet import Fleet, Identity
from bench.panel import PATIENCE
from tests.e2e.cluster import UVICORN, Cluster, free_port, until
from yumna_panel.demo import certificate

FLEET = 16  # agents
HOST = "127.0.0.1"
DAPHNE = ["-m", "daphne", "-b", HOST, "{application}", "-v", "0", "-p"]


def uvicorn(application: str) -> list[str]:
    """Return the arguments of the panel's own Uvicorn for another application; the port follows."""
    return [application if part == "yumna_panel.asgi:application" else part for part in UVICORN]


def daphne(application: str) -> list[str]:
    """Return the arguments of a stock Daphne; the port follows."""
    return [application if part == "{application}" else part for part in DAPHNE]


class Bare(Cluster):
    """Workers of `command`; with `tls` they speak it, under a certificate for this machine."""

    def __init__(self, folder: Path, command: list[str], *, tls: bool = False, **environment: str) -> None:
        super().__init__(folder, "uvicorn", **environment)
        self._command = command
        self._certificate = certificate.ensure(folder, HOST) if tls else None

    def start(self, *workers: str) -> Bare:
        """Start Redis and the workers, and wait until they listen."""
        self.start_redis()
        for name in workers:
            self.start_worker(name)
        for name in workers:
            until(partial(_listens, self.ports[name]), 30, f"{name} listens; {self.log(name)}")
        return self

    def start_worker(self, name: str) -> None:
        """Start a worker."""
        command = list(self._command)
        if self._certificate is not None:
            files = [
                "--ssl-certfile",
                str(self._certificate.chain),
                "--ssl-keyfile",
                str(self._certificate.key),
            ]
            command[-1:-1] = files
        port = self.ports.setdefault(name, free_port())
        self._spawn(name, [sys.executable, *command, str(port)])

    def fleet(self, worker: str) -> Fleet:
        """Connect agents to a worker and wait for them."""
        scheme = "wss" if self._certificate else "ws"
        url = f"{scheme}://{HOST}:{self.ports[worker]}/tunnel"
        ca = self._certificate.authority if self._certificate else None
        return Fleet([Identity([url], name, "none") for name in names()], ca=ca).wait()

    def ask(self, worker: str, path: str) -> dict[str, Any]:
        """Ask a worker for JSON."""
        connection: http.client.HTTPConnection
        if self._certificate is None:
            connection = http.client.HTTPConnection(HOST, self.ports[worker], timeout=PATIENCE)
        else:
            tls = ssl.create_default_context(cafile=str(self._certificate.authority))
            connection = http.client.HTTPSConnection(HOST, self.ports[worker], timeout=PATIENCE, context=tls)
        connection.request("GET", path)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status != 200:
            raise RuntimeError(
                f"{path} answers {answer.status}: {content[:500]!r}; {self.log(worker)[-2000:]}"
            )
        return dict(json.loads(content))


@contextmanager
def running(
    command: list[str], *workers: str, tls: bool = False, environment: dict[str, str] | None = None
) -> Iterator[Bare]:
    """Workers of an application, ended with their data at the end."""
    with TemporaryDirectory(prefix="yumna-bench-") as folder:
        bare = Bare(Path(folder), command, tls=tls, **(environment or {}))
        try:
            yield bare.start(*workers)
        finally:
            bare.stop()


def names() -> list[str]:
    """The ids of the agents of a fleet."""
    return [f"fleet-{number:02d}" for number in range(FLEET)]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0
