"""A PostgreSQL of a test's own: its data in a folder of its own, on a port of 127.0.0.1, stopped and started at will."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg

from tests.ports import free_port

DEBIAN = Path("/usr/lib/postgresql")  # where Debian keeps each version, beside everybody's PATH
SOMEBODY = "nobody"  # PostgreSQL refuses to run as root
PATIENCE = 60  # seconds; a start after an immediate stop reads its log again
# What is written need not outlive this machine, only the server.
OPTIONS = "-c fsync=off -c full_page_writes=off -c max_connections=60 -c shared_buffers=32MB"


def folder_of_programs() -> Path | None:
    """Return where `initdb` and `pg_ctl` are, the newest version first; None when there is no PostgreSQL here."""
    versions = sorted(DEBIAN.glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    on_path = shutil.which("initdb")
    found = [*versions, *([Path(on_path).parent] if on_path else [])]
    return next((path for path in found if (path / "initdb").exists() and (path / "pg_ctl").exists()), None)


class Postgres:
    """One server; `stop` and `start` as often as a test likes, `remove` at the end."""

    def __init__(self) -> None:
        programs = folder_of_programs()
        assert programs is not None, "there is no PostgreSQL here"
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="yumna-pg-", dir="/tmp"))
        self._data = self._folder / "data"
        self.port = free_port()
        self._user = SOMEBODY if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(self._folder, self._user)
        self._run("initdb", "-D", str(self._data), "-U", "yumna", "-A", "trust", "-E", "UTF8", "--no-sync")

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' {OPTIONS}"
        self._control("start", "-o", options, "-l", str(self._folder / "log"))

    def stop(self) -> None:
        """End it at once, as a power cut would: no client is told goodbye."""
        self._control("stop", "-m", "immediate")

    def pause(self) -> None:
        """Hold all its processes still: connections stay open, and nobody answers on them."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def url(self, database: str = "postgres") -> str:
        """Return DATABASE_URL for a database of it."""
        return f"postgres://yumna@127.0.0.1:{self.port}/{database}"

    def make(self, database: str) -> str:
        """Make a database and return its DATABASE_URL."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}"')
        return self.url(database)

    def remove(self) -> None:
        """End it and delete its data."""
        if (self._data / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self._folder)

    def _signal(self, number: int) -> None:
        first = psutil.Process(int((self._data / "postmaster.pid").read_text().split()[0]))
        for process in [first, *first.children(recursive=True)]:  # the first makes no others once it is still
            process.send_signal(number)

    def _control(self, what: str, *options: str) -> None:
        self._run("pg_ctl", what, "-D", str(self._data), "-w", "-t", str(PATIENCE), *options)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments],
            cwd=self._folder,
            user=self._user,
            extra_groups=[] if self._user else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # a pipe would stay open in the server
            stderr=subprocess.DEVNULL,
            timeout=2 * PATIENCE,
        )
        assert done.returncode == 0, f"{program} failed: {self.log()}"

    def log(self) -> str:
        """Return the end of what it has written."""
        path = self._folder / "log"
        return path.read_text(errors="replace")[-2000:] if path.exists() else ""


@contextmanager
def running() -> Iterator[Postgres]:
    """Run one while the block runs."""
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.remove()
