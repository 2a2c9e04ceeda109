"""The panel as deploy/ runs it: its settings file, its two units' commands, production throughout."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.deploy.shipped import ROOT, command, replaced, text, variables
from tests.e2e.cluster import until
from tests.ports import free_port
from yumna_panel.embedded_redis import EmbeddedRedis, find_binary
from yumna_panel.redis_keeper import ensure_running, stop

PASSWORD = "correct horse battery staple"
BIN = Path(sys.executable).parent
START_DEADLINE = 60.0  # seconds; two seconds on a machine that has nothing else to do
WORKERS = ("--workers 4", "--workers 2")  # two cores are what a test may count on


class Panel:
    """Two web workers on `port`, a background worker, a Redis and a database file of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._processes: list[subprocess.Popen[bytes]] = []
        binary = find_binary()
        assert binary is not None
        (folder / "redis").mkdir(mode=0o700)
        redis = EmbeddedRedis(binary, folder / "redis")
        self._redis = ensure_running(redis)
        (folder / "secret_key").write_text(secrets.token_hex(32))
        settings = replaced(
            text("panel.env"),
            {
                "/var/lib/yumna-panel": f"{folder}/data",
                "/etc/yumna-panel/secret_key": f"{folder}/secret_key",
                "postgres:///yumna": f"sqlite:///{folder}/db.sqlite3",
                "redis://127.0.0.1:6379/0": redis.url,
            },
        )
        self.environment = {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "UVICORN_PORT": str(self.port),
            "TUNNEL_METRICS_ALLOW": "127.0.0.1",
            **variables(settings),
        }

    def start(self) -> "Panel":
        """Make the tables, the static files and an administrator, then start both units' programs."""
        self.manage("migrate", "-v0")
        self.manage("collectstatic", "--noinput", "-v0")
        self.manage("createsuperuser", "--noinput", "--username=admin", "--email=", PASSWORD=PASSWORD)
        web = " ".join(command("yumna-panel.service")).replace(*WORKERS)
        self._spawn("web", *web.split())
        self._spawn("background", *command("yumna-worker.service"))
        until(self._answers, START_DEADLINE, f"the web workers answer, see {self.folder}")
        return self

    def manage(self, *arguments: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a management command with the panel's settings."""
        extra = {f"DJANGO_SUPERUSER_{name}": value for name, value in more.items()}
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env={**self.environment, **extra},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def add(self, name: str) -> str:
        """Make a server and return its secret."""
        printed = self.manage("tunnel", "add", name, "--env").stdout
        return variables(printed)["AGENT_SECRET"]

    def log(self) -> str:
        """Return what the programs have written."""
        return "\n".join(path.read_text(errors="replace") for path in self.folder.glob("*.log"))

    def stop(self) -> None:
        """End everything as systemd does: SIGTERM to the main process alone."""
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            process.wait(30)
        if self._redis is not None:
            stop(self._redis)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def _spawn(self, name: str, path: str, *arguments: str) -> None:
        assert path.startswith("/opt/yumna-panel/.venv/bin/")
        with (self.folder / f"{name}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    [str(BIN / Path(path).name), *arguments],
                    cwd=ROOT,
                    env=self.environment,
                    stdout=log,
                    stderr=log,
                )
            )
