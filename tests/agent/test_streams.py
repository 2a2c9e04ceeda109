"""Streams of an agent against a real master over real sockets: shells, and programs as they run."""

import os
import selectors
import signal
import struct
import subprocess
import sys
import time

import pytest

from agent_client.services.streamed import INPUT_WINDOW, Running
from agent_client.streams import Opened
from tests.agent.narrow import NarrowLine
from tests.agent.real_master import DATA, Master, Stream
from tests.agent.seat import Seat, alive, members, runs
from tests.agent.test_execution import LIBC_OWN
from tests.agent.test_link import url, wait_for
from tests.docs.pages import ROOT


@pytest.fixture(autouse=True)
def _empty_home(monkeypatch, tmp_path):
    """Whatever this machine's user has shells do at their start, which may take seconds, is not ours."""
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def master():
    with Master() as one:
        yield one


@pytest.fixture
def visit(master, start_agent):
    start_agent(url(master))
    visit = master.visit()
    visit.next("HELLO")
    return visit


def test_a_shell_is_opened_typed_in_read_and_ends_with_its_exit_code(visit):
    shell = visit.open("shell", "open", cols=80, rows=24)
    assert set(shell.data) == {"handle", "offset", "pid", "shell", "cols", "rows", "window"}
    assert shell.run("echo hello $((6 * 7))") == b"hello 42\n"
    assert shell.run("stty size") == b"24 80\n"
    assert visit.run("shell", "resize", params={"stream": 1, "cols": 100, "rows": 30})["data"] == {
        "cols": 100,
        "rows": 30,
    }
    assert shell.run("stty size") == b"30 100\n"
    shell.write(b"exit 3\r")
    shell.until(lambda: shell.end is not None)
    assert shell.end == {"exitCode": 3}
    shell.write_end()
    (told,) = visit.run("shell", "list")["data"]["shells"]
    assert (told["handle"], told["exitCode"]) == (shell.data["handle"], 3)
    assert visit.run("shell", "close", params={"handle": shell.data["handle"]})["data"] == {}
    wait_for(lambda: not visit.run("shell", "list")["data"]["shells"])


def test_a_shell_outlives_its_session_and_no_byte_is_missing(master, visit):
    shell = visit.open("shell", "open", cols=80, rows=24)
    shell.run("stty -echo; PS1=; set +o emacs")
    handle, begin = shell.data["handle"], shell.position
    shell.write(b"seq 1 100000; exec true\r")
    kept = b""
    for _ in range(3):
        shell.until(lambda shell=shell: len(shell.output) > 100_000)
        visit.socket.close(1012)
        assert visit.over.wait(10)
        kept += shell.output
        visit = master.visit()
        visit.next("HELLO")
        offset = begin + len(kept)
        shell = visit.open("shell", "attach", handle=handle, offset=offset, cols=80, rows=24, write=True)
        assert shell.data["offset"] == offset
    shell.until(lambda: shell.end is not None)
    assert kept + shell.output == "".join(f"{number}\r\n" for number in range(1, 100_001)).encode()


def records(data: bytes) -> "dict[int, bytes]":
    """Take apart what a program at a stream wrote: by output."""
    found = {1: b"", 2: b""}
    while data:
        output, length = struct.unpack_from("!BI", data)
        assert len(data) >= 5 + length, "the last record is cut"
        found[output] += data[5 : 5 + length]
        data = data[5 + length :]
    return found


def test_a_program_at_a_stream_is_fed_and_heard_while_it_runs(visit):
    running = visit.open("system", "exec", shell="echo began >&2; cat; exit 4", stdin="first ")
    running.until(lambda: b"began" in running.output)
    running.write(b"second ")
    running.until(lambda: b"second" in running.output)
    running.write_end()
    running.until(lambda: running.end is not None)
    assert records(running.output) == {1: b"first second ", 2: b"began\n"}
    assert running.end["exitCode"] == 4
    assert running.end["durationMs"] >= 0


def test_ten_megabytes_go_through_a_program_and_come_back_whole(visit):
    noise = os.urandom(10_000_000)
    running = visit.open("system", "exec", argv=["cat"])
    running.write(noise)
    running.write_end()
    running.until(lambda: running.end is not None)
    assert records(running.output)[1] == noise


def test_a_shell_at_pipes_is_a_login_shell_without_a_terminal_and_takes_bytes_as_they_are(visit, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    noise = os.urandom(10_000_000)
    shell = visit.open("shell", "pipe")
    shell.write(
        b"test -t 0 -o -t 1 -o -t 2 || echo $0 $(printenv TERM || echo none) $(ps -o sid= $$) >&2; exec cat\n"
    )
    shell.write(noise)
    shell.write_end()
    shell.until(lambda: shell.end is not None)
    name, term, session = records(shell.output)[2].decode().split()
    assert (name, term) == (f"-{os.path.basename(shell.data['shell'])}", "none")
    assert int(session) == shell.data["pid"]
    assert records(shell.output)[1] == noise
    assert shell.end["exitCode"] == 0


def test_a_line_for_a_shell_at_pipes_leaves_in_the_background_what_it_put_there(visit):
    shell = visit.open("shell", "pipe", line="sleep 60 >/dev/null 2>&1 & echo $!; exit 4")
    shell.until(lambda: shell.end is not None)
    assert shell.end["exitCode"] == 4
    left = int(records(shell.output)[1])
    try:
        assert alive(left)
    finally:
        os.kill(left, signal.SIGKILL)


def test_a_program_that_does_not_listen_ends_all_the_same(visit):
    running = visit.open("system", "exec", shell="exec <&-; sleep 0.3; echo done")
    running.write(b"x" * 1_000_000)
    running.until(lambda: running.end is not None)
    assert records(running.output)[1] == b"done\n"
    running.write(b"x" * 100_000)  # what comes after the end is taken and dropped
    running.write_end()
    assert visit.run("agent", "ping")["status"] == "success"


def test_nothing_of_a_program_that_ended_is_lost_to_a_thread_that_is_late():
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process = subprocess.Popen(["head", "-c", "120000", "/dev/zero"], bufsize=0, **pipes)
    running = Running(process, b"", lambda: None)
    seat = Seat(Opened({}, running, INPUT_WINDOW))

    def turn() -> bool:
        """Do what the watching thread does; tell whether there was something to do."""
        with selectors.DefaultSelector() as selector:
            for fd, events in (running.interest() or {}).items():
                selector.register(fd, events)
            ready = selector.select(0.1)
        for key, events in ready:
            running.ready(key.fd, events)
        return bool(ready)

    while process.returncode is None or turn():  # what the line does not take stays in the pipe
        turn()
    while isinstance(seat.take(), bytes):
        pass
    running.tick(time.monotonic() + 3600)
    while running.interest() is not None:
        turn()
        seat.take()
        running.tick(time.monotonic() + 3600)
    assert len(records(seat.rest())[1]) == 120_000
    running.release()


def test_a_program_that_ended_before_it_read_gives_back_the_room_of_its_input(visit):
    running = visit.open("system", "exec", shell="sleep 0.5; exit 4")
    running.write(b"x" * 1_000_000)  # far more than pipe and window hold
    running.write_end()
    running.until(lambda: running.end is not None)
    assert running.end["exitCode"] == 4


def resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_program_nobody_reads_from_waits_and_costs_no_memory(visit):
    idle = visit.open("system", "exec", window=65_536, argv=["yes"], reads=False)
    idle.until(lambda: idle.position >= 65_536)
    pid = idle.data["pid"]
    before = resident()

    def ticks() -> int:
        with open(f"/proc/{pid}/stat") as stat:
            return sum(map(int, stat.read().rsplit(")", 1)[1].split()[11:13]))

    wait_for(lambda: (ticks(), time.sleep(0.3))[0] == ticks(), 30)  # it does not run any more
    assert idle.position == 65_536
    assert resident() - before < 4 * 1024 * 1024
    idle.grant()
    idle.until(lambda: idle.position > 100_000)  # and goes on when there is room
    idle.leave()
    wait_for(lambda: not alive(pid))


@pytest.mark.parametrize("action", ["exec", "pipe"])
@pytest.mark.parametrize("how", ["reset", "cancel", "session"])
def test_a_program_dies_with_its_stream_and_all_its_group(visit, tmp_path, how, action):
    pids = tmp_path / "pids"
    script = (
        f"trap '' TERM; sleep 60 & echo $! $$ > {pids}.new; mv {pids}.new {pids}; while :; do sleep 1; done"
    )
    if action == "exec":
        running = visit.open("system", "exec", shell=script)
    else:
        running = visit.open("shell", "pipe", line=script)
    wait_for(pids.exists)
    if how == "reset":
        running.leave()
    elif how == "cancel":
        visit.send({"type": "CANCEL", "id": running.command_id})
        running.until(lambda: running.reset)
        assert running.reset["code"] == "cancelled"
    else:
        visit.socket.close(1012)
    for pid in map(int, pids.read_text().split()):
        wait_for(lambda pid=pid: not alive(pid))


@pytest.mark.parametrize(
    ("service", "action", "params", "stream", "word"),
    [
        ("shell", "open", {"cols": 80, "rows": 24}, {}, "stream"),
        ("agent", "ping", {}, {"stream": 1}, "stream"),
        ("shell", "open", {"cols": 0, "rows": 24}, {"stream": 1}, "cols"),
        ("shell", "open", {"cols": 80, "rows": 24, "window": 262_145}, {"stream": 1}, "window"),
        ("shell", "pipe", {"line": "true"}, {}, "stream"),
        ("shell", "pipe", {"line": "x" * 16_385}, {"stream": 1}, "line"),
        ("system", "exec", {}, {"stream": 1}, "argv"),
    ],
)
def test_a_wrong_wish_for_a_stream_is_refused(visit, service, action, params, stream, word):
    reply = visit.run(service, action, params=params, **stream)
    assert reply["code"] == "invalid_params"
    assert word in reply["error"]


def test_a_shell_whose_session_ends_before_it_is_opened_waits_for_whoever_comes(master, visit):
    visit.command("shell", "open", params={"cols": 80, "rows": 24}, stream=1)
    visit.socket.close(1012)
    visit = master.visit()
    visit.next("HELLO")
    wait_for(lambda: [s["viewers"] for s in visit.run("shell", "list")["data"]["shells"]] in ([0], []))


def test_a_shell_that_nobody_wants_any_more_when_it_is_open_is_ended(visit):
    for number in range(1, 9):
        asked = visit.command("shell", "open", params={"cols": 80, "rows": 24}, stream=number)
        visit.streams[number] = Stream(visit, number, 131_072, reads=True)
        visit.send({"type": "CANCEL", "id": asked})
        reply = visit.reply(asked)
        assert reply["status"] == "success" or reply["code"] == "cancelled"
        for shell in visit.run("shell", "list")["data"]["shells"]:
            if reply["status"] == "success":  # it was open before the CANCEL came: then its stream is over
                visit.streams[number].until(lambda number=number: visit.streams[number].reset)
            visit.run("shell", "close", params={"handle": shell["handle"]})
    wait_for(lambda: all(s["exitCode"] is not None for s in visit.run("shell", "list")["data"]["shells"]))


def test_a_keystroke_does_not_wait_for_bulk(visit):
    shell = visit.open("shell", "open", cols=80, rows=24)
    shell.run("true")
    flood = visit.open("system", "exec", argv=["yes"])
    flood.until(lambda: flood.position > 1_000_000)
    slowest = 0.0
    for number in range(20):
        started = time.monotonic()
        assert shell.run(f"echo {number}") == b"%d\n" % number
        slowest = max(slowest, time.monotonic() - started)
        flood.output = b""
    assert slowest < 2.0
    before = flood.position
    flood.until(lambda: flood.position > before)  # and bulk goes on
    flood.leave()


def test_on_a_line_of_a_megabit_a_keystroke_passes_a_flood_of_bulk(master, start_agent):
    """Here 0.2 s when nothing else runs: a piece of bulk, and what kernel and line hold; not its whole window."""
    with NarrowLine(master.port, rate=125_000) as line:
        start_agent(f"ws://127.0.0.1:{line.port}/tunnel")
        visit = master.visit()
        shell = visit.open("shell", "open", cols=80, rows=24)
        shell.run("PS1=; set +o emacs")
        flood = visit.open("system", "exec", argv=["yes"], window=1_048_576)
        flood.until(lambda: flood.position > 300_000)
        times = []
        for _ in range(10):
            position, started = shell.position, time.monotonic()
            shell.write(b"x")
            shell.until(lambda position=position: shell.position > position)
            times.append(time.monotonic() - started)
        before = flood.position
        assert sorted(times)[5] < 1.5
        flood.until(lambda: flood.position > before)  # and bulk goes on


def test_ctrl_c_ends_a_flood_at_once(visit):
    shell = visit.open("shell", "open", cols=80, rows=24, window=262_144)
    shell.run("true")
    shell.write(b"yes\r")
    shell.until(lambda: shell.position > 1_000_000)
    started = time.monotonic()
    shell.write(b"\x03")
    shell.see(b"^C")
    assert shell.run("echo back") == b"back\n"
    assert time.monotonic() - started < 3.0


def test_a_broken_rule_ends_its_stream_and_no_other(visit):
    first = visit.open("shell", "open", cols=80, rows=24)
    second = visit.open("shell", "open", cols=80, rows=24)
    first.run("true")
    first.frame(DATA, 10_000, b"out of order")
    first.until(lambda: first.reset)
    assert first.reset["code"] == "gap"
    assert second.run("echo fine") == b"fine\n"
    told = {shell["handle"]: shell for shell in visit.run("shell", "list")["data"]["shells"]}
    assert told[first.data["handle"]]["viewers"] == 0
    again = visit.open(
        "shell",
        "attach",
        handle=first.data["handle"],
        offset=told[first.data["handle"]]["offset"],
        cols=80,
        rows=24,
        write=True,
    )
    assert again.run("echo still here") == b"still here\n"


def test_many_streams_at_once_each_whole(visit):
    asked = [visit.open("system", "exec", shell=f"seq {n} 60000") for n in range(20)]
    for n, running in enumerate(asked):
        running.until(lambda running=running: running.end is not None)
        assert records(running.output)[1] == "".join(f"{i}\n" for i in range(n, 60_001)).encode()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_agent_whose_thread_for_streams_ended_says_so(master, start_agent):
    class Faulty:
        def interest(self):
            raise RuntimeError("a fault of ours")

    agent = start_agent(url(master))
    assert agent.trouble() is None
    agent.watch.add(Faulty())
    wait_for(lambda: agent.trouble() == "the thread for streams ended")


IN_A_SCRIPT = "trap '' INT QUIT TSTP HUP TTIN TTOU; exec \"$0\" -m agent_client"


@pytest.fixture
def program(master, tmp_path):
    """The agent as a process of its own, started by a script that ignores what scripts ignore."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "MASTER_URL": f"ws://127.0.0.1:{master.port}",
        "ALLOW_INSECURE": "1",
        "AGENT_ID": "agent-home-server",
        "AGENT_SECRET": "canary-7f3a",
    }
    process = subprocess.Popen(
        ["/bin/sh", "-c", IN_A_SCRIPT, sys.executable], cwd=tmp_path, env=environment, start_new_session=True
    )
    yield process
    process.kill()
    process.wait()


def test_ctrl_c_works_although_the_agent_was_started_to_ignore_it_and_no_secret_is_there(master, program):
    visit = master.visit(30)
    shell = visit.open("shell", "open", cols=80, rows=24)
    shell.run("true")
    shell.write(b"sleep 60\r")
    wait_for(lambda: runs(shell.data["pid"], "sleep"))
    shell.write(b"\x03")
    shell.write(b"echo code=$?\r")
    shell.see(b"code=130")
    ignored = int(shell.run("grep SigIgn /proc/self/status").split()[1], 16)
    assert ignored & ~LIBC_OWN == 0
    assert b"canary" not in shell.run("env; cat /proc/$$/environ")
    program.terminate()
    assert program.wait(15) == 0
    assert members(shell.data["pid"]) == []


def test_an_agent_that_is_killed_takes_its_shells_along(master, program):
    visit = master.visit(30)
    shells = [visit.open("shell", "open", cols=80, rows=24) for _ in range(3)]
    shells[0].run("sleep 71 & true")
    shells[1].write(b"sleep 72\r")
    shells[2].reads = False
    shells[2].write(b"yes\r")
    shells[2].until(lambda: shells[2].position > 50_000)
    wait_for(lambda: all(len(members(shell.data["pid"])) == 2 for shell in shells))
    program.kill()
    program.wait()
    for shell in shells:
        wait_for(lambda shell=shell: members(shell.data["pid"]) == [])
