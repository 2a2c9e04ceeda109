"""A panel made as docs/existing-panel.md says: `django-admin startproject`, the edits of the page, real processes."""

from __future__ import annotations

import http.cookiejar
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.docs.pages import ROOT, page
from tests.e2e.cluster import UVICORN, free_port, until
from tests.ports import wait_for_port
from yumna_panel.embedded_redis import find_binary

PAGE = page("docs/existing-panel.md")
EDITS = ("apps", "layers", "urls", "asgi")
PASSWORD = "correct-horse-battery"
LOOKS = """
import json
from django.contrib.auth import get_user_model
from django.test import Client
from servers import identity
from servers.models import Server

users = get_user_model()
admin = users.objects.filter(is_superuser=True).first() or users.objects.create_superuser("admin", "a@example.org", "x")
Server.objects.exists() or identity.create("web-01")
client = Client(HTTP_HOST="localhost", raise_request_exception=False)
client.force_login(admin)
answers = [client.get(path) for path in %(paths)r]
print(json.dumps([(answer.status_code, answer.content.decode()) for answer in answers]))
"""
PYTHON = f"{shlex.quote(sys.executable)} "


def titled(title: str) -> list[str]:
    """The fenced blocks of the page whose title ends so."""
    return re.findall(rf'```\w+ title="[^"]*?{re.escape(title)}"\n(.*?)```', PAGE, re.DOTALL)


class Panel:
    """The project `mysite` in a folder, with its own database and Redis; `stop` ends its processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.redis_port = free_port(), free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
        }
        self._run([sys.executable, "-m", "django", "startproject", "mysite", str(folder)], check=True)
        self.write("mysite/__init__.py", "import tests.e2e.bare\n")

    # -- the project -----------------------------------------------------------------------------

    def edit(self, *edits: str) -> Panel:
        """Apply these edits of the page: a settings block is appended, another file is replaced by its block."""
        for edit in edits:
            blocks = re.findall(rf'```python title="([^"]+): {edit}"\n(.*?)```', PAGE, re.DOTALL)
            assert blocks, edit
            for name, block in blocks:
                self.write(name, self._here(block), append=name.endswith("settings.py"))
        return self

    def settings(self, lines: str) -> Panel:
        """Append to settings.py."""
        self.write("mysite/settings.py", lines, append=True)
        return self

    def write(self, name: str, text: str, *, append: bool = False) -> None:
        """Write a file of the project."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((path.read_text() if append else "") + "\n" + text)

    def replace(self, name: str, old: str, new: str) -> None:
        """Change a file of the project."""
        path = self.folder / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def once(self, part: str) -> str:
        """Run those commands of the page that hold `part`, and return what they print."""
        lines = [line for block in titled("once") for line in block.splitlines() if part in line]
        assert lines, part
        return "".join(self._shell(self._here(line)) for line in lines)

    def stays(self, part: str) -> None:
        """Start the one long-running command of the page that holds `part`."""
        (line,) = [line for block in titled("stays") for line in block.splitlines() if part in line]
        self.start(part, ["sh", "-c", self._here(line)])

    # -- processes -------------------------------------------------------------------------------

    def manage(self, *arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        """Run manage.py; both outputs are in `stdout`."""
        return self._run([sys.executable, "manage.py", *arguments], check=check)

    def check(self, *arguments: str) -> str:
        """What `manage.py check` says, with its exit code at the end."""
        done = self.manage("check", *arguments)
        return f"{done.stdout}\nexit {done.returncode}"

    def python(self, code: str) -> str:
        """Run code with Django set up and return what it prints."""
        done = self.manage("shell", "-v0", "-c", code)
        assert done.returncode == 0, done.stdout
        return done.stdout.strip()

    def looks(self, *paths: str) -> list[tuple[int, str]]:
        """What a superuser gets at these paths, as status and text; no server runs for it."""
        answers = json.loads(self.python(LOOKS % {"paths": list(paths)}).splitlines()[-1])
        return [(status, text) for status, text in answers]

    def start(self, name: str, command: list[str]) -> None:
        """Start a process whose output is kept in a log."""
        with (self.folder / f"{_slug(name)}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def start_redis(self) -> Panel:
        """Start a Redis at the address the settings have."""
        options = ["--port", str(self.redis_port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.start("redis", [str(find_binary()), *options, "--dir", str(self.folder)])
        wait_for_port(self.redis_port)
        return self

    def start_uvicorn(self, name: str = "uvicorn", port: int | None = None) -> None:
        """Start a web worker and wait until it listens."""
        port = port or self.port
        options = [option.replace("yumna_panel", "mysite") for option in UVICORN]
        self.start(name, [sys.executable, *options, str(port)])
        wait_for_port_of(self, name, port)

    def log(self, name: str) -> str:
        """What a process has written so far."""
        path = self.folder / f"{_slug(name)}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """End a process, and those it started, by a signal."""
        process = self.processes.pop(name)
        if process.poll() is None:
            os.killpg(process.pid, number)
        process.wait(15)

    def stop(self) -> None:
        """End every process."""
        for name in list(self.processes):
            self.kill(name, signal.SIGTERM if name != "redis" else signal.SIGKILL)

    # -- pages -----------------------------------------------------------------------------------

    def browser(self, admin: str = "/admin/", user: str = "admin") -> Browser:
        """Log a person in to the admin."""
        return Browser(f"http://127.0.0.1:{self.port}", admin, user)

    # -- helpers ---------------------------------------------------------------------------------

    def _here(self, text: str) -> str:
        """Put the addresses of this test in the place of the page's, which others may use."""
        text = text.replace("127.0.0.1:8000", f"127.0.0.1:{self.port}")
        text = text.replace("127.0.0.1:6379", f"127.0.0.1:{self.redis_port}")
        text = re.sub(r"(^|&& )python ", lambda found: f"{found[1]}exec {PYTHON}", text, flags=re.MULTILINE)
        return text.replace(
            "createsuperuser", "createsuperuser --noinput --username admin --email a@example.org"
        )

    def _shell(self, line: str) -> str:
        done = self._run(["sh", "-c", line])
        assert done.returncode == 0, f"{line}\n{done.stdout}"
        return done.stdout

    def _run(self, command: list[str], *, check: bool = False) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=90,
        )
        assert not check or done.returncode == 0, done.stdout
        return done


class Browser:
    """A session in the admin over HTTP, without a script engine."""

    def __init__(self, origin: str, admin: str, user: str) -> None:
        self.origin = origin
        self.cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))
        login = f"{admin}login/?next={admin}"
        self.get(login)
        status, text = self.post(login, {"username": user, "password": PASSWORD, "next": admin})
        assert status == 200, text[:500]
        assert 'id="id_password"' not in text, "the login was refused"

    def get(self, path: str) -> tuple[int, str]:
        """The status and text of a page."""
        return self._open(urllib.request.Request(self.origin + path))

    def post(self, path: str, fields: dict[str, Any]) -> tuple[int, str]:
        """Post a form as its page would."""
        token = next((cookie.value for cookie in self.cookies if cookie.name == "csrftoken"), "")
        data = urllib.parse.urlencode({**fields, "csrfmiddlewaretoken": token}).encode()
        return self._open(urllib.request.Request(self.origin + path, data))

    def _open(self, request: urllib.request.Request) -> tuple[int, str]:
        try:
            with self._opener.open(request, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as exc:
            return exc.code, exc.read().decode(errors="replace")


def wait_for_port_of(panel: Panel, name: str, port: int, seconds: float = 30) -> None:
    """Wait until a process listens; fail with its log when it ends before."""

    def listens() -> bool:
        process = panel.processes[name]
        assert process.poll() is None, panel.log(name)
        try:
            wait = urllib.request.urlopen(f"http://127.0.0.1:{port}/no-such-page", timeout=5)
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        wait.close()
        return True

    until(listens, seconds, f"{name} answers: {panel.log(name)}")


def _slug(name: str) -> str:
    return re.sub(r"\W+", "-", name)
