"""A master of several processes on 127.0.0.1: real web workers, a background worker, Redis and a database."""

import fcntl
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from yumna_panel.embedded_redis import find_binary

ROOT = Path(__file__).resolve().parents[2]
UVICORN = [
    "-m",
    "uvicorn",
    "yumna_panel.asgi:application",
    "--host",
    "127.0.0.1",
    "--ws",
    "websockets-sansio",
]
UVICORN += ["--ws-per-message-deflate", "false", "--ws-max-size", "1048576", "--no-proxy-headers", "--port"]
SERVERS = {"uvicorn": UVICORN, "serve": ["manage.py", "tunnel", "serve", "-b", "127.0.0.1", "-p"]}

# Names the folder of this run of the tests; set by tests.settings, which the benchmarks must not import.
TESTS_FOLDER = "YUMNA_TESTS_FOLDER"
STOCK = """
from servers import identity
for number in range({number}):
    server, secret = identity.create(f"spare-{{number}}")
    print(server.agent_id, secret)
"""


def free_port() -> int:
    """Return a port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


BY_PROCESS = 0.5  # seconds between looks that start a process each, which else would keep a core busy


def until(fact: Callable[[], Any], seconds: float = 10.0, what: str = "", *, pause: float = 0.02) -> Any:
    """Return `fact()` once it is true, looking each `pause` seconds; fail when it has not become so in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = fact()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or fact}")
        time.sleep(pause)


class Cluster:
    """Processes with one database and one Redis of their own; `stop` ends all of them.

    The database is a file, or what `DATABASE_URL` in `environment` names. A worker runs on `server`, one of SERVERS, as
    it was when the worker was first started.
    """

    def __init__(self, folder: Path, server: str, **environment: str) -> None:
        self.folder = folder
        self.server = server
        self.redis_socket = (
            f"/tmp/yt-{os.getpid()}-{free_port()}.sock"  # short: a unix socket's path is limited
        )
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TUNNEL_")},
            "DJANGO_SETTINGS_MODULE": "tests.e2e.site",
            "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
            "DATA_DIR": str(folder / "data"),
            "REDIS_URL": f"unix://{self.redis_socket}",
            "PYTHONPATH": str(ROOT),
            **environment,
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports: dict[str, int] = {}
        self.servers: dict[str, str] = {}  # by worker
        self._stock: list[tuple[str, str]] = []

    def start(self, *workers: str) -> "Cluster":
        """Start Redis and the web workers, and wait until they answer."""
        self.start_redis()
        self.migrate()
        for name in workers:
            self.start_worker(name)
        for name in workers:
            self.wait_for(name)
        return self

    def migrate(self) -> None:
        """Make the tables; a file is copied from one in which this run of the tests made them before."""
        if not (self.on_a_file and TESTS_FOLDER in os.environ):
            self.manage("migrate", "-v0")
            return
        kept = Path(os.environ[TESTS_FOLDER]) / f"{self.environment['DJANGO_SETTINGS_MODULE']}.migrated"
        mine = self.folder / "db.sqlite3"
        with kept.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the processes of pytest-xdist share the file
            if not kept.exists():
                self.manage("migrate", "-v0")
                shutil.copy(mine, kept)
        shutil.copy(kept, mine)

    def start_redis(self) -> None:
        """Start Redis on its socket."""
        binary = find_binary()
        assert binary is not None
        options = ["--port", "0", "--unixsocket", self.redis_socket, "--save", "", "--appendonly", "no"]
        self._spawn("redis", [str(binary), *options])
        until(lambda: self._redis_answers(), 10, "Redis answers")

    def start_worker(self, name: str) -> None:
        """Start a web worker, on its former port and server if it had one."""
        port = self.ports.setdefault(name, free_port())
        server = self.servers.setdefault(name, self.server)
        self._spawn(name, [sys.executable, *SERVERS[server], str(port)])

    def wait_for(self, name: str, seconds: float = 30.0) -> None:
        """Wait until a web worker answers."""
        until(lambda: self._answers(self.ports[name]), seconds, f"{name} answers; {self.log(name)[-2000:]}")

    def start_background(self) -> None:
        """Start the background worker."""
        self._spawn("background", [sys.executable, "manage.py", "runworker"])

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a process a signal; for SIGKILL and SIGTERM wait until it is gone."""
        process = self.processes[name]
        process.send_signal(number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            process.wait(15)

    def freeze(self, name: str) -> None:
        """Hold a process still, but not in the middle of a write, which would lock the database for all."""
        with closing(self._connect()) as connection:
            if self.on_a_file:
                connection.execute("BEGIN IMMEDIATE")
            else:
                connection.execute("BEGIN")
                connection.execute("LOCK TABLE servers, tunnel_session, tunnel_worker IN EXCLUSIVE MODE")
            self.kill(name, signal.SIGSTOP)
            connection.rollback()

    def stop(self) -> None:
        """End every process."""
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
        Path(self.redis_socket).unlink(missing_ok=True)

    def url(self, name: str) -> str:
        """Where agents dial a worker."""
        return f"ws://127.0.0.1:{self.ports[name]}/tunnel"

    def new_url(self, name: str) -> str:
        """Where agents will dial a worker that is not started yet."""
        self.ports.setdefault(name, free_port())
        return self.url(name)

    def get(self, name: str, path: str, seconds: float = 15.0) -> dict[str, Any]:
        """Ask a worker over HTTP and return its JSON."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}{path}", timeout=seconds) as answer:
            return dict(json.load(answer))

    def manage(
        self, *arguments: str, check: bool = True, seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a management command."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            check=check,
            capture_output=True,
            text=True,
            timeout=seconds,
        )

    def python(self, code: str, seconds: float = 60) -> str:
        """Run code in a plain process with Django set up, as a Celery task would be; return what it prints."""
        done = self.manage("shell", "-v0", "-c", code, check=False, seconds=seconds)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def add(self, name: str) -> str:
        """Make a server and return its secret."""
        if self._stock:
            spare, secret = self._stock.pop()
            self.sql(f"UPDATE servers SET name = '{name}', agent_id = '{name}' WHERE agent_id = '{spare}'")
            return secret
        return self.python(f"from servers import identity; print(identity.create({name!r})[1])").splitlines()[
            -1
        ]

    def stock(self, number: int) -> None:
        """Make servers for the next calls of `add` in one process, where a test minds no others beside its own."""
        made = self.python(STOCK.format(number=number)).splitlines()[-number:]
        self._stock = [(agent_id, secret) for agent_id, secret in map(str.split, made)]

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Run plain SQL on the database."""
        with closing(self._connect()) as connection:
            cursor = connection.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    @property
    def on_a_file(self) -> bool:
        """Tell whether the database is SQLite's."""
        return self.environment["DATABASE_URL"].startswith("sqlite:")

    def log(self, name: str) -> str:
        """What a process has written so far."""
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _connect(self) -> Any:
        """Connect to the database; each statement is a transaction of its own."""
        if self.on_a_file:
            return sqlite3.connect(self.folder / "db.sqlite3", timeout=20, isolation_level=None)
        return psycopg.connect(self.environment["DATABASE_URL"], autocommit=True)

    def _spawn(self, name: str, command: list[str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, cwd=ROOT, env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def _redis_answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(self.redis_socket)
                probe.sendall(b"PING\r\n")
                return probe.recv(7) == b"+PONG\r\n"
            except OSError:
                return False

    @staticmethod
    def _answers(port: int) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/admin/login/", timeout=5).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True
