"""`make run` as a process for tests, in a data folder of its own with an awkward name."""

from __future__ import annotations

import http.client
import http.cookiejar
import json
import os
import queue
import re
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

import psutil

from tests.settings import MARK
from yumna_panel.demo.places import CHECKOUT, Places

START_DEADLINE = 90.0  # seconds; the demo itself gives up saying "ready" after 60
DEADLINE = 30.0  # seconds for anything else
NOT_INHERITED = (MARK, "REDIS_URL", "DATABASE_URL", "SSH_CONNECTION", "DISPLAY", "DATA_DIR", "HOST")


def clean_environment(data: Path) -> dict[str, str]:
    """Return the environment of a person who set nothing but where the data goes."""
    inherited = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    return {**inherited, "DATA_DIR": str(data), "DJANGO_SETTINGS_MODULE": "yumna_panel.settings"}


def eventually(fact, seconds: float = DEADLINE, pause: float = 0.05):
    """Wait until the fact is true, looking each `pause` seconds, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := fact()):
        assert time.monotonic() < deadline, f"not true within {seconds} s"
        time.sleep(pause)
    return found


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended; one that nobody waited for yet counts as ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Demo:
    """A running `make run`."""

    def __init__(self, data: Path, *arguments: str, inside: tuple[str, ...] = ()) -> None:
        """Start it; `inside` is a command that runs it somewhere else, such as in a network namespace."""
        self.places = Places(data)
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [*inside, sys.executable, "-m", "yumna_panel.demo", *arguments],
            cwd=CHECKOUT,
            env=clean_environment(data),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._arrived: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, name="demo output", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._arrived.put(line.rstrip("\n"))
        self._arrived.put(None)

    def wait_until_ready(self) -> Demo:
        """Wait for the block that is printed last; return self."""
        deadline = time.monotonic() + START_DEADLINE
        while not any(line.split() == ["stop", "Ctrl-C"] for line in self.lines):
            line = self._arrived.get(timeout=max(0.1, deadline - time.monotonic()))
            assert line is not None, f"it ended with {self.process.wait()}: {self.text}\n{self.logs()}"
            self.lines.append(line)
        return self

    @property
    def text(self) -> str:
        """Return what it printed."""
        return "\n".join(self.lines)

    @property
    def url(self) -> str:
        """Return the panel's address, without a slash at its end."""
        return re.search(r"is running\s+(https?://\S+)/admin/", self.text)[1]

    @property
    def password(self) -> str:
        """Return the printed password of the admin."""
        return re.search(r"log in as\s+admin / (\S+)", self.text)[1]

    def logs(self) -> str:
        """Return the logs of all programs."""
        parts = [
            f"== {path.name}\n{path.read_text(errors='replace')}" for path in self.places.logs.glob("*.log")
        ]
        return "\n".join(parts)

    def programs(self) -> dict[str, psutil.Process]:
        """Return the programs that run under the supervisor, by what tells them apart."""
        marks = {
            "redis": "redis.sock",
            "web": "yumna_panel.demo.web",
            "worker": "runworker",
            "agent": "agent_client",
        }
        found: dict[str, psutil.Process] = {}
        for process in self.supervisor().children():
            if is_gone(process.pid):
                continue
            line = " ".join(process.cmdline())
            name = next((name for name, mark in marks.items() if mark in line), "")
            found[f"{name}-{process.pid}" if name in found else name] = process
        return found

    def supervisor(self) -> psutil.Process:
        """Return the supervisor's process."""
        return psutil.Process(self.process.pid).children()[0]

    def manage(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a management command as from another shell."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=CHECKOUT,
            env={**clean_environment(self.places.data), **more},
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )

    def state(self) -> dict:
        """Return what it wrote down for others."""
        return json.loads(self.places.state.read_text())

    def stop(self, number: int = signal.SIGINT) -> int:
        """Ask it to stop as Ctrl-C does, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        while (line := self._arrived.get(timeout=1)) is not None:
            self.lines.append(line)
        self.process.stdout.close()
        return code


def remove_left_folders(places: Places) -> None:
    """Remove the folders outside the data folder of an agent whose demo was killed."""
    for note in places.agents.glob("*.folder"):
        shutil.rmtree(note.read_text(), ignore_errors=True)  # one that stopped by itself is gone


class Browser:
    """Just enough of a browser: cookies, forms, redirects."""

    def __init__(self, url: str, authority: Path | None = None) -> None:
        self.url = url
        context = ssl.create_default_context(cafile=str(authority)) if authority else None
        handlers = [
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()),
            urllib.request.ProxyHandler({}),
        ]
        handlers.append(urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, path: str) -> http.client.HTTPResponse:
        """Open a page, redirects followed."""
        return self._opener.open(self.url + path, timeout=DEADLINE)

    def log_in(self, path: str, user: str, password: str) -> http.client.HTTPResponse:
        """Open a page that asks for a login, fill the form in, and return where that leads."""
        page = self.get(path)
        form = page.read().decode()
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)[1]
        fields = {"csrfmiddlewaretoken": token, "username": user, "password": password}
        body = urllib.parse.urlencode(fields).encode()
        request = urllib.request.Request(page.url, data=body, headers={"Referer": page.url})
        return self._opener.open(request, timeout=DEADLINE)
