"""`system.exec`: programs end when they should, whole, and their output is bounded."""

import json
import os
import resource
import subprocess
import sys
import threading
import time

import pytest

from agent_client.calls import Call, Refused
from agent_client.commands import Table
from agent_client.execution import LARGEST_OUTPUT
from agent_client.figures import Sampler, best_source
from agent_client.protocol.codes import Code
from agent_client.protocol.limits import MAX_TEXT
from agent_client.protocol.messages import Command
from agent_client.services import system
from tests.agent.test_link import wait_for
from tests.docs.pages import ROOT

TABLE = Table([system.service(Sampler(best_source()))])


def prepare(timeout: float = 10.0, **params) -> tuple[Call, threading.Thread, list]:
    """A call of `system.exec` and a thread that runs it; its result or error comes into the list."""
    prepared = TABLE.prepare(Command("c", "system", "exec", 0.0, params, timeout=timeout))
    outcome: list = []

    def run() -> None:
        prepared.call.start_clock()
        try:
            outcome.append(prepared.run(prepared.call))
        except Refused as exc:
            outcome.append(exc)

    return prepared.call, threading.Thread(target=run), outcome


def execute(timeout: float = 10.0, **params):
    _, thread, outcome = prepare(timeout, **params)
    thread.start()
    thread.join(60)
    if isinstance(outcome[0], Refused):
        raise outcome[0]
    return outcome[0]


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] == "Z"


def test_output_errors_and_exit_code_come_back():
    done = execute(argv=["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (done["exitCode"], done["stdout"], done["stderr"], done["truncated"]) == (
        7,
        "out\n",
        "err\n",
        False,
    )
    assert done["durationMs"] >= 0


def test_a_signal_is_a_negative_exit_code():
    assert execute(argv=["sh", "-c", "kill -9 $$"])["exitCode"] == -9


@pytest.mark.parametrize("word", ["-rf", "$(id)", "`id`", "a;b", "a\nb", "*", "--help", "ü 漢", "'\""])
def test_an_argument_is_never_read_by_a_shell(word):
    assert execute(argv=["printf", "%s", word])["stdout"] == word


def test_a_shell_line_runs_only_under_shell():
    assert execute(shell="echo $((1 + 1)) | cat")["stdout"] == "2\n"
    with pytest.raises(Refused) as refused:
        execute(argv=["echo hello | cat"])
    assert refused.value.code is Code.NOT_FOUND


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, Code.INVALID_PARAMS),
        ({"argv": ["true"], "shell": "true"}, Code.INVALID_PARAMS),
        ({"argv": []}, Code.INVALID_PARAMS),
        ({"argv": [""]}, Code.INVALID_PARAMS),
        ({"argv": ["a\0b"]}, Code.INVALID_PARAMS),
        ({"argv": "true"}, Code.INVALID_PARAMS),
        ({"argv": [1]}, Code.INVALID_PARAMS),
        ({"argv": ["true"], "env": {"A=B": 1}}, Code.INVALID_PARAMS),
        ({"argv": ["true"], "surprise": 1}, Code.INVALID_PARAMS),
        ({"argv": ["/no/such/program"]}, Code.NOT_FOUND),
        ({"argv": ["true"], "cwd": "/no/such/folder"}, Code.NOT_FOUND),
        ({"argv": ["/etc/passwd"]}, Code.PERMISSION_DENIED),
    ],
)
def test_what_cannot_be_run_is_refused_with_a_code(params, code):
    with pytest.raises(Refused) as refused:
        execute(**params)
    assert refused.value.code is code
    assert str(refused.value)


def test_folder_environment_and_input_reach_the_program(tmp_path):
    assert execute(argv=["pwd"], cwd=str(tmp_path))["stdout"] == f"{tmp_path}\n"
    assert execute(argv=["sh", "-c", "echo $COLOUR"], env={"COLOUR": "red"})["stdout"] == "red\n"
    assert execute(argv=["cat"], stdin="x" * 200_000)["truncated"]
    assert execute(argv=["cat"], stdin="hello")["stdout"] == "hello"


def test_no_setting_of_the_agent_reaches_the_program(monkeypatch):
    for name in ("AGENT_SECRET", "AGENT_SECRET_FILE", "MASTER_URL", "AGENT_ID", "CREDENTIALS_DIRECTORY"):
        monkeypatch.setenv(name, "canary-7f3a")
    assert "canary-7f3a" not in execute(argv=["env"])["stdout"]


@pytest.mark.parametrize("how", ["timeout", "cancel"])
def test_a_program_is_stopped_with_everything_it_started(how, tmp_path):
    pids = tmp_path / "pids"
    script = f"trap '' TERM; sleep 60 & echo $! > {pids}.new; echo $$ >> {pids}.new; mv {pids}.new {pids}; wait; sleep 60"
    call, thread, outcome = prepare(0.5 if how == "timeout" else 30, shell=script)
    started = time.monotonic()
    thread.start()
    wait_for(pids.exists)
    if how == "cancel":
        call.cancel()
    thread.join(10)
    assert outcome[0].code is (Code.TIMEOUT if how == "timeout" else Code.CANCELLED)
    assert time.monotonic() - started < 6
    for pid in map(int, pids.read_text().split()):
        wait_for(lambda pid=pid: gone(pid))


def test_a_program_that_was_stopped_can_still_end_in_order(tmp_path):
    mark = tmp_path / "ended"
    with pytest.raises(Refused) as refused:
        execute(0.3, shell=f"trap 'touch {mark}; exit' TERM; kill -STOP $$")
    assert refused.value.code is Code.TIMEOUT
    assert mark.exists()


def test_what_a_program_leaves_in_its_group_dies_with_it(tmp_path):
    pid = tmp_path / "pid"
    done = execute(shell=f"sleep 60 & echo $! > {pid}")
    assert done["exitCode"] == 0
    wait_for(lambda: gone(int(pid.read_text())))


def test_a_flood_of_output_is_cut_and_costs_no_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    done = execute(30.0, shell="head -c 268435456 /dev/zero | tr '\\0' x; echo end >&2")
    assert (done["exitCode"], done["truncated"], done["stderr"]) == (0, True, "end\n")
    assert len(done["stdout"]) == LARGEST_OUTPUT
    assert time.monotonic() - started < 25
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024  # KiB


@pytest.mark.parametrize("sign", ["\\000", "\\377", "\\001"])
def test_the_worst_output_still_fits_a_message(sign):
    flood = f"head -c 200000 /dev/zero | tr '\\0' '{sign}'"
    done = execute(shell=f"{flood}; {flood} >&2")
    assert done["truncated"]
    assert len(json.dumps(done)) < MAX_TEXT - 1024


# SIGCANCEL and SIGSETXID, numbers 32 and 33: the C library lets no program set them, whoever started it.
LIBC_OWN = 1 << 31 | 1 << 32
IGNORING = """
import signal
for name in ("SIGINT", "SIGQUIT", "SIGTSTP", "SIGHUP"):
    signal.signal(getattr(signal, name), signal.SIG_IGN)
from agent_client.calls import Call
from agent_client.services.programs import run_program
from agent_client.signals import make_children_normal
make_children_normal()
params = {"argv": ["grep", "SigIgn", "/proc/self/status"], "shell": None, "cwd": None, "env": {}, "stdin": ""}
print(run_program(Call("c", params, 5))["stdout"])
"""


def test_signals_that_the_agent_was_started_to_ignore_are_not_ignored_by_programs():
    done = subprocess.run(
        [sys.executable, "-c", IGNORING],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.stdout.startswith("SigIgn:"), done.stderr
    ignored = int(done.stdout.split()[1], 16)
    assert ignored & ~LIBC_OWN == 0
