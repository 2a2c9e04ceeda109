"""`tunnel shell` on a terminal of its own, through a real panel to a shell of a real agent, at both ends."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.cli.test_both_ends import ENDS, Panel
from tests.cli.test_facts import SERVER
from tests.cli.test_yumna import environment
from tests.cli.web import Asked, reply, serving
from tests.e2e.cluster import ROOT, Cluster, until
from tests.e2e.real_agent import RealAgent
from tunnel.cli.exits import Exit
from tunnel.cli.keyboard import Escape, Escapes

pytestmark = pytest.mark.e2e
PATIENCE = 60.0
SCOPES = ["view", "open_shell", "run_command"]
# A shell that runs the program as a job; a typed line sends it on in the background, another one brings it back.
JOB = (
    "bash",
    "-c",
    'set -m; "$@"; echo it stopped; read; bg; until jobs -s | grep -q .; do sleep .1; done; '
    "echo it waits; read; fg >/dev/null",
    "job",
)


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    """Two workers; an agent at the second one, whose shells are plain, and a server that is away."""
    folder = tmp_path_factory.mktemp("shell")
    cluster = Cluster(folder, "uvicorn")
    made, agent = None, None
    try:
        cluster.start("a", "b")
        cluster.stock(2)
        secret, _ = cluster.add("alpha"), cluster.add("away")
        home = folder / "home"
        home.mkdir()
        (home / ".bash_profile").write_text(
            "PS1='$ '; unset PROMPT_COMMAND; [ ! -t 0 ] || bind 'set enable-bracketed-paste off'\n"
        )
        agent = RealAgent(folder / "alpha", [cluster.url("b")], "alpha", secret, HOME=str(home))
        until(lambda: "tunnel open" in agent.log, 20, "the agent is in")
        made = Panel(cluster, {})
        made.token = made.make_token("root", superuser=True, scopes=SCOPES)
        yield made
    finally:
        if made:
            made.close()
        if agent:
            agent.stop()
        cluster.stop()


class Typist:
    """The program on a terminal, and what it showed."""

    def __init__(self, panel: Panel, end: str, *words: str, inside: Sequence[str] = ()) -> None:
        self.ours, self.theirs = pty.openpty()
        self.size(80, 24)
        self.before = termios.tcgetattr(self.theirs)
        self.shown = b""
        self.process = subprocess.Popen(
            [*inside, *panel.command(end), "shell", *words],
            cwd=ROOT,
            env=panel.environment(end, TERM="xterm"),
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def size(self, cols: int, rows: int) -> None:
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def read(self, seconds: float) -> bool:
        if not select.select([self.ours], [], [], seconds)[0]:
            return False
        self.shown += os.read(self.ours, 65536)
        return True

    def see(self, mark: str, since: int = 0) -> None:
        """Read until something is shown."""
        deadline = time.monotonic() + PATIENCE
        while mark.encode() not in self.shown[since:]:
            assert time.monotonic() < deadline, f"no {mark!r} in {self.shown[-2000:]!r}"
            self.read(0.5)

    def ask(self, line: str, mark: str) -> None:
        since = len(self.shown)
        self.type(line + "\r")
        self.see(mark, since)

    def hang_up(self) -> None:
        """Close the window."""
        os.close(self.theirs)
        os.close(self.ours)
        self.ours, self.theirs = os.open(os.devnull, os.O_RDWR), os.open(os.devnull, os.O_RDWR)

    def ended(self) -> int:
        """Read to the end; return the exit code. The terminal must be as it was before."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end: {self.shown[-2000:]!r}"
            self.read(0.1)
        while self.read(0):
            pass
        assert termios.tcgetattr(self.theirs) == self.before
        return self.process.returncode


@contextmanager
def typing(panel: Panel, end: str, *words: str, inside: Sequence[str] = ()) -> Iterator[Typist]:
    typist = Typist(panel, end, *(words or ("alpha",)), inside=inside)
    try:
        yield typist
    finally:
        typist.process.kill()
        typist.process.wait()
        os.close(typist.ours)
        os.close(typist.theirs)


@pytest.mark.parametrize("end", ENDS[:2])
def test_a_shell_is_typed_in_resized_interrupted_and_its_exit_code_returned(panel: Panel, end: str):
    with typing(panel, end) as typist:
        typist.see("$ ")
        typist.ask("stty size", "24 80")
        typist.size(101, 33)
        os.kill(typist.process.pid, signal.SIGWINCH)
        typist.ask("until [ \"$(stty size)\" = '33 101' ]; do sleep .1; done; echo resi''zed", "resized")
        typist.type("sleep 99\r")
        typist.see("sleep 99")
        typist.ask("\x03", "^C")
        typist.ask("echo $TERM ~~", "xterm ~~")
        typist.type("exit 7\r")
        assert typist.ended() == 7
    opened = panel.cluster.sql("select actor, state from servers_commandrecord where action = 'open'")
    assert ("console" if end == "local" else "token cli") in opened[-1][0]
    assert opened[-1][1] == "succeeded"


@pytest.mark.parametrize("end", ENDS[:2])
def test_who_leaves_comes_back_to_the_shell_with_what_it_wrote_meanwhile(panel: Panel, end: str):
    with typing(panel, end) as typist:
        typist.see("$ ")
        typist.ask("X=kept", "$ ")
        typist.type("~?")
        typist.see("this help")
        typist.type("~.")
        assert typist.ended() == Exit.OWN_FAILURE
    shell = typist.shown.split(b"--attach ")[1].split()[0].decode()
    with typing(panel, end, "alpha", "--attach", shell) as again:
        again.see("X=kept")
        again.ask("echo $X-on", "kept-on")
        again.process.send_signal(signal.SIGTERM)
        assert again.ended() == 128 + signal.SIGTERM
        again.see(f"left; --attach {shell} comes back")
    with typing(panel, end, "alpha", "--attach", shell) as closed:
        closed.see("kept-on")
        closed.hang_up()
        assert closed.process.wait(PATIENCE) == 128 + signal.SIGHUP
    with typing(panel, end, "alpha", "--attach", shell) as last:
        last.see("kept-on")
        last.type("exit\r")
        assert last.ended() == 0


@pytest.mark.parametrize("end", ENDS[:2])
def test_a_worker_restarted_in_mid_output_loses_nothing(panel: Panel, end: str):
    worker = "b" if end == "local" else "a"  # that of the agent, that of the program
    with typing(panel, end) as typist:
        typist.see("$ ")
        typist.type("for i in $(seq 1 9); do seq -f \"$i-%g\" 1 2000; sleep .3; done; echo al''l\r")
        typist.see("2-1")
        panel.cluster.kill(worker)
        panel.cluster.start_worker(worker)
        typist.see("all\r")
        typist.type("exit 3\r")
        assert typist.ended() == 3
        lines = [line for line in typist.shown.decode().replace("\r", "").split("\n") if line[1:2] == "-"]
    assert "lost, your shell keeps running" in typist.shown.decode()
    assert lines == [f"{part}-{number}" for part in range(1, 10) for number in range(1, 2001)]


@contextmanager
def piped(panel: Panel, end: str, *line: str) -> Iterator[subprocess.Popen[bytes]]:
    """The program without a terminal, to be fed and read."""
    process = subprocess.Popen(
        [*panel.command(end), "shell", "alpha", *(("--", *line) if line else ())],
        cwd=ROOT,
        env=panel.environment(end, TERM="xterm"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            with suppress(BrokenPipeError):
                pipe.close()


@pytest.mark.parametrize("end", ENDS[:2])
def test_a_script_is_piped_in_and_its_outputs_come_apart_and_as_they_are(panel: Panel, end: str):
    script = b"test -t 0 -o -t 1 -o -t 2 || echo no terminal\necho one$((1)); echo two >&2\n(exit 4)\n"
    with piped(panel, end) as script_run, piped(panel, end, "cat; exit", "3") as line_run:
        noise = os.urandom(10 * 1024 * 1024)
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(script_run.communicate, script, PATIENCE)
            second = pool.submit(line_run.communicate, noise, PATIENCE)
            assert first.result() == (b"no terminal\none1\n", b"two\n")
            assert second.result() == (noise, b"")
        assert (script_run.returncode, line_run.returncode) == (4, 3)
    asked = "select action, params, actor, state from servers_commandrecord where action = 'pipe'"
    rows = [row for row in panel.cluster.sql(asked) if ("console" in row[2]) == (end == "local")]
    assert {row[3] for row in rows} == {"succeeded"}
    assert any("cat; exit 3" in str(row[1]) for row in rows)


def test_what_cannot_be_had_is_told_in_one_sentence(panel: Panel):
    looker = panel.make_token("looker", superuser=True, scopes=["view", "run_command"])
    for end, node, more, code in (
        ("local", "away", {}, Exit.OFFLINE),
        ("remote", "away", {}, Exit.OFFLINE),
        ("remote", "alpha", {"YUMNA_TOKEN": looker}, Exit.REFUSED),
        ("remote", "alpha", {"YUMNA_TOKEN": "yta_" + "x" * 43}, Exit.REFUSED),
        ("remote", "alhpa", {}, Exit.NO_SUCH_SERVER),
    ):
        ended = panel.ask(end, "shell", node, **more)
        assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (code, "", 1), ended


def test_escapes_count_at_the_start_of_a_line_alone():
    escapes = Escapes()
    assert escapes.feed(b"a~.\r~~b\r~x\r") == [b"a~.\r~b\r~x\r"]
    assert escapes.feed(b"~") == []
    assert escapes.feed(b"?ls\r~\x1a~.") == [Escape.HELP, b"ls\r", Escape.SUSPEND, Escape.LEAVE]


def test_a_reader_that_is_slow_holds_the_program_back(panel: Panel, tmp_path: Path):
    with typing(panel, "remote") as typist:
        typist.see("$ ")
        mark = tmp_path / "done"
        typist.type(f"head -c 3000000 /dev/zero | tr '\\0' x; touch {mark}\r")
        typist.see("xxxxx")
        time.sleep(1)  # nobody reads
        assert not mark.exists()
        until(lambda: typist.read(0.01) and mark.exists(), PATIENCE, "it went on", pause=0)
        typist.type("\rexit\r")
        assert typist.ended() == 0


def test_a_suspended_shell_leaves_the_terminal_in_order_and_goes_on(panel: Panel):
    with typing(panel, "remote", inside=JOB) as typist:

        def echoes() -> bool:
            return bool(termios.tcgetattr(typist.theirs)[3] & termios.ECHO)

        typist.see("$ ")
        typist.type("~\x1a")
        typist.see("it stopped")
        assert echoes()
        typist.size(90, 30)
        typist.ask("", "it waits")  # in the background it does not touch the terminal, which is another's
        assert echoes()
        typist.type("\r")
        until(lambda: not echoes(), PATIENCE, "raw again")
        typist.ask("until [ \"$(stty size)\" = '30 90' ]; do sleep .1; done; echo resi''zed", "resized")
        typist.type("exit 5\r")
        assert typist.ended() == 5


def test_a_redirect_is_not_followed_and_the_token_goes_nowhere_else():
    server = {**SERVER, "name": "alpha", "agent_id": "alpha"}
    with serving(reply(200, b"")) as elsewhere:
        there = f"http://127.0.0.1:{elsewhere.port}/tunnel/ws/alpha/shell/"

        def answer(asked: Asked) -> bytes:
            if asked.path.startswith("/tunnel/ws/"):
                return reply(302, b"", Location=there)
            return reply(200, {"next": None, "results": [server]})

        with serving(answer) as web:
            done = subprocess.run(
                [sys.executable, "-m", "tunnel.cli.yumna", "shell", "alpha"],
                cwd=ROOT,
                env=environment(YUMNA_URL=f"http://127.0.0.1:{web.port}", YUMNA_TOKEN="yta_canary"),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=PATIENCE,
                check=False,
            )
        assert web.asked[-1].headers["authorization"] == "Token yta_canary"
        assert "origin" not in web.asked[-1].headers
        assert elsewhere.asked == []
    assert b"a redirect is not followed with a token" in done.stderr
    assert b"canary" not in done.stderr
    assert (done.returncode, done.stdout) == (Exit.NO_LAYER, b"")
