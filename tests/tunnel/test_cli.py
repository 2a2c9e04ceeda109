"""`manage.py tunnel`: what each command prints, where, and the exit codes that scripts rely on."""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.db.models.functions import Now
from django.test import override_settings
from django.utils import timezone

from agent_client import settings as agent_settings
from servers import credentials, identity, transports
from servers.errors import CommandFailed, Disconnected, NoReply, NotConnected, RelayLost
from servers.models import CommandRecord, Server, Tag
from servers.signals import identity_changed
from tunnel import sessions
from tunnel.cli import local
from tunnel.cli.exits import Exit
from tunnel.models import Lease, Session, Worker

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE = 30.0  # seconds a `manage.py` of its own may take on a busy machine
IN_MEMORY = {alias: {"BACKEND": "channels.layers.InMemoryChannelLayer"} for alias in ("default", "jobs")}
HOSTILE = "web\x1b[2J\r\n\u202egnp"  # clears a screen, starts a line, turns it round


@dataclass
class Ended:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str
    raw: bytes

    @property
    def lines(self) -> list[str]:
        return self.stdout.splitlines()

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


def tunnel(*words: str) -> Ended:
    """Call `manage.py tunnel` in this process, its output piped."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for _ in range(2))
    code = 0
    try:
        call_command("tunnel", *words, stdout=out, stderr=err)
    except SystemExit as exc:
        code = int(exc.code or 0)
    for wrapper in (out, err):
        wrapper.flush()
    raw = out.buffer.getvalue()  # type: ignore[attr-defined]
    told = err.buffer.getvalue().decode()  # type: ignore[attr-defined]
    return Ended(code, raw.decode("utf-8", "replace"), told, raw)


def child_environment() -> dict[str, str]:
    """The environment in which a process finds the tests' database."""
    return os.environ | {"DATABASE_URL": f"sqlite:///{connection.settings_dict['NAME']}"}


def manage(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `manage.py tunnel` as a process of its own, on the tests' database."""
    return subprocess.run(
        [sys.executable, "manage.py", "tunnel", *words],
        cwd=settings.BASE_DIR,
        env=child_environment() | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@dataclass
class Nodes:
    """A transport whose nodes are in this process: each runs a command by what is written for it here."""

    name: str = "here"
    asked: list[tuple[str, str, dict[str, Any], float]] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)
    together: int = 1  # commands that must be under way at once before the first is answered
    running: int = 0
    most: int = 0

    def run(
        self, server: Server, service: str, action: str, params: Any, *, timeout: float, command_id: str
    ) -> Any:
        return asyncio.run(self.arun(server, service, action, params, timeout=timeout, command_id=command_id))

    async def arun(
        self, server: Server, service: str, action: str, params: Any, *, timeout: float, command_id: str
    ) -> Any:
        self.asked.append((server.name, f"{service}.{action}", params, timeout))
        self.running += 1
        self.most = max(self.most, self.running)
        async with asyncio.timeout(PATIENCE):
            while self.most < self.together:
                await asyncio.sleep(0.001)
        self.running -= 1
        answer = self.answers.get(server.name, {"exitCode": 0, "stdout": "", "stderr": ""})
        if isinstance(answer, Exception):
            raise answer
        return answer

    def capabilities(self, server: Server) -> list[str]:
        return ["system"]

    @property
    def names(self) -> list[str]:
        return [name for name, *_ in self.asked]


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    """The transport of tunnel servers during one test."""
    before = transports.for_server(Server(connection_type="tunnel"))
    made = Nodes()
    transports.register("tunnel", made)
    yield made
    transports.register("tunnel", before)


@pytest.fixture
def worker() -> Worker:
    """A worker whose lease outlives a command line that starts slowly."""
    made = uuid.uuid4()
    sessions.open_worker(made, f"inbox-{made}")
    Worker.objects.filter(pk=made).update(lease_until=timezone.now() + timedelta(hours=1))
    return Worker.objects.get(pk=made)


@pytest.fixture
def make(worker: Worker) -> Callable[..., Server]:
    """Make a server; `live` gives it an open session, `ended` one that ended so long ago."""

    def server(name: str, *tags: str, live: bool = False, ended: timedelta | None = None) -> Server:
        made = Server.objects.create(name=name, agent_id=f"id-{Server.objects.count()}")
        made.tags.set([Tag.objects.get_or_create(name=tag)[0] for tag in tags])
        if live or ended is not None:
            closed = None if ended is None else timezone.now() - ended
            Session.objects.create(
                server=made,
                worker=worker,
                secret_version=1,
                address="192.0.2.7",
                closed_at=closed,
                close_reason="silent" if closed else "",
            )
        return made

    return server


def ran(stdout: str = "", stderr: str = "", code: int = 0, **more: Any) -> dict[str, Any]:
    return {"exitCode": code, "stdout": stdout, "stderr": stderr, **more}


# list -----------------------------------------------------------------------------------------------------------


def test_list_is_parted_by_tabs_when_piped_and_ends_with_the_count(make, worker):
    alpha = make("alpha", "web", "prod", live=True)
    Server.objects.filter(pk=alpha.pk).update(rtt_seconds=0.0123, agent_version="1.2.3")
    make("beta", ended=timedelta(hours=3))
    Server.objects.filter(pk=make("gamma").pk).update(connection_type="ssh")
    ended = tunnel("list")
    rows = [line.split("\t") for line in ended.lines]
    assert rows[0] == ["NAME", "STATE", "SINCE", "RTT", "VERSION", "WORKER", "TAGS"]
    assert rows[1][:2] == ["alpha", "Tunnel Active"]
    assert rows[1][3:6] == ["12 ms", "1.2.3", str(worker)]
    assert sorted(rows[1][6].split(",")) == ["prod", "web"]
    assert rows[2] == ["beta", "Offline", "3 h", "-", "-", "-", "-"]
    assert rows[3][:2] == ["gamma", "Direct"]
    assert ended.lines[-1] == "1 of 2 tunnels active"
    assert (ended.code, ended.stderr) == (0, "")


def test_list_without_servers_prints_the_heads_and_no_tunnels():
    ended = tunnel("list")
    assert ended.lines[0].startswith("NAME\tSTATE")
    assert ended.lines[1:] == ["0 of 0 tunnels active"]


def test_list_json_prints_one_object_a_line(make, worker):
    make("alpha", "web", live=True)
    make("beta")
    alpha, beta = tunnel("list", "--json").records
    since = alpha.pop("since")
    assert since.endswith("Z")
    assert alpha == {
        "name": "alpha",
        "agent_id": "id-0",
        "state": "active",
        "rtt_seconds": None,
        "version": "",
        "worker": str(worker),
        "tags": ["web"],
    }
    assert (beta["state"], beta["since"], beta["worker"]) == ("never", None, "")


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--state", "active"], ["alpha"]),
        (["--state", "offline"], ["beta"]),
        (["--state", "suspended"], ["delta"]),
        (["--tag", "web"], ["alpha", "beta"]),
        (["--tag", "web", "--tag", "db"], ["alpha", "beta", "gamma"]),
        (["--tag", "web", "--state", "offline"], ["beta"]),
        (["--tag", "nobody"], []),
    ],
    ids=" ".join,
)
def test_list_shows_the_servers_of_a_state_or_tag_only(make, words: list[str], names: list[str]):
    make("alpha", "web", "db", live=True)
    make("beta", "web", ended=timedelta(hours=1))
    make("gamma", "db")
    identity.suspend(make("delta"))
    assert [record["name"] for record in tunnel("list", "--json", *words).records] == names


def test_the_count_of_list_is_of_all_servers_whatever_state_is_shown(make):
    make("alpha", live=True)
    make("beta")
    ended = tunnel("list", "--state", "never")
    assert [line.split("\t")[0] for line in ended.lines[1:-1]] == ["beta"]
    assert ended.lines[-1] == "1 of 2 tunnels active"


# show -----------------------------------------------------------------------------------------------------------


def test_show_tells_the_facts_and_the_reason_of_the_last_close(make):
    make("beta", "web", ended=timedelta(hours=3))
    facts = dict(line.split("\t") for line in tunnel("show", "beta").lines)
    assert facts["agent id"] == "id-0"
    assert facts["state"] == "Offline"
    assert facts["last close"] == "the node fell silent"
    assert facts["tags"] == "web"


def test_show_finds_a_server_by_agent_id_too_and_tells_the_lease(make, worker):
    make("alpha", live=True)
    (facts,) = tunnel("show", "id-0", "--json").records
    assert (facts["name"], facts["state"], facts["address"]) == ("alpha", "active", "192.0.2.7")
    assert facts["worker"] == str(worker)
    assert facts["lease_until"].endswith("Z")


def test_a_name_goes_before_an_agent_id(make):
    make("id-1")
    make("other")
    assert tunnel("show", "id-1", "--json").records[0]["agent_id"] == "id-0"


# Nothing a node or a person wrote moves a cursor -----------------------------------------------------------------


@pytest.mark.parametrize("command", [("list",), ("show", "id-0"), ("suspend", "id-0"), ("run", "--all")])
def test_control_characters_of_a_name_are_shown_escaped(make, nodes, command: tuple[str, ...]):
    hostile = make("plain", live=True)
    Server.objects.filter(pk=hostile.pk).update(
        name=HOSTILE, agent_version="1\t2\x07", host_facts={"os\x1b[1m": "\u2028"}
    )
    nodes.answers[HOSTILE] = ran("\x1b]0;owned\x07\r\n", "\x1b[31m\n")
    if command[0] == "suspend":
        Session.objects.update(closed_at=Now())
    ended = tunnel(*command, *(["--", "true"] if command[0] == "run" else []))
    assert r"web\x1b[2J\r\n\u202egnp" in ended.stdout
    for text in (ended.stdout, ended.stderr):
        assert all(char.isprintable() or char in "\t\n" for char in text)


def test_control_characters_of_arguments_are_shown_escaped():
    ended = tunnel("show", "\x1b[2J")
    assert r"\x1b[2J" in ended.stderr
    assert "\x1b" not in ended.stderr


# add ------------------------------------------------------------------------------------------------------------


def test_add_makes_a_server_with_tags_and_says_how_to_get_its_secret():
    ended = tunnel("add", "Home server", "--tag", "web", "--tag", "web", "--tag", "db")
    server = Server.objects.get(name="Home server")
    assert ended.lines == ["added Home server, agent id home-server"]
    assert "manage.py tunnel rotate-secret home-server --env" in ended.stderr
    assert {tag.name for tag in server.tags.all()} == {"web", "db"}


def test_add_env_prints_four_lines_that_the_agent_accepts(tmp_path: Path):
    with override_settings(TUNNEL_PUBLIC_URL="https://panel.example.org"):
        ended = tunnel("add", "Home server", "--agent-id", "agent-home-server", "--env")
    assert [line.partition("=")[0] for line in ended.lines] == [
        "CONNECTION_MODE",
        "MASTER_URL",
        "AGENT_ID",
        "AGENT_SECRET",
    ]
    file = tmp_path / "agent.env"
    file.write_text(ended.stdout)
    file.chmod(0o600)
    read = agent_settings.load({}, file=file, local_file=tmp_path / "none", system_file=tmp_path / "none")
    stored = Server.objects.get(agent_id=read.agent_id).secret_digest
    assert credentials.matches(read.secret, stored)
    assert read.connection_mode == "tunnel"
    assert read.warnings == ()
    assert read.secret not in ended.stderr


def test_add_env_on_this_machine_allows_what_the_agent_refuses_otherwise(tmp_path: Path):
    with override_settings(TUNNEL_PUBLIC_URL="http://127.0.0.1:8000"):
        file = tmp_path / "agent.env"
        file.write_text(tunnel("add", "here", "--env").stdout)
    file.chmod(0o600)
    read = agent_settings.load({}, file=file, local_file=tmp_path / "none", system_file=tmp_path / "none")
    assert read.allow_insecure


def test_add_env_without_a_public_url_says_what_to_write_there():
    ended = tunnel("add", "there", "--env")
    assert ended.lines[1].startswith("# TUNNEL_PUBLIC_URL is not set")
    assert "set TUNNEL_PUBLIC_URL" in ended.stderr


def test_add_env_json_is_one_object():
    with override_settings(TUNNEL_PUBLIC_URL="https://panel.example.org"):
        (record,) = tunnel("add", "there", "--env", "--json").records
    assert set(record["env"]) == {"CONNECTION_MODE", "MASTER_URL", "AGENT_ID", "AGENT_SECRET"}


@pytest.mark.parametrize(
    "words", [["taken"], ["new", "--agent-id", "a b"], ["new\x1b"], ["new", "--agent-id", "id-0"]], ids=str
)
def test_add_refuses_what_cannot_be_and_adds_nothing(make, words: list[str]):
    make("taken")
    ended = tunnel("add", *words, "--tag", "fresh")
    assert ended.code == Exit.USAGE
    assert "was not added: " in ended.stderr
    assert (Server.objects.count(), Tag.objects.count()) == (1, 0)


# suspend, reactivate, rotate-secret -----------------------------------------------------------------------------


def test_suspend_and_reactivate_say_what_changed(make):
    make("alpha")
    assert tunnel("suspend", "alpha").lines == ["alpha suspended"]
    assert Server.objects.get().status == "suspended"
    assert tunnel("suspend", "alpha").lines == ["alpha was suspended already"]
    assert tunnel("reactivate", "alpha").lines == ["alpha reactivated; its agent is welcome at its next try"]
    assert Server.objects.get().status == "active"
    (record,) = tunnel("reactivate", "alpha", "--json").records
    assert record == {
        "name": "alpha",
        "agent_id": "id-0",
        "status": "active",
        "done": "was not suspended",
        "tunnel": "",
    }


@pytest.fixture
def holder() -> Iterator[None]:
    """A worker that ends the session of a server whose identity changed, as those that hold sockets do."""

    def cut(server_id: int, **_: Any) -> None:
        Session.objects.filter(server=server_id, closed_at__isnull=True).update(
            closed_at=Now(), close_reason="revoked"
        )

    identity_changed.connect(cut)
    yield
    identity_changed.disconnect(cut)


@pytest.mark.usefixtures("holder")
def test_suspend_and_rotate_secret_say_that_the_live_tunnel_was_cut(make):
    make("alpha", live=True)
    make("beta", live=True)
    assert tunnel("suspend", "alpha").lines == ["alpha suspended: its live tunnel was cut"]
    ended = tunnel("rotate-secret", "beta")
    assert len(ended.lines) == 1
    assert ended.stderr.splitlines()[-1] == "beta: its live tunnel was cut"


def test_suspend_says_when_the_live_tunnel_was_not_cut(make, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(local, "CUT_DEADLINE", 0.1)
    make("alpha", live=True)
    (line,) = tunnel("suspend", "alpha").lines
    assert line.startswith("alpha suspended: its live tunnel has not been cut")


def test_rotate_secret_prints_a_new_secret_alone(make):
    make("alpha")
    ended = tunnel("rotate-secret", "alpha")
    (secret,) = ended.lines
    server = Server.objects.get()
    assert credentials.matches(secret, server.secret_digest)
    assert server.secret_version == 2
    assert "shown this once" in ended.stderr
    assert secret not in ended.stderr


def test_rotate_secret_env_prints_the_file_of_the_agent(make):
    make("alpha")
    with override_settings(TUNNEL_PUBLIC_URL="https://panel.example.org"):
        ended = tunnel("rotate-secret", "alpha", "--env")
    assert ended.lines[:3] == [
        "CONNECTION_MODE=tunnel",
        "MASTER_URL=https://panel.example.org",
        "AGENT_ID=id-0",
    ]
    (record,) = tunnel("rotate-secret", "alpha", "--json").records
    assert credentials.matches(record["secret"], Server.objects.get().secret_digest)


# run on one node ------------------------------------------------------------------------------------------------


def test_run_on_one_node_gives_its_output_and_exit_code_as_they_are(make, nodes):
    make("alpha")
    nodes.answers["alpha"] = ran("\x1b[1mup\x1b[0m\r\nno newline: \udcff", "warned\n", 7)
    ended = tunnel("run", "alpha", "--timeout", "4", "--", "ls", "-l", "--", "--json")
    assert ended.raw == b"\x1b[1mup\x1b[0m\r\nno newline: \xff"
    assert ended.stderr == "warned\n"
    assert ended.code == 7
    assert nodes.asked == [("alpha", "system.exec", {"argv": ["ls", "-l", "--", "--json"]}, 4.0)]
    record = CommandRecord.objects.get()
    assert record.actor.startswith("console: ")


def test_run_shell_sends_one_line_for_a_shell(make, nodes):
    make("alpha")
    assert tunnel("run", "alpha", "--shell", "--", "echo", "$HOME", "|", "wc").code == 0
    assert nodes.asked[0][2] == {"shell": "echo $HOME | wc"}


def test_a_program_ended_by_a_signal_counts_as_in_a_shell(make, nodes):
    make("alpha")
    nodes.answers["alpha"] = ran(code=-9)
    assert tunnel("run", "alpha", "--", "sleep", "9").code == 137


@pytest.mark.parametrize("said", [256, 2**32, 10**400, -(10**400)])
def test_a_number_that_is_no_exit_code_of_a_process_is_no_success(make, nodes, said: int):
    make("alpha")
    nodes.answers["alpha"] = ran(code=said)
    assert tunnel("run", "alpha", "--", "true").code == 255


def test_run_on_one_node_says_that_its_output_was_cut(make, nodes):
    make("alpha")
    nodes.answers["alpha"] = ran("x", truncated=True)
    ended = tunnel("run", "alpha", "--", "yes")
    assert (ended.stdout, ended.code) == ("x", 0)
    assert "alpha: the output was longer than the node keeps" in ended.stderr


FAILURES = {
    "offline": NotConnected(),
    "gone meanwhile": Disconnected(),
    "late": NoReply(),
    "refused by the node": CommandFailed("forbidden", "the node does not allow exec"),
    "lost on the way": RelayLost(),
    "no such program": CommandFailed("not_found", "no such program: uptme"),
}


@pytest.mark.parametrize("error", FAILURES.values(), ids=FAILURES)
def test_run_on_one_node_gives_255_and_a_sentence_for_failures_of_ours(make, nodes, error: Exception):
    make("alpha")
    nodes.answers["alpha"] = error
    ended = tunnel("run", "alpha", "--", "uptime")
    assert (ended.code, ended.stdout) == (255, "")
    assert ended.stderr == f"error: alpha: {error}\n"


def test_run_on_one_suspended_node_gives_255_and_asks_nobody(make, nodes):
    identity.suspend(make("alpha"))
    ended = tunnel("run", "alpha", "--", "uptime")
    assert ended.code == 255
    assert "alpha is suspended, reactivate it first" in ended.stderr
    assert nodes.asked == []


def test_run_json_on_one_node_tells_how_it_ended(make, nodes):
    make("alpha")
    nodes.answers["alpha"] = NotConnected()
    ended = tunnel("run", "alpha", "--json", "--", "uptime")
    (record,) = ended.records
    assert (record["result"], record["code"], record["ran"]) == ("error", "not_connected", "no")
    assert (record["exit_code"], ended.code) == (None, 255)


def test_a_node_without_an_agent_is_255_over_the_tunnel_itself(make):
    make("alpha")
    ended = tunnel("run", "alpha", "--timeout", "2", "--", "uptime")
    assert ended.code == 255
    assert ended.stderr == f"error: alpha: {NotConnected()}\n"


# run on many nodes ----------------------------------------------------------------------------------------------


def test_run_on_many_prefixes_the_lines_and_ends_with_a_summary(make, nodes):
    make("alpha")
    make("beta")
    make("gamma")
    nodes.answers |= {
        "alpha": ran("one\ttwo\r\nthree\n"),
        "beta": ran("", "oops\n", 3),
        "gamma": NotConnected("gone"),
    }
    ended = tunnel("run", "alpha", "id-1", "gamma", "alpha", "--", "uptime")
    assert ended.lines[:2] == ["alpha | one\ttwo", "alpha | three"]
    rows = [line.split("\t") for line in ended.lines[2:]]
    assert [row[:3] for row in rows] == [
        ["NODE", "RESULT", "EXIT"],
        ["alpha", "done", "0"],
        ["beta", "failed", "3"],
        ["gamma", "not_connected: gone", "-"],
    ]
    assert ended.stderr.splitlines() == ["beta | oops", "1 of 3 succeeded"]
    assert ended.code == Exit.FAILED


def test_run_on_many_that_all_succeed_gives_0(make, nodes):
    make("alpha", "web")
    make("beta")
    make("gamma", "web")
    assert tunnel("run", "--tag", "web", "--", "true").code == 0
    assert sorted(nodes.names) == ["alpha", "gamma"]
    assert tunnel("run", "--all", "--", "true").code == 0
    assert len(nodes.names) == 5


def test_run_by_tag_is_a_run_on_many_even_with_one_server(make, nodes):
    make("alpha", "web")
    nodes.answers["alpha"] = ran("up\n", code=3)
    ended = tunnel("run", "--tag", "web", "--", "uptime")
    assert ended.lines[0] == "alpha | up"
    assert ended.code == Exit.FAILED


def test_run_starts_no_more_after_so_many_failures(make, nodes):
    for number in range(6):
        make(f"n{number}")
    nodes.answers |= {"n1": ran(code=1), "n3": NotConnected()}
    ended = tunnel("run", "--all", "--parallel", "1", "--stop-after", "2", "--json", "--", "true")
    assert [record["result"] for record in ended.records] == [
        "done",
        "done",
        "done",
        "error",
        "skipped",
        "skipped",
    ]
    assert nodes.names == ["n0", "n1", "n2", "n3"]
    assert ended.code == Exit.FAILED


@pytest.mark.parametrize("parallel", [1, 3])
def test_as_many_commands_are_under_way_as_parallel_says(make, nodes, parallel: int):
    for number in range(6):
        make(f"n{number}")
    nodes.together = parallel
    assert tunnel("run", "--all", "--parallel", str(parallel), "--", "true").code == 0
    assert len(nodes.asked) == 6
    assert nodes.most == parallel


# Exit codes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["show", "suspend", "reactivate", "rotate-secret"])
def test_an_unknown_node_is_3_with_the_nearest_names(make, command: str):
    make("web-01")
    make("web-02")
    ended = tunnel(command, "Web-1")
    assert ended.code == Exit.NO_SUCH_SERVER
    assert ended.stderr.startswith("error: no such server: Web-1; did you mean web-0")
    assert ended.stdout == ""


def test_an_unknown_node_without_near_names_is_told_where_the_names_are(make):
    assert "none was added yet: `manage.py tunnel add`" in tunnel("show", "x").stderr
    make("web-01")
    assert "`manage.py tunnel list` shows those there are" in tunnel("show", "quorum").stderr


def test_an_unknown_node_of_run_is_255_alone_and_3_among_others(make, nodes):
    make("alpha")
    alone = tunnel("run", "alhpa", "--", "true")
    assert (alone.code, alone.stderr) == (255, "error: no such server: alhpa; did you mean alpha\n")
    assert tunnel("run", "alpha", "alhpa", "--", "true").code == Exit.NO_SUCH_SERVER
    assert tunnel("run", "--tag", "nobody", "--", "true").code == Exit.NO_SUCH_SERVER
    assert nodes.asked == []


@pytest.mark.parametrize("words", [["alpha"], ["alpha", "--"], ["--", "uptime"]], ids=str)
def test_run_without_a_command_or_a_node_is_2(make, nodes, words: list[str]):
    make("alpha")
    ended = tunnel("run", *words)
    assert ended.code == Exit.USAGE
    assert ended.stderr.startswith("error: no ")
    assert nodes.asked == []


@pytest.mark.parametrize(
    "words",
    [["nonsense"], ["run", "n", "--parallel", "0", "--", "true"]],
    ids=str,
)
def test_wrong_usage_is_2_on_a_real_command_line(words: list[str]):
    ended = manage(*words)
    assert ended.returncode == Exit.USAGE
    assert "usage: manage.py tunnel" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_real_command_line_reads_the_same_database(make):
    make("alpha", live=True)
    ended = manage("list", "--state", "active")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[-1] == "1 of 1 tunnels active"


@pytest.fixture
def background() -> None:
    """The lease that a background worker holds."""
    Lease.objects.create(name="sweep", holder="worker", until=timezone.now() + timedelta(minutes=1))


DOCTORED = {
    "answers": (None, Exit.DONE),
    "offline": (NotConnected(), Exit.OFFLINE),
    "gone meanwhile": (Disconnected(), Exit.OFFLINE),
    "late": (NoReply(), Exit.TIMED_OUT),
    "refused by the node": (CommandFailed("forbidden", "not here"), Exit.REFUSED),
    "layer lost": (RelayLost(), Exit.NO_LAYER),
    "broken": (CommandFailed("internal", "it broke"), Exit.FAILED),
}


@pytest.mark.parametrize(("error", "code"), DOCTORED.values(), ids=DOCTORED)
def test_doctor_with_a_node_ends_with_the_code_of_what_is_wrong(
    make, nodes, background, error: Exception | None, code: Exit
):
    make("alpha", live=True)
    nodes.answers["alpha"] = error or {}
    ended = tunnel("doctor", "alpha", "--json")
    wrong = [record["step"] for record in ended.records if record["ok"] is False]
    assert wrong == ([] if error is None else ["alpha answers"])
    assert ended.code == code


def test_doctor_knows_a_node_that_is_away_or_suspended_without_asking_it(make, nodes, background):
    make("never")
    make("away", ended=timedelta(hours=1))
    identity.suspend(make("held"))
    assert tunnel("doctor", "never").code == Exit.OFFLINE
    assert tunnel("doctor", "away").code == Exit.OFFLINE
    ended = tunnel("doctor", "held")
    assert ended.code == Exit.REFUSED
    assert ended.lines[-1] == "    -> manage.py tunnel reactivate id-2"
    assert nodes.asked == []


# The layer ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["alpha"], ["alpha", "beta"], ["--all"]], ids=str)
def test_run_says_at_once_that_an_in_memory_layer_reaches_no_tunnel(make, nodes, words: list[str]):
    make("alpha")
    make("beta")
    with override_settings(CHANNEL_LAYERS=IN_MEMORY):
        ended = tunnel("run", *words, "--", "uptime")
    assert ended.code == Exit.NO_LAYER
    assert ended.stderr.startswith("error: tunnels live in the server process; set REDIS_URL")
    assert nodes.asked == []


def test_an_in_memory_layer_is_told_with_both_cures_and_nothing_is_disconnected(make):
    make("alpha", live=True)
    with override_settings(CHANNEL_LAYERS=IN_MEMORY):
        ended = tunnel("disconnect", "alpha")
    assert ended.code == Exit.NO_LAYER
    assert "set REDIS_URL" in ended.stderr
    assert "--url http://127.0.0.1:8000 --token-file FILE" in ended.stderr
    assert Session.objects.filter(closed_at=None).count() == 1


def test_disconnect_of_a_tunnel_that_nobody_cuts_is_a_failure(make, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(local, "CUT_DEADLINE", 0.1)
    make("alpha", live=True)
    ended = tunnel("disconnect", "alpha")
    assert ended.code == Exit.FAILED
    assert "its live tunnel has not been cut" in ended.stdout
    assert tunnel("disconnect", "alpha", "--json").records[0]["tunnel"].startswith("its live tunnel has not")


def test_list_needs_no_layer(make):
    make("alpha", live=True)
    with override_settings(CHANNEL_LAYERS=IN_MEMORY):
        assert tunnel("list").lines[-1] == "1 of 1 tunnels active"


def test_run_with_a_redis_that_is_not_there_ends_with_a_sentence(make):
    make("alpha", live=True)
    with socket.socket() as taken:  # the port is taken, and nobody listens on it
        taken.bind(("127.0.0.1", 0))
        redis = f"redis://127.0.0.1:{taken.getsockname()[1]}"
        ended = manage("run", "alpha", "--timeout", "2", "--", "uptime", REDIS_URL=redis)
    assert (ended.returncode, ended.stdout) == (255, "")
    assert "error: alpha: " in ended.stderr
    assert "Traceback" not in ended.stderr
    assert CommandRecord.objects.get().state in ("failed", "unknown")


# Another panel --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--token-file", "x", "list"], ["list", "--ca-file", "x"]], ids=str)
def test_an_option_that_goes_with_url_alone_is_2_without_it(words: list[str]):
    ended = tunnel(*words)
    assert ended.code == Exit.USAGE
    assert "goes with --url" in ended.stderr


def test_the_environment_of_yumna_does_not_lead_manage_py_away(make, monkeypatch: pytest.MonkeyPatch):
    make("alpha")
    monkeypatch.setenv("YUMNA_URL", "http://127.0.0.1:9")
    assert [record["name"] for record in tunnel("list", "--json").records] == ["alpha"]


def test_output_goes_to_whatever_call_command_is_given(make, nodes):
    make("alpha")
    nodes.answers["alpha"] = ran("no newline")
    out = io.StringIO()
    call_command("tunnel", "run", "alpha", "--", "x", stdout=out)
    assert out.getvalue() == "no newline"


# Everything else that goes wrong --------------------------------------------------------------------------------


def test_a_reader_that_goes_away_is_no_error(make):
    for number in range(3):
        make(f"n{number}")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run(
            [sys.executable, "manage.py", "tunnel", "list"],
            cwd=settings.BASE_DIR,
            env=child_environment() | {"PYTHONUNBUFFERED": "1"},
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_a_database_without_tables_is_one_sentence(tmp_path: Path):
    ended = manage("list", DATABASE_URL=f"sqlite:///{tmp_path}/empty.sqlite3")
    assert ended.returncode == Exit.FAILED
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: the database cannot be used: no such table")
