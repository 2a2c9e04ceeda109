"""`yumna` as a program: it needs no Django and no project, and says at once what is missing."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_facts import SERVER
from tests.cli.web import Asked, reply, serving
from tests.e2e.cluster import ROOT, until
from tunnel.cli.exits import Exit

PATIENCE = 60.0  # seconds a program may take on a busy machine
FOREIGN = ("django", "channels", "asgiref", "rest_framework", "redis", "daphne", "twisted", "tunnel.models")
LIST = {"count": 1, "next": None, "previous": None, "results": [SERVER]}


def environment(**more: str) -> dict[str, str]:
    """The environment of a laptop: nothing of a project in it."""
    ours = ("YUMNA_", "DJANGO_", "TUNNEL_", "DATABASE_", "REDIS_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"PYTHONPATH": str(ROOT)} | more


def yumna(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tunnel.cli.yumna", *words],
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_no_django_is_loaded_and_none_is_needed(tmp_path: Path):
    """A fresh interpreter in which Django cannot be imported lists servers, runs a command, and doctors."""
    code = f"""
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {FOREIGN!r}:
            raise ImportError(name + " is not installed here")

sys.meta_path.insert(0, Refuse())
from tunnel.cli import yumna
codes = [int(yumna.main(words.split())) for words in ("list", "show alpha", "run alpha -- x", "suspend alpha", "doctor")]
loaded = sorted(name for name in sys.modules if name.split(".")[0] in {FOREIGN!r} or name in {FOREIGN!r})
print(codes, loaded)
"""

    def answer(asked: Asked) -> bytes:
        if asked.path.endswith("/commands/"):
            return reply(200, {"data": {"exitCode": 0, "stdout": "up\n", "stderr": ""}})
        if asked.path.endswith("/suspend/"):
            return reply(200, {"agent_id": "alpha", "status": "suspended", "changed": True, "tunnel": "none"})
        if asked.path.endswith("/me/"):
            return reply(200, {"user": "ada", "scopes": ["view"], "groups": None, "expires_at": None})
        return reply(200, LIST)

    with serving(answer) as web:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=environment(YUMNA_URL=f"http://127.0.0.1:{web.port}", YUMNA_TOKEN="yta_x"),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert done.stdout.splitlines()[-1] == "[0, 0, 0, 0, 0] []", done
    assert "alpha suspended" in done.stdout


def test_without_a_panel_it_says_how_to_name_one(tmp_path: Path):
    ended = yumna(tmp_path, "list")
    assert (ended.returncode, ended.stdout) == (Exit.USAGE, "")
    assert ended.stderr == "error: no panel: give --url https://panel.example.org or set YUMNA_URL\n"


def test_in_a_project_it_names_the_program_of_the_project(tmp_path: Path):
    named = yumna(tmp_path, "list", DJANGO_SETTINGS_MODULE="some.settings")
    (tmp_path / "manage.py").write_text("")
    for ended in (named, yumna(tmp_path, "list")):
        assert ended.returncode == Exit.USAGE
        assert "on the panel's own host it is: python manage.py tunnel" in ended.stderr


def test_serve_is_for_the_panel_s_own_host(tmp_path: Path):
    ended = yumna(tmp_path, "serve")
    assert (ended.returncode, ended.stdout) == (Exit.USAGE, "")
    assert "python manage.py tunnel serve" in ended.stderr


@pytest.mark.parametrize(
    "words", [[], ["nonsense"], ["list", "--token", "yta_x"], ["--token=yta_x", "list"]], ids=str
)
def test_wrong_usage_is_2_and_a_token_is_no_argument(tmp_path: Path, words: list[str]):
    ended = yumna(tmp_path, *words)
    assert ended.returncode == Exit.USAGE
    assert "usage: yumna" in ended.stderr


def test_where_the_panel_is_may_be_said_before_and_after_the_command(tmp_path: Path):
    token = tmp_path / "token"
    token.write_text("yta_x")
    token.chmod(0o600)
    with serving(reply(200, LIST)) as web:
        where = ["--url", f"http://127.0.0.1:{web.port}", "--token-file", str(token)]
        before, after = yumna(tmp_path, *where, "list"), yumna(tmp_path, "list", *where)
    assert before.returncode == after.returncode == 0, (before, after)
    assert before.stdout == after.stdout != ""
    assert {asked.headers["authorization"] for asked in web.asked} == {"Token yta_x"}


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path):
    reader, writer = os.pipe()
    os.close(reader)
    with serving(reply(200, LIST)) as web:
        process = subprocess.Popen(
            [sys.executable, "-m", "tunnel.cli.yumna", "list"],
            cwd=tmp_path,
            env=environment(YUMNA_URL=f"http://127.0.0.1:{web.port}", YUMNA_TOKEN="x", PYTHONUNBUFFERED="1"),
            stdout=writer,
            stderr=subprocess.PIPE,
        )
        os.close(writer)
        _, told = process.communicate(timeout=PATIENCE)
    assert (process.returncode, told) == (141, b"")


def test_ctrl_c_while_the_panel_is_silent_is_130(tmp_path: Path):
    def silent(asked: Asked) -> None:
        asked.raw.recv(1)  # until the other side hangs up

    with serving(silent) as web:
        process = subprocess.Popen(
            [sys.executable, "-m", "tunnel.cli.yumna", "list"],
            cwd=tmp_path,
            env=environment(YUMNA_URL=f"http://127.0.0.1:{web.port}", YUMNA_TOKEN="x"),
            stderr=subprocess.PIPE,
        )
        until(lambda: web.asked, 30, "it asked")
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=10)
    assert (process.returncode, told) == (Exit.INTERRUPTED, b"")


def test_the_token_stands_in_no_process_list(tmp_path: Path):
    lines: list[bytes] = []

    def answer(asked: Asked) -> bytes:
        lines.append(Path(f"/proc/{process.pid}/cmdline").read_bytes())
        return reply(200, LIST)

    with serving(answer) as web:
        process = subprocess.Popen(
            [sys.executable, "-m", "tunnel.cli.yumna", "list"],
            cwd=tmp_path,
            env=environment(YUMNA_URL=f"http://127.0.0.1:{web.port}", YUMNA_TOKEN="yta_canary"),
            stdout=subprocess.DEVNULL,
        )
        assert process.wait(PATIENCE) == 0
    assert lines
    assert all(b"yta_canary" not in line for line in lines)


def on_terminal(folder: Path, words: list[str], **more: str) -> tuple[subprocess.Popen[bytes], int]:
    """Run it on a terminal of its own; return the process and the terminal's other side."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tunnel.cli.yumna", *words],
        cwd=folder,
        env={**environment(), "TERM": "xterm", **more},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    return process, ours


def read_until(ours: int, mark: bytes) -> bytes:
    """Read the terminal until a mark came, or the program ended."""
    data = b""
    while mark not in data:
        assert select.select([ours], [], [], PATIENCE)[0], f"only {data!r} came"
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        data += part
    return data


@pytest.mark.parametrize(
    ("words", "more", "coloured"),
    [
        (["list"], {}, True),
        (["list", "--no-color"], {}, False),
        (["--no-color", "list"], {}, False),
        (["list"], {"NO_COLOR": "1"}, False),
        (["list"], {"TERM": "dumb"}, False),
    ],
    ids=str,
)
def test_colours_are_for_terminals_and_can_be_switched_off(
    tmp_path: Path, words: list[str], more: dict[str, str], coloured: bool
):
    with serving(reply(200, LIST)) as web:
        where = {"YUMNA_URL": f"http://127.0.0.1:{web.port}", "YUMNA_TOKEN": "x"}
        process, ours = on_terminal(tmp_path, words, **where, **more)
        shown = read_until(ours, b"tunnels active")
        assert process.wait(PATIENCE) == 0
        os.close(ours)
    assert (b"\x1b[" in shown) is coloured


def test_watch_draws_over_itself_on_a_terminal_and_puts_it_back_in_order(tmp_path: Path):
    states = iter(["active", "offline"])

    def answer(asked: Asked) -> bytes:
        server = {**SERVER, "name": "evil\x1b[2J", "state": next(states, "suspended")}
        return reply(200, {"next": None, "results": [server]})

    with serving(answer) as web:
        where = {"YUMNA_URL": f"http://127.0.0.1:{web.port}", "YUMNA_TOKEN": "x", "NO_COLOR": "1"}
        process, ours = on_terminal(tmp_path, ["watch", "--interval", "0.5"], **where)
        shown = read_until(ours, b"Suspended")
        process.send_signal(signal.SIGINT)
        shown += read_until(ours, b"\x1b[?7h")
        assert process.wait(10) == Exit.INTERRUPTED
        os.close(ours)
    assert shown.count(b"\x1b[H") >= 3
    assert shown.count(b"\x1b[2J") == 1, "cleared once, by us"
    assert rb"evil\x1b[2J" in shown
    assert b"Ctrl-C stops" in shown


def test_watch_goes_on_while_the_panel_is_away_for_a_moment(tmp_path: Path):
    answers = [reply(200, LIST), reply(502, b"", "text/html"), reply(502, b"", "text/html")]

    def answer(asked: Asked) -> bytes:
        state = {"next": None, "results": [{**SERVER, "state": "offline"}]}
        return answers.pop(0) if answers else reply(200, state)

    with serving(answer) as web:
        process = subprocess.Popen(
            [sys.executable, "-m", "tunnel.cli.yumna", "watch", "--json", "--interval", "0.5"],
            cwd=tmp_path,
            env=environment(YUMNA_URL=f"http://127.0.0.1:{web.port}", YUMNA_TOKEN="x"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        first, second = process.stdout.readline(), process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=10)
    assert '"active"' in first
    assert '"offline"' in second
    assert process.returncode == Exit.INTERRUPTED
    assert told.count("not up to date: the proxy at") == 1
