"""Every command at both ends of one real panel: the same output, the same exit codes, whatever goes wrong."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from agent_client import doctor
from tests.agent.test_dial import listening
from tests.agent.test_doctor import settings, stripping
from tests.e2e.basic_agent import BasicAgent
from tests.e2e.cluster import ROOT, Cluster, until
from tests.e2e.real_agent import RealAgent
from tunnel.cli import yumna
from tunnel.cli.commands import COMMANDS
from tunnel.cli.exits import Exit

pytestmark = pytest.mark.e2e

PATIENCE = 60.0  # seconds a program may take on a busy machine
HOSTILE = "web\x1b[2J\r\n\u202egnp"  # clears a screen, starts a line, turns it round
ESCAPED = r"web\x1b[2J\r\n\u202egnp"
NAMES = ("alpha", "bravo", "mute", "hostile", "away", "new-one", "held")
ENDS = ("local", "remote", "remote by manage.py")
MAKE_TOKEN = """
from django.contrib.auth import get_user_model
from servers import tokens
user, _ = get_user_model().objects.get_or_create(username={user!r}, is_superuser={superuser}, is_staff=True)
{grant}
print(tokens.create(user, "cli", {scopes!r})[1])
"""
ALL = ["view", "change", "run_command", "open_shell", "rotate_secret"]


@dataclass
class Ended:
    """How a program ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines()]


class Panel:
    """A cluster with nodes of every kind, and the programs that ask it."""

    def __init__(self, cluster: Cluster, secrets: dict[str, str], token: str = "") -> None:
        self.cluster = cluster
        self.secrets = secrets
        self.url = f"http://127.0.0.1:{cluster.ports['a']}"
        self.token = token or self.make_token("root", superuser=True, scopes=ALL)
        self._console = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.console"],
            cwd=ROOT,
            env=cluster.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        self._console.stdin.close()
        self._console.wait(PATIENCE)
        self._console.stdout.close()

    def make_token(self, user: str, *, superuser: bool, scopes: list[str], grant: str = "") -> str:
        code = MAKE_TOKEN.format(user=user, superuser=superuser, scopes=scopes, grant=grant)
        return self.cluster.python(code).splitlines()[-1]

    def command(self, end: str) -> list[str]:
        if end == "local":
            return [sys.executable, "manage.py", "tunnel"]
        if end == "remote":
            return [sys.executable, "-m", "tunnel.cli.yumna"]
        return [sys.executable, "manage.py", "tunnel", "--url", self.url]

    def environment(self, end: str, **more: str) -> dict[str, str]:
        if end == "local":
            return self.cluster.environment | more
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("TUNNEL_", "DJANGO_", "REDIS_", "DATABASE_"))
        }
        needed = {"DJANGO_SETTINGS_MODULE": "tests.e2e.site"} if "manage" in end else {"YUMNA_URL": self.url}
        return kept | {"YUMNA_TOKEN": self.token, "PYTHONPATH": str(ROOT), **needed} | more

    def ask(self, end: str, *words: str, **environment: str) -> Ended:
        """Run a command in a process that is there already; its startup is another test's matter."""
        if end == "local":
            self._console.stdin.write(json.dumps(words) + "\n")
            self._console.stdin.flush()
            return Ended(**json.loads(self._console.stdout.readline()))
        given = {"YUMNA_URL": self.url, "YUMNA_TOKEN": self.token, "DJANGO_SETTINGS_MODULE": ""} | environment
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for _ in range(2))
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            for name, value in given.items():
                patch.setenv(name, value)
            patch.chdir("/")
            try:
                code = yumna.main(words)
            except SystemExit as exc:
                code = int(exc.code or 0)
        for wrapper in (out, err):
            wrapper.flush()
        stdout, stderr = (wrapper.buffer.getvalue().decode() for wrapper in (out, err))
        return Ended(int(code), stdout, stderr)

    def program(self, end: str, *words: str, **environment: str) -> Ended:
        """Run a command as a process of its own."""
        done = subprocess.run(
            [*self.command(end), *words],
            cwd=ROOT,
            env=self.environment(end, **environment),
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    """Two workers; nodes that answer, that never do, that are suspended, away, new, and one that is hostile."""
    folder = tmp_path_factory.mktemp("both")
    cluster = Cluster(folder, "uvicorn", TUNNEL_API_COMMANDS_A_MINUTE="0", TUNNEL_API_READS_A_MINUTE="0")
    agents: list[Any] = []
    stop = threading.Event()

    def ping() -> None:
        while not stop.wait(5):  # a basic agent that says nothing for a minute is dead
            for agent in agents[2:]:
                agent.ping()

    pinging = threading.Thread(target=ping, name="pings", daemon=True)
    made = None
    try:
        cluster.start("a", "b")
        cluster.start_background()
        secrets = add_all(cluster)
        agents += [
            RealAgent(folder / name, [cluster.url("b")], name, secrets[name]) for name in ("alpha", "bravo")
        ]
        agents.append(BasicAgent(cluster.url("a"), "mute", secrets["mute"], lambda message: None))
        agents.append(BasicAgent(cluster.url("b"), "hostile", secrets["hostile"], hostile_answer))
        gone = BasicAgent(cluster.url("a"), "away", secrets["away"])
        gone.wait_for("HANDSHAKE_ACK")
        gone.stop()
        for agent in agents[:2]:
            until(lambda agent=agent: "tunnel open" in agent.log, 20, "the agent is in")
        for agent in agents[2:]:
            agent.wait_for("HANDSHAKE_ACK")
        pinging.start()
        made = Panel(cluster, secrets)
        until(
            lambda: cluster.sql("select count(*) from tunnel_session where closed_at is not null")[0][0] == 1,
            15,
            "the session of the node that is away ended",
        )
        yield made
    finally:
        stop.set()
        if made:
            made.close()
        for agent in agents:
            agent.stop()
        cluster.stop()


def hostile_answer(message: dict[str, Any]) -> dict[str, Any]:
    data = {"exitCode": 0, "stdout": "\x1b]0;owned\x07\r\n\u202etxt\n", "stderr": "\x1b[31mred\n"}
    return {"requestId": message["id"], "status": "success", "data": data, "error": None}


def add_all(cluster: Cluster) -> dict[str, str]:
    """Make the servers and return their secrets by agent id."""
    code = (
        "import json; from servers.models import *; from servers import identity\n"
        f"secrets = {{name: identity.create(name)[1] for name in {NAMES!r}}}\n"
        "web, evil = (Tag.objects.create(name=name) for name in ('web', 'evil'))\n"
        "[server.tags.add(web) for server in Server.objects.filter(name__in=['alpha', 'bravo'])]\n"
        "Server.objects.get(name='hostile').tags.add(evil)\n"
        "identity.suspend(Server.objects.get(name='held'))\n"
        f"Server.objects.filter(name='hostile').update(name={HOSTILE!r})\n"
        "Server.objects.create(name='plain', agent_id='plain', connection_type='ssh')\n"
        "print(json.dumps(secrets))"
    )
    return dict(json.loads(cluster.python(code).splitlines()[-1]))


# Exit codes --------------------------------------------------------------------------------------------------------

CASES: dict[str, tuple[list[str], int]] = {
    "list": (["list"], Exit.DONE),
    "list of a tag": (["list", "--tag", "web"], Exit.DONE),
    "list of no state": (["list", "--state", "nonsense"], Exit.USAGE),
    "show": (["show", "alpha"], Exit.DONE),
    "show a hostile one": (["show", "hostile"], Exit.DONE),
    "show nobody": (["show", "alhpa"], Exit.NO_SUCH_SERVER),
    "show an odd word": (["show", 'a "b, c\t%&#?/../'], Exit.NO_SUCH_SERVER),
    "add one that is there": (["add", "alpha"], Exit.USAGE),
    "add an impossible one": (["add", "x", "--agent-id", "a b"], Exit.USAGE),
    "add no name": (["add", ""], Exit.USAGE),
    "add with a tag too long": (["add", "fine", "--tag", "x" * 60], Exit.USAGE),
    "run": (["run", "alpha", "--", "true"], Exit.DONE),
    "run, its own code": (["run", "alpha", "--", "sh", "-c", "exit 7"], 7),
    "run, its signal": (["run", "alpha", "--shell", "--", "kill -9 $$"], 137),
    "run on one away": (["run", "away", "--", "true"], Exit.OWN_FAILURE),
    "run on one suspended": (["run", "held", "--", "true"], Exit.OWN_FAILURE),
    "run on nobody": (["run", "alhpa", "--", "true"], Exit.OWN_FAILURE),
    "run on one that is silent": (["run", "mute", "--timeout", "0.5", "--", "true"], Exit.OWN_FAILURE),
    "run too long": (["run", "alpha", "--timeout", "0.5", "--", "sleep", "9"], Exit.OWN_FAILURE),
    "run nothing": (["run", "alpha"], Exit.USAGE),
    "run nowhere": (["run", "--", "true"], Exit.USAGE),
    "run on many": (["run", "--tag", "web", "--", "true"], Exit.DONE),
    "run on many, some fail": (["run", "alpha", "away", "held", "--", "true"], Exit.FAILED),
    "run on many, one is nobody": (["run", "alpha", "alhpa", "--", "true"], Exit.NO_SUCH_SERVER),
    "run on no such tag": (["run", "--tag", "nobody", "--", "true"], Exit.NO_SUCH_SERVER),
    "shell on nobody": (["shell", "alhpa"], Exit.NO_SUCH_SERVER),
    "shell on one away": (["shell", "away"], Exit.OFFLINE),
    "shell on one suspended": (["shell", "held"], Exit.REFUSED),
    "suspend": (["suspend", "held"], Exit.DONE),
    "suspend nobody": (["suspend", "hled"], Exit.NO_SUCH_SERVER),
    "reactivate": (["reactivate", "new-one"], Exit.DONE),
    "reactivate nobody": (["reactivate", "x"], Exit.NO_SUCH_SERVER),
    "disconnect": (["disconnect", "bravo"], Exit.DONE),
    "disconnect one away": (["disconnect", "away"], Exit.DONE),
    "disconnect nobody": (["disconnect", "x"], Exit.NO_SUCH_SERVER),
    "rotate-secret": (["rotate-secret", "new-one"], Exit.DONE),
    "rotate-secret of nobody": (["rotate-secret", "x"], Exit.NO_SUCH_SERVER),
    "doctor": (["doctor"], Exit.DONE),
    "doctor of one that answers": (["doctor", "alpha"], Exit.DONE),
    "doctor of one new": (["doctor", "new-one"], Exit.OFFLINE),
    "doctor of one suspended": (["doctor", "held"], Exit.REFUSED),
    "doctor of one that is silent": (["doctor", "mute"], Exit.TIMED_OUT),
    "doctor of nobody": (["doctor", "x"], Exit.NO_SUCH_SERVER),
    "watch no state": (["watch", "--state", "nonsense"], Exit.USAGE),
    "serve on no port": (["serve", "--port", "99999999"], Exit.USAGE),
    "nonsense": (["nonsense"], Exit.USAGE),
}


def test_every_command_has_a_row():
    assert {words[0] for words, _ in CASES.values()} - {"nonsense"} == set(COMMANDS)


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize("end", ENDS[:2])
@pytest.mark.parametrize("case", CASES)
def test_the_exit_code_is_the_same_at_both_ends_and_json_parses(
    panel: Panel, case: str, end: str, as_json: bool
):
    words, code = CASES[case]
    ended = panel.ask(end, words[0], *(["--json"] if as_json else []), *words[1:])
    assert ended.code == code, ended
    assert "Traceback" not in ended.stderr
    if as_json:
        assert all(isinstance(record, dict) for record in ended.records)
    if code in (Exit.USAGE, Exit.NO_SUCH_SERVER):
        assert ended.stdout == "" or words[0] == "doctor"
        assert ended.stderr
    for text in (ended.stdout, ended.stderr):
        assert all(char.isprintable() or char in "\t\n" for char in text)


# The same output ---------------------------------------------------------------------------------------------------

SAME = {
    "list": ["list", "--json"],
    "list as text": ["list", "--tag", "web"],
    "list of a state": ["list", "--json", "--state", "suspended"],
    "list of two tags": ["list", "--json", "--tag", "web", "--tag", "evil"],
    "show": ["show", "--json", "alpha"],
    "show as text": ["show", "away"],
    "show a hostile one": ["show", "--json", HOSTILE],
    "show one without a tunnel": ["show", "--json", "plain"],
    "show nobody": ["show", "alhpa"],
    "show nothing near": ["show", "qqqqqq"],
    "add one that is there": ["add", "alpha", "--tag", "t"],
    "run": ["run", "alpha", "--", "sh", "-c", "echo out; echo err >&2; printf 'no end'"],
    "run and fail": ["run", "--json", "alpha", "--", "sh", "-c", "exit 3"],
    "run no program": ["run", "--json", "alpha", "--", "/no/such/program"],
    "run on one away": ["run", "--json", "away", "--", "true"],
    "run on one suspended": ["run", "held", "--", "true"],
    "run on many": ["run", "--parallel", "1", "alpha", "away", "held", "--", "echo", "a\tb"],
    "run on a hostile one": ["run", "--tag", "evil", "--", "x"],
    "run nothing": ["run", "alpha"],
    "suspend again": ["suspend", "--json", "held"],
    "reactivate again": ["reactivate", "alpha"],
    "disconnect one away": ["disconnect", "--json", "away"],
}


def timeless(text: str) -> str:
    """Take out what differs from one moment to the next, and the name of the program."""
    text = re.sub(
        r'"(seconds|rtt_seconds|usage|usage_at|lease_until|last_seen)": (\{.*?\}|"[^"]*"|[\d.]+|null)',
        r'"\1": 0',
        text,
    )
    text = re.sub(r"\b\d+(\.\d)? (s|min|ms)\b", "N", text)
    return text.replace("manage.py tunnel", "yumna")


@pytest.mark.parametrize("case", SAME)
def test_the_output_is_the_same_at_both_ends(panel: Panel, case: str):
    there, here = panel.ask("remote", *SAME[case]), panel.ask("local", *SAME[case])
    assert timeless(there.stdout) == timeless(here.stdout)
    assert timeless(there.stderr) == timeless(here.stderr)
    assert there.code == here.code


@pytest.mark.parametrize("case", ["show nobody", "run", "run on many"])
def test_the_programs_say_the_same_as_processes_of_their_own(panel: Panel, case: str):
    here = panel.ask("local", *SAME[case])
    for end in ENDS:
        there = panel.program(end, *SAME[case])
        assert timeless(there.stdout) == timeless(here.stdout)
        assert timeless(there.stderr) == timeless(here.stderr)
        assert there.code == here.code


@pytest.mark.parametrize("end", ENDS[:2])
def test_a_server_goes_its_whole_way(panel: Panel, end: str, tmp_path):
    name = f"whole-{end}"
    added = panel.program(end, "add", name, "--tag", "whole", "--env")
    lines = dict(line.split("=", 1) for line in added.stdout.splitlines() if not line.startswith("#"))
    assert (added.code, lines["CONNECTION_MODE"], lines["AGENT_ID"]) == (0, "tunnel", name)
    assert lines["AGENT_SECRET"] not in added.stderr
    agent = RealAgent(tmp_path, [panel.cluster.url("b")], name, lines["AGENT_SECRET"])
    try:
        until(lambda: "tunnel open" in agent.log, 20, "the agent is in")
        assert panel.program(end, "run", name, "--", "echo", "hi").stdout == "hi\n"
        cut = panel.program(end, "disconnect", name)
        assert cut.stdout == f"{name} was told to hang up and dial again: its live tunnel was cut\n"
        until(lambda: agent.log.count("tunnel open") == 2, 30, "the agent came back by itself")
        assert panel.program(end, "suspend", name).stdout == f"{name} suspended: its live tunnel was cut\n"
        assert panel.program(end, "doctor", name).code == Exit.REFUSED
        assert panel.program(end, "reactivate", name).stdout.startswith(f"{name} reactivated; ")
        rotated = panel.program(end, "rotate-secret", name, "--json")
        assert rotated.records[0]["secret"] != lines["AGENT_SECRET"]
    finally:
        agent.stop()


def test_add_says_where_agents_dial_the_panel(panel: Panel):
    (record,) = panel.ask("remote", "add", "from afar", "--env", "--json").records
    assert record["env"]["MASTER_URL"] == panel.url.replace("http://", "ws://")
    assert record["env"]["AGENT_ID"] == "from-afar"


def test_what_was_run_from_afar_stands_in_the_history_with_the_token_s_user(panel: Panel):
    panel.ask("remote", "run", "alpha", "--", "echo", "for the history")
    rows = panel.cluster.sql("select actor from servers_commandrecord where params like '%for the history%'")
    assert [actor for (actor,) in rows] != []
    assert "root" in rows[-1][0]


# Names and outputs that would move a cursor ------------------------------------------------------------------------


@pytest.mark.parametrize("end", ENDS[:2])
def test_nothing_a_node_says_moves_the_cursor(panel: Panel, end: str):
    for words in (["list"], ["show", "hostile"], ["run", "--tag", "evil", "--", "x"], ["doctor", "hostile"]):
        ended = panel.ask(end, *words)
        assert ESCAPED in ended.stdout
        for text in (ended.stdout, ended.stderr):
            assert all(char.isprintable() or char in "\t\n" for char in text)


# Rights ------------------------------------------------------------------------------------------------------------


def test_a_token_that_may_only_look_is_refused_what_it_may_not(panel: Panel):
    token = panel.make_token("looker", superuser=True, scopes=["view"])
    assert panel.ask("remote", "list", YUMNA_TOKEN=token).code == Exit.DONE
    for words, code in (
        (["suspend", "alpha"], Exit.REFUSED),
        (["disconnect", "alpha"], Exit.REFUSED),
        (["rotate-secret", "alpha"], Exit.REFUSED),
        (["add", "more"], Exit.REFUSED),
        (["doctor", "alpha"], Exit.REFUSED),
        (["run", "alpha", "--", "true"], Exit.OWN_FAILURE),
        (["run", "alpha", "bravo", "--", "true"], Exit.FAILED),
    ):
        ended = panel.ask("remote", *words, YUMNA_TOKEN=token)
        assert ended.code == code, (words, ended)
        assert token not in ended.stdout + ended.stderr


def test_a_token_of_nobody_is_refused_in_one_sentence(panel: Panel):
    for words in (["list"], ["run", "alpha", "bravo", "--", "true"], ["doctor"]):
        ended = panel.ask("remote", *words, YUMNA_TOKEN="yta_" + "x" * 43)
        assert ended.code == Exit.REFUSED, ended
        assert "does not take this token" in ended.stdout + ended.stderr
    assert panel.ask("remote", "run", "alpha", "--", "true", YUMNA_TOKEN="x").code == Exit.OWN_FAILURE


def test_servers_of_others_are_as_if_they_were_not_there(panel: Panel):
    grant = (
        "from servers.models import *\n"
        "group, _ = ServerGroup.objects.get_or_create(name='one'); group.servers.set(Server.objects.filter(name='alpha'))\n"
        "Grant.objects.get_or_create(server_group=group, user=user, permissions=['view', 'run_command'])"
    )
    token = panel.make_token("owner", superuser=False, scopes=["view", "run_command"], grant=grant)
    assert [row["name"] for row in panel.ask("remote", "list", "--json", YUMNA_TOKEN=token).records] == [
        "alpha"
    ]
    ended = panel.ask("remote", "show", "bravo", YUMNA_TOKEN=token)
    assert (ended.code, ended.stderr) == (
        3,
        "error: no such server: bravo; `yumna list` shows those there are\n",
    )
    assert panel.ask("remote", "run", "--all", "--", "true", YUMNA_TOKEN=token).code == Exit.DONE


# Ctrl-C, and a panel that is away -----------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ENDS[:2])
def test_ctrl_c_ends_a_run_with_130_at_once_and_the_command_with_it(panel: Panel, end: str, tmp_path: Path):
    note = tmp_path / "pid"
    process = subprocess.Popen(
        [*panel.command(end), "run", "alpha", "--", "sh", "-c", f"echo $$ > {note}; exec sleep 25"],
        cwd=ROOT,
        env=panel.environment(end),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        until(lambda: note.exists() and note.read_text().strip(), 30, "the command runs")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == Exit.INTERRUPTED
        assert b"Traceback" not in process.stderr.read()
        until(lambda: not psutil.pid_exists(int(note.read_text())), 15, "the command was cancelled")
    finally:
        process.kill()
        process.communicate()


# The doctors of both sides ------------------------------------------------------------------------------------------

SICK = {  # how the server is made sick, and what the panel's doctor says: its exit code, words, and the fix
    "wrong-secret": ("", Exit.REFUSED, "its agent is refused: wrong secret, from 127.0.0.1", "rotate-secret"),
    "suspended": ("identity.suspend(s)", Exit.REFUSED, "suspended: its agent is refused", "reactivate"),
    "no-tunnel": (
        "Server.objects.filter(pk=s.pk).update(connection_type='http')",
        Exit.REFUSED,
        "its agent is refused: the connection type is not tunnel",
        "set the connection type",
    ),
    "unknown": ("s.delete()", Exit.NO_SUCH_SERVER, "no such server: unknown", ""),
}


@pytest.fixture(scope="module")
def refused(panel: Panel) -> dict[str, Ended]:
    """What the agents' doctors said on nodes that the panel refuses, each for another reason."""
    code = "import json; from servers.models import Server; from servers import identity; secrets = {}\n"
    for name, (change, *_) in SICK.items():
        code += f"s, secrets[{name!r}] = identity.create({name!r}); {change}\n"
    secrets = json.loads(panel.cluster.python(code + "print(json.dumps(secrets))").splitlines()[-1])
    secrets["wrong-secret"] = "yts_wrong"
    with ThreadPoolExecutor(len(SICK)) as pool:
        said = pool.map(lambda name: doctor_of_the_agent(panel, name, secrets[name]), SICK)
        return dict(zip(SICK, said, strict=True))


def doctor_of_the_agent(panel: Panel, agent_id: str, secret: str) -> Ended:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "PYTHONIOENCODING": "utf-8",
        "MASTER_URL": panel.cluster.url("a"),
        "AGENT_ID": agent_id,
        "AGENT_SECRET": secret,
        "ALLOW_INSECURE": "1",
    }
    command = [sys.executable, "-m", "agent_client", "doctor"]
    done = subprocess.run(
        command, cwd=panel.cluster.folder, env=environment, capture_output=True, timeout=PATIENCE, check=False
    )
    assert secret not in (done.stdout + done.stderr).decode()
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.parametrize("end", ENDS[:2])
@pytest.mark.parametrize("fault", SICK)
def test_what_the_panel_does_not_tell_the_node_its_own_doctor_names(
    panel: Panel, refused: dict[str, Ended], fault: str, end: str
):
    _, code, words, fix = SICK[fault]
    assert refused[fault].code == Exit.REFUSED, refused[fault]
    assert f"tunnel doctor {fault}" in refused[fault].stdout.splitlines()[-1]
    here = until(lambda: told(panel.ask(end, "doctor", fault), words), 15, f"{fault} at {end}")
    assert here.code == code, here
    assert fix in here.stdout


def told(ended: Ended, words: str) -> Ended | None:
    return ended if words in ended.stdout + ended.stderr else None


def test_the_agents_doctor_finds_a_healthy_way_and_leaves_its_tunnel_alone(panel: Panel):
    of_alpha = (
        "SELECT id FROM tunnel_session WHERE server_id = (SELECT id FROM servers WHERE agent_id='alpha')"
    )
    before = panel.cluster.sql(of_alpha)
    ended = doctor_of_the_agent(panel, "alpha", panel.secrets["alpha"])
    assert ended.code == Exit.DONE, ended
    assert "✓ handshake: the panel lets this agent in" in ended.stdout
    assert panel.cluster.sql(of_alpha) == before
    assert "checked from 127.0.0.1" in panel.cluster.log("a")
    assert panel.ask("local", "run", "alpha", "--", "true").code == Exit.DONE


def test_a_proxy_that_strips_the_upgrade_before_a_real_panel_is_found(panel: Panel):
    with listening(stripping(panel.cluster.ports["a"])) as port:
        found = list(doctor.findings(settings(f"ws://127.0.0.1:{port}/tunnel")))
    assert (found[-1].step, found[-1].ok) == ("handshake", False)
    assert "the upgrade to a WebSocket was lost on the way (404)" in found[-1].detail


def test_somebody_else_who_dials_with_the_id_of_a_connected_node_is_told(panel: Panel):
    assert doctor_of_the_agent(panel, "bravo", "yts_wrong").code == Exit.REFUSED
    for end in ENDS[:2]:
        words = "somebody else dials with its agent id and is refused: wrong secret, from 127.0.0.1"
        ended = until(lambda end=end, words=words: told(panel.ask(end, "doctor", "bravo"), words), 15)
        assert ended.code == Exit.DONE


@pytest.mark.parametrize("end", ENDS[:2])
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_watch_tells_each_change_until_ctrl_c(panel: Panel, end: str, as_json: bool, tmp_path):
    name = f"watched-{end}-{as_json}".lower()
    secret = panel.cluster.add(name)
    words = ["watch", "--interval", "0.5", *(["--json"] if as_json else [])]
    out = tmp_path / "out"
    with out.open("wb") as file:
        process = subprocess.Popen(
            [*panel.command(end), *words],
            cwd=ROOT,
            env=panel.environment(end),
            stdout=file,
            stderr=subprocess.PIPE,
        )
    agent = None

    def told(state: str) -> bool:
        return any(name in line and state in line for line in out.read_text().splitlines())

    try:
        until(lambda: told("never" if as_json else "Never connected"), 30, "the first look")
        agent = BasicAgent(panel.cluster.url("a"), name, secret)
        until(lambda: told("active" if as_json else "Tunnel Active"), 15, "it came")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == Exit.INTERRUPTED
        assert process.stderr.read() == b""
    finally:
        process.kill()
        process.communicate()
        if agent:
            agent.stop()
    if as_json:
        assert {"at", "name", "state"} <= set(json.loads(out.read_text().splitlines()[0]))


def test_a_panel_that_is_not_there_is_8_and_255_for_a_run_on_one(panel: Panel, unused_tcp_port: int):
    away = f"http://127.0.0.1:{unused_tcp_port}"
    for words in (
        ["list"],
        ["show", "x"],
        ["add", "x"],
        ["run", "a", "b", "--", "true"],
        ["doctor"],
        ["watch"],
    ):
        ended = panel.ask("remote", *words, YUMNA_URL=away)
        assert ended.code == Exit.NO_LAYER, ended
        assert "cannot be reached" in ended.stderr or "Connection refused" in ended.stdout
    assert panel.ask("remote", "run", "a", "--", "true", YUMNA_URL=away).code == Exit.OWN_FAILURE


def test_over_rest_a_command_takes_at_most_30_seconds_and_says_so(panel: Panel):
    ended = panel.ask("remote", "run", "alpha", "--timeout", "31", "--", "true")
    assert ended.code == Exit.USAGE
    assert "over REST a command takes at most 30 s, not 31" in ended.stderr
