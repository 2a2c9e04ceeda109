"""`tunnel shell` on a terminal of its own, through a real panel to a shell of a real agent, at both ends."""

from __future__ import annotations

import base64
import fcntl
import os
import pty
import re
import select
import signal
import ssl
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from tests.agent.certificates import Authority
from tests.agent.test_dial import Proxy, listening
from tests.cli.test_both_ends import ENDS, MAKE_TOKEN, Panel
from tests.cli.test_facts import SERVER
from tests.cli.test_yumna import environment
from tests.cli.web import Asked, reply, serving
from tests.e2e.cluster import ROOT, Cluster, free_port, until
from tests.e2e.real_agent import RealAgent
from tests.faults import counts
from tunnel.cli import address
from tunnel.cli.exits import Exit
from tunnel.cli.keyboard import Escape, Escapes
from tunnel.cli.program import BROKEN_PIPE
from tunnel.cli.rest_errors import Unreachable
from tunnel.cli.shell_socket import SocketWay
from tunnel.cli.shell_way import WayLost

pytestmark = pytest.mark.e2e
PATIENCE = 60.0
STILL = 1.5  # seconds in which nothing moves
BOTH = ENDS[:2]
WORKERS = ("a", "b")
# In one process, whose start costs more than all it does: two servers, and tokens of two people.
MAKE = "\n".join(
    (
        "from servers import identity",
        "print(identity.create('alpha', agent_id='alpha')[1])",
        "identity.create('away', agent_id='away')",
        *(
            MAKE_TOKEN.format(user=user, superuser=True, scopes=scopes, grant="")
            for user, scopes in (
                ("root", ["view", "open_shell", "run_command"]),
                ("looker", ["view", "open_shell"]),
            )
        ),
    )
)
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
    cluster = Cluster(folder, "uvicorn", DEBUG="1", ALLOWED_HOSTS="127.0.0.1,panel.test")
    made, agent = None, None
    try:
        cluster.start_redis()
        cluster.migrate()
        for worker in WORKERS:
            cluster.start_worker(worker)
        secret, token, looker = cluster.python(MAKE).splitlines()[-3:]  # while they start
        home = folder / "home"
        home.mkdir()
        (home / ".bash_profile").write_text(
            "PS1='$ '; unset PROMPT_COMMAND; [ ! -t 0 ] || bind 'set enable-bracketed-paste off'\n"
        )
        agent = RealAgent(folder / "alpha", [cluster.new_url("b")], "alpha", secret, HOME=str(home))
        made = Panel(cluster, {"looker": looker}, token)
        for worker in WORKERS:
            cluster.wait_for(worker, PATIENCE)
        until(lambda: "tunnel open" in agent.log, PATIENCE, "the agent is in")
        yield made
    finally:
        if agent:
            agent.process.terminate()  # all end side by side
        if made:
            made.close()
        if agent:
            agent.stop()
        cluster.stop()


@pytest.fixture(scope="module")
def encrypted(panel: Panel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """TLS before the first worker, for panel.test and not for this machine: the authority's file, and the port."""
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    authority.server(name="panel.test", address="192.0.2.9")
    chain = next(folder.glob("panel.test-*.pem"))
    port = free_port()
    front = [
        sys.executable,
        "-m",
        "tests.faults.tls_front",
        "127.0.0.1",
        str(port),
        str(panel.cluster.ports["a"]),
    ]
    process = subprocess.Popen(
        [*front, str(chain), str(chain.with_suffix(".key"))], cwd=ROOT, stdout=subprocess.PIPE
    )
    try:
        assert b"listens" in process.stdout.readline()
        yield authority.file, port
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def at_both_ends(scenario: Callable[[str], None]) -> None:
    """Play the same at both ends, side by side."""
    with ThreadPoolExecutor(len(BOTH)) as pool:
        for played in [pool.submit(scenario, end) for end in BOTH]:
            played.result()


class Typist:
    """The program on a terminal, and what it showed."""

    def __init__(
        self, panel: Panel, end: str, *words: str, inside: Sequence[str] = (), **environment: str
    ) -> None:
        self.ours, self.theirs = pty.openpty()
        self.size(80, 24)
        self.before = termios.tcgetattr(self.theirs)
        self.shown = b""
        self.process = subprocess.Popen(
            [*inside, *panel.command(end), "shell", *words],
            cwd=ROOT,
            env=panel.environment(end, TERM="xterm", **environment),
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
def typing(
    panel: Panel, end: str, *words: str, inside: Sequence[str] = (), **environment: str
) -> Iterator[Typist]:
    typist = Typist(panel, end, *(words or ("alpha",)), inside=inside, **environment)
    try:
        yield typist
    finally:
        typist.process.kill()
        typist.process.wait()
        os.close(typist.ours)
        os.close(typist.theirs)


@contextmanager
def piped(
    panel: Panel,
    end: str,
    *line: str,
    given: int = subprocess.PIPE,
    inside: Sequence[str] = (),
    **environment: str,
) -> Iterator[subprocess.Popen[bytes]]:
    """The program without a terminal, to be fed and read."""
    process = subprocess.Popen(
        [*inside, *panel.command(end), "shell", "alpha", *(("--", *line) if line else ())],
        cwd=ROOT,
        env=panel.environment(end, TERM="xterm", **environment),
        stdin=given,
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
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


def test_a_shell_is_typed_in_resized_interrupted_left_and_come_back_to_and_its_exit_code_returned(
    panel: Panel,
):
    def scenario(end: str) -> None:
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
            typist.ask("X=kept", "$ ")
            typist.type("~?")
            typist.see("this help")
            typist.type("~.")
            assert typist.ended() == Exit.OWN_FAILURE
        shell = typist.shown.split(b"left; --attach ")[1].split()[0].decode()
        if end == "remote":
            leave_by_signals(panel, shell)
        with typing(panel, end, "alpha", "--attach", shell) as again:
            again.see("X=kept")
            again.ask("echo $X-on", "kept-on")
            again.type("exit 7\r")
            assert again.ended() == 7

    at_both_ends(scenario)
    opened = panel.cluster.sql("select actor, state from servers_commandrecord where action = 'open'")
    assert {actor.partition(":")[0] for actor, _ in opened} == {"console", "root (token cli)"}
    assert {state for _, state in opened} == {"succeeded"}


def leave_by_signals(panel: Panel, shell: str) -> None:
    """Come back to a shell and leave it by a signal, then by closing the window; another person may only watch it."""
    looker = {"YUMNA_TOKEN": panel.secrets["looker"]}
    with typing(panel, "remote", "alpha", "--attach", shell, **looker) as watching:
        watching.see("X=kept")
        watching.see("you may only watch this shell")
        watching.type("~.")
        assert watching.ended() == Exit.OWN_FAILURE
    with typing(panel, "remote", "alpha", "--attach", shell) as terminated:
        terminated.see("X=kept")
        terminated.process.send_signal(signal.SIGTERM)
        assert terminated.ended() == 128 + signal.SIGTERM
        terminated.see(f"left; --attach {shell} comes back")
    with typing(panel, "remote", "alpha", "--attach", shell) as closed:
        closed.see("X=kept")
        closed.hang_up()
        assert closed.process.wait(PATIENCE) == 128 + signal.SIGHUP


def test_workers_restarted_in_mid_output_lose_nothing_of_a_shell_and_end_one_at_pipes(
    panel: Panel, tmp_path: Path
):
    enough = tmp_path / "enough"
    line = "i=0; until test -e '{}'; do i=$((i+1)); seq -f \"$i-%g\" 1 2000; sleep .3; done; echo al''l\r"
    sleep = "echo $$; exec sleep 99"
    with ExitStack() as stack:
        local, remote = (stack.enter_context(typing(panel, end)) for end in BOTH)
        pipe = stack.enter_context(piped(panel, "remote", sleep))
        for typist in (local, remote):
            typist.see("$ ")
            typist.type(line.format(enough))
            typist.see("2-1")
        # The first one has the program's socket, the second one the agent's.
        assert restart(panel, "a", remote) == "panel"
        assert pipe.wait(PATIENCE) == Exit.OWN_FAILURE
        assert b"the connection to the panel broke, and the shell ended with it" in pipe.stderr.read()
        second_pipe = stack.enter_context(piped(panel, "remote", sleep))
        pids = [int(one.stdout.readline()) for one in (pipe, second_pipe)]
        assert restart(panel, "b", local, remote) == "tunnel"
        assert second_pipe.wait(PATIENCE) == Exit.OWN_FAILURE
        assert b" was lost, and the shell ended with it" in second_pipe.stderr.read()
        until(lambda: not any(psutil.pid_exists(pid) for pid in pids), PATIENCE, "the node's programs ended")
        enough.touch()
        for typist in (local, remote):
            typist.see("all\r")
            typist.type("exit 3\r")
            assert typist.ended() == 3
            assert output(typist) == "".join(
                f"{part}-{number}\r\n" for part in range(1, parts(typist) + 1) for number in range(1, 2001)
            )


NOTE = re.compile(r"\r\n(?:panel lost|tunnel lost|connected again)[^\r]*\r\n")  # anywhere, within a line too


def output(typist: Typist) -> str:
    """Return what the loop wrote, byte for byte."""
    shown = NOTE.sub("", typist.shown.decode())
    return shown[shown.index("\r\n1-1\r\n") + 2 : shown.index("all\r")]


def parts(typist: Typist) -> int:
    """Return how many times it ran."""
    return int(output(typist).rpartition("-")[0].rpartition("\n")[2])


def restart(panel: Panel, worker: str, *typists: Typist) -> str:
    """Kill a worker and start it anew; return what the program said it had lost, when all are back."""
    seen = [len(typist.shown) for typist in typists]
    panel.cluster.kill(worker)
    panel.cluster.start_worker(worker)
    for typist, since in zip(typists, seen, strict=True):
        typist.see("connected again", since)
    told = {
        typist.shown[since:].split(b" lost, your shell keeps running")[0].split()[-1]
        for typist, since in zip(typists, seen, strict=True)
    }
    (what,) = told
    return what.decode()


def test_a_script_is_piped_in_and_its_outputs_come_apart_and_as_they_are(panel: Panel):
    script = b"test -t 0 -o -t 1 -o -t 2 || echo no terminal; echo two >&2\ncat; exit 4\n"

    def scenario(end: str) -> None:
        noise = os.urandom((1 if end == "local" else counts.count(4, 10)) * 1024 * 1024)
        with piped(panel, end) as run:
            assert run.communicate(script + noise, PATIENCE) == (b"no terminal\n" + noise, b"two\n")
            assert run.returncode == 4

    at_both_ends(scenario)
    ran = panel.cluster.sql("select actor, state from servers_commandrecord where action = 'pipe'")
    assert {actor.partition(":")[0] for actor, _ in ran} == {"console", "root (token cli)"}
    assert {state for _, state in ran} == {"succeeded"}


def test_input_that_a_program_leaves_unread_does_not_hold_its_end_back(panel: Panel, tmp_path: Path):
    given = tmp_path / "given"
    given.write_bytes(bytes(3 * 1024 * 1024))

    def scenario(end: str) -> None:
        with given.open("rb") as source, piped(panel, end, "sleep 1; exit 3", given=source.fileno()) as run:
            assert (run.wait(PATIENCE), run.stderr.read()) == (3, b"")

    at_both_ends(scenario)


def test_both_directions_are_held_back_and_nothing_is_lost_by_it(panel: Panel, tmp_path: Path):
    noise, gate = os.urandom(6 * 1024 * 1024), tmp_path / "gate"
    with piped(panel, "remote", f"until test -e '{gate}'; do sleep .1; done; tee '{gate}'") as one:
        os.set_blocking(one.stdin.fileno(), False)
        given = push(one, noise)
        assert given < 2 * 1024 * 1024  # the program reads nothing, and what is on its way is bounded
        gate.touch()
        given += push(one, noise[given:])
        assert given < len(noise)  # nobody reads what it writes
        assert gate.stat().st_size < 4 * 1024 * 1024
        os.set_blocking(one.stdin.fileno(), True)
        out, err = one.communicate(noise[given:], PATIENCE)
        assert (out, err, one.returncode) == (noise, b"", 0)
    assert gate.read_bytes() == noise


def push(process: subprocess.Popen[bytes], data: bytes) -> int:
    """Write as much as is taken, until nothing is taken for a while; return how much that was."""
    given = 0
    while given < len(data) and select.select([], [process.stdin], [], STILL)[1]:
        given += process.stdin.raw.write(data[given : given + 65536]) or 0
    return given


def test_whatever_ends_one_without_a_terminal_ends_the_other_side_too(panel: Panel):
    with ExitStack() as stack, subprocess.Popen(["yes"], stdout=subprocess.PIPE) as yes:

        def start(
            line: str, given: int = subprocess.PIPE, inside: Sequence[str] = ()
        ) -> subprocess.Popen[bytes]:
            return stack.enter_context(piped(panel, "remote", line, given=given, inside=inside))

        sleep = "echo $$; exec sleep 99"
        terminated, interrupted, deaf = start(sleep), start(sleep), start("echo $$; exec yes")
        spared = start("echo $$; read it; exit 6", inside=("sh", "-c", "trap '' HUP INT; exec \"$@\"", "sh"))
        killed = start("head -n 1; kill -9 $$", yes.stdout.fileno())
        pids = [int(one.stdout.readline()) for one in (terminated, interrupted, deaf)]
        spared.stdout.readline()
        spared.send_signal(signal.SIGHUP)  # the terminal hangs up, and nohup has all of us ignore that
        spared.send_signal(signal.SIGINT)
        spared.communicate(b"it goes on\n", PATIENCE)
        assert spared.returncode == 6
        terminated.send_signal(signal.SIGTERM)
        interrupted.send_signal(signal.SIGINT)
        deaf.stdout.close()
        for one, code in (
            (terminated, 128 + signal.SIGTERM),
            (interrupted, Exit.INTERRUPTED),
            (deaf, BROKEN_PIPE),
            (killed, 128 + signal.SIGKILL),
        ):
            assert one.wait(PATIENCE) == code
            assert one.stderr.read() == b""
        assert killed.stdout.read() == b"y\n"
        yes.kill()
        until(lambda: not any(psutil.pid_exists(pid) for pid in pids), PATIENCE, "the node's programs ended")


def test_over_tls_with_an_authority_of_ones_own_directly_or_by_way_of_a_proxy(
    panel: Panel, encrypted: tuple[Path, int]
):
    authority, port = encrypted
    proxy = Proxy(port)
    noise = os.urandom(1024 * 1024)
    with listening(proxy) as at:
        there = {
            "YUMNA_URL": f"https://panel.test:{port}",
            "YUMNA_CA_FILE": str(authority),
            "HTTPS_PROXY": f"http://some%20body:w%40rd@127.0.0.1:{at}",
        }
        with (
            typing(panel, "remote", **there) as typist,
            piped(panel, "remote", "cat", **there) as pipe,
        ):
            assert pipe.communicate(noise, PATIENCE) == (noise, b"")
            typist.see("$ ")
            typist.ask("echo he''re", "here")
            typist.type("exit 6\r")
            assert (typist.ended(), pipe.returncode) == (6, 0)
        for wrong, name in (
            ({"YUMNA_CA_FILE": ""}, "panel.test"),
            ({"YUMNA_URL": f"https://localhost:{port}"}, "localhost"),
        ):
            refused = panel.ask("remote", "shell", "alpha", "--", "cat", **there | wrong)
            assert (refused.code, refused.stdout) == (Exit.NO_LAYER, "")
            assert f"the certificate of https://{name}:{port} is not trusted" in refused.stderr
    asked = {head.splitlines()[0].rpartition(" ")[0] for head in proxy.heads}
    assert asked == {f"CONNECT panel.test:{port}"}
    assert len(proxy.heads) >= 2 * 2  # for REST and for the socket of both
    login = base64.b64encode(b"some body:w@rd").decode()
    assert all(f"Proxy-Authorization: Basic {login}".lower() in head.lower() for head in proxy.heads)
    assert panel.token not in "".join(proxy.heads)


async def test_the_socket_for_a_shell_shows_its_token_to_no_certificate_of_another_name(tmp_path: Path):
    authority = Authority(tmp_path)
    tls = ssl.create_default_context(cafile=str(authority.file))
    with serving(reply(200), authority.server(name="other.test", address="192.0.2.9")) as web:
        way = SocketWay(address.parse(f"https://localhost:{web.port}"), "yta_canary", tls, "", "alpha")
        with pytest.raises(Unreachable, match=r"localhost.* is not trusted: Hostname mismatch") as told:
            await way.run({"t": "pipe", "lang": ""}, None)
        assert told.value.sent is False
        with pytest.raises(WayLost, match="is not trusted"):  # coming back is tried again
            await way.run({"t": "attach"}, None)
        assert web.asked == []


def test_what_cannot_be_had_is_told_in_one_sentence(panel: Panel):
    looker = {"YUMNA_TOKEN": panel.secrets["looker"]}
    for end, words, more, code in (
        ("local", ["away"], {}, Exit.OFFLINE),
        ("remote", ["away"], {}, Exit.OFFLINE),
        ("remote", ["alpha"], looker, Exit.REFUSED),
        ("remote", ["alpha"], {"YUMNA_TOKEN": "yta_" + "x" * 43}, Exit.REFUSED),
        ("remote", ["alhpa"], {}, Exit.NO_SUCH_SERVER),
        ("remote", ["alpha", "--attach", str(uuid4())], {}, Exit.USAGE),
        ("remote", ["alpha", "--", "x" * 20_000], {}, Exit.USAGE),
    ):
        ended = panel.ask(end, "shell", *words, **more)
        assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (code, "", 1), ended
    with typing(panel, "remote", "away") as away:
        assert away.ended() == Exit.OFFLINE
    assert "not connected" in away.shown.decode()


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
    only_shells = panel.secrets["looker"]  # a terminal takes no more than the right to open shells
    with typing(panel, "remote", inside=JOB, YUMNA_TOKEN=only_shells) as typist:

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
