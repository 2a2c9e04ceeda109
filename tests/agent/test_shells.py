"""Shells on real terminals: what programs see, who is held back, what is lost and what never."""

import hashlib
import logging
import os
import random
import shlex
import subprocess
import sys
import threading
import time

import pytest

from agent_client import shells as shells_module
from agent_client.calls import Refused
from agent_client.protocol.codes import Code
from agent_client.shells import MOST_SHELLS, start
from agent_client.shells.ring import LIMIT, Ring
from agent_client.shells.shell import AHEAD, MOST_VIEWERS, MOST_WATCHERS, TYPED, UNREAD
from agent_client.streams import Broken, Done
from tests.agent.seat import alive, desk, members, runs
from tests.agent.test_link import wait_for
from tests.agent.test_process import pythons
from tests.docs.pages import ROOT


@pytest.fixture(autouse=True)
def _empty_home(monkeypatch, tmp_path):
    """Whatever this machine's user has shells do at their start, which may take seconds, is not ours."""
    monkeypatch.setenv("HOME", str(tmp_path))


SEQ = "".join(f"{number}\r\n" for number in range(1, 200_001)).encode()


def test_a_shell_is_a_login_shell_with_a_terminal_and_a_session_of_its_own():
    with desk() as one:
        seat = one.open(101, 33, term="vt220")
        pid = seat.data["pid"]
        assert set(seat.data) == {"handle", "offset", "pid", "shell", "cols", "rows"}
        assert seat.run("echo $0").startswith(b"-")
        assert seat.run("stty size") == b"33 101\n"
        assert seat.run("echo $TERM $$").split() == [b"vt220", str(pid).encode()]
        assert os.getsid(pid) == os.getpgid(pid) == pid
        assert seat.run("tty").startswith(b"/dev/pts/")
        assert seat.run("test -t 0 -a -t 1 -a -t 2; echo $?") == b"0\n"
        assert seat.run("ls -l /proc/$$/fd | grep -c -v -e total -e /dev/") == b"0\n"
        seat.type("exit 7\r")
        seat.rest()
        assert seat.end == Done({"exitCode": 7})


def test_a_signal_that_ends_the_shell_is_a_negative_exit_code():
    with desk() as one:
        seat = one.open()
        seat.type("kill -9 $$\r")
        seat.rest()
        assert seat.end == Done({"exitCode": -9})


def test_bytes_that_are_no_utf8_arrive_as_they_are():
    with desk() as one:
        seat = one.open()
        assert seat.run(r"printf '\377\376\303(\200'") == b"\xff\xfe\xc3(\x80"


def test_a_user_without_a_shell_gets_bash_and_without_bash_sh(monkeypatch):
    nobody = start.User("x", 0, 0, "/", "/usr/sbin/nologin")
    assert start.shell_of(nobody) == "/bin/bash"
    monkeypatch.setattr(start, "FALLBACKS", ("/no/bash", "/bin/sh"))

    monkeypatch.setattr(shells_module, "user_of", lambda *_names: nobody)
    with desk() as one:
        seat = one.open()
        assert seat.data["shell"] == "/bin/sh"
        assert seat.run("echo $0") == b"-sh\n"
        seat.type("sleep 60\r")
        wait_for(lambda: runs(seat.data["pid"], "sleep"))
        seat.type("\x03")
        assert seat.run("echo back") == b"back\n"


def test_no_setting_of_the_agent_reaches_the_shell(monkeypatch):
    for name in ("AGENT_SECRET", "AGENT_SECRET_FILE", "MASTER_URL", "AGENT_ID", "CREDENTIALS_DIRECTORY"):
        monkeypatch.setenv(name, "canary-7f3a")
    monkeypatch.setenv("COLOUR", "red")
    with desk() as one:
        seat = one.open()
        shown = seat.run("env; cat /proc/$$/environ /proc/$$/cmdline")
        assert b"canary" not in shown
        assert b"COLOUR=red" in shown


@pytest.mark.parametrize("lang", ["id-ID", "xx_YY.UTF-8", None, "; rm -rf /"])
def test_the_locale_is_one_this_machine_has_and_speaks_utf8(lang, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    with desk() as one:
        seat = one.open(lang=lang)
        assert seat.run("locale charmap 2>&1") == b"UTF-8\n"
        assert seat.run("printf '%s' é | wc -m").strip() == b"1"


def test_ctrl_c_works_and_ctrl_z_stops():
    with desk() as one:
        seat = one.open()
        seat.run("true")
        seat.type("sleep 60\r")
        wait_for(lambda: runs(seat.data["pid"], "sleep"))
        seat.type("\x03")
        seat.type("echo code=$?\r")
        seat.see(b"code=130")
        seat.type("sleep 61\r")
        wait_for(lambda: runs(seat.data["pid"], "sleep"))
        seat.type("\x1a")
        seat.see(b"Stopped")
        assert b"sleep 61" in seat.run("jobs")


def test_yes_is_held_back_when_nobody_reads_and_ctrl_c_ends_it_at_once():
    with desk() as one:
        seat = one.open()
        seat.run("true")
        seat.type("yes\r")
        seat.see(b"y\r\ny\r\n")
        taken = seat.position

        def written() -> int:
            return one.shells.listed()[0]["offset"]

        wait_for(lambda: written() >= taken + AHEAD)
        before = written()
        time.sleep(0.5)  # the fact is that nothing happens
        assert written() == before < taken + 2 * AHEAD
        seat.until(lambda: len(seat.output) > 300_000)  # it goes on when somebody reads
        started = time.monotonic()
        seat.type("\x03")
        seat.see(b"^C")
        assert time.monotonic() - started < 10
        assert seat.run("echo back") == b"back\n"


def test_ten_megabytes_arrive_whole(tmp_path):
    noise = tmp_path / "noise"
    noise.write_bytes(os.urandom(10_000_000))
    with desk() as one:
        seat = one.open()
        seat.quiet()
        seat.run("stty raw")
        seat.type(f"cat {noise}; exec true\n")
        assert hashlib.sha256(seat.rest()).digest() == hashlib.sha256(noise.read_bytes()).digest()


def test_who_comes_back_in_time_misses_no_byte():
    """Cut again and again in mid-output; up to a window of what was taken before a cut never arrived."""
    with desk() as one:
        first = here = one.open()
        here.quiet()
        here.type("seq 1 200000; exec true\r")
        kept = b""
        for turn in range(10):
            here.until(lambda here=here: len(here.output) > 130_000)
            here.leave(under_way=(0, 1, 60_000, 130_000)[turn % 4])
            kept += here.output
            wait_for(lambda: not one.shells.listed()[0]["viewers"])
            time.sleep(0.05 * (turn % 3))  # it writes on, up to what is held
            here = one.attach(first, here.position)
            assert here.data["offset"] == here.position
            assert here.data["end"] >= here.data["offset"]
        kept += here.rest()
        assert kept.endswith(SEQ)
        assert here.end == Done({"exitCode": 0})


def test_what_was_written_while_nobody_looked_is_held_back_and_all_there(monkeypatch):
    with desk() as one:
        first = one.open()
        first.quiet()
        first.leave()
        typist = one.attach(first, first.position)
        typist.type("seq 1 200000; exec true\r")
        typist.leave()
        wait_for(lambda: one.shells.listed()[0]["offset"] >= first.position + UNREAD)
        time.sleep(0.3)  # the fact is that nothing happens
        assert one.shells.listed()[0]["offset"] < first.position + LIMIT
        back = one.attach(first, first.position)
        assert back.rest() == SEQ


def test_after_its_time_nobody_is_waited_for_and_the_last_mebibyte_is_kept():
    last = b"".join(b"%d\r\n" % number for number in range(1, 400_001)) + b"<over>"
    with desk(hold=0.3) as one:
        first = one.open()
        first.quiet()
        whole = first.position + len(last)
        first.type("seq 1 400000; printf '<%s>' over\r")
        first.until(lambda: first.position > 100_000)
        lost_from = first.position
        first.leave()
        wait_for(lambda: one.shells.listed()[0]["offset"] == whole)
        back = one.attach(first, lost_from)
        assert back.data["offset"] > lost_from
        back.until(lambda: b"<over>" in back.output)
        assert len(back.output) == LIMIT
        assert last.endswith(back.output)


def test_whoever_comes_and_goes_sees_the_bytes_of_the_place_it_asked_for():
    """Eight at once, watching and typing, at random places of two shells that write all they can."""
    with desk() as one:
        firsts = [one.open(), one.open()]
        begins = []
        for first in firsts:
            first.quiet()
            begins.append(first.position)
            first.type("seq 1 200000; exec true\r")
            first.leave()
        wrong: list = []

        def visit(seed: int) -> None:
            dice = random.Random(seed)
            until = time.monotonic() + 3
            while time.monotonic() < until and not wrong:
                which = dice.randrange(2)
                end = next(
                    s["offset"] for s in one.shells.listed() if s["handle"] == firsts[which].data["handle"]
                )
                asked = begins[which] + dice.randint(0, end - begins[which])
                try:
                    seat = one.attach(firsts[which], asked, writes=dice.random() < 0.5)
                except Refused as refused:
                    wrong.extend([] if refused.code is Code.BUSY else [refused])
                    continue
                for _ in range(dice.randint(1, 30)):
                    seat.take(dice.choice((0, 1, 1000, 16_384, 65_536)))
                seat.leave()
                at = seat.data["offset"] - begins[which]
                if SEQ[at : at + len(seat.output)] != seat.output:
                    wrong.append((which, asked, seat.data["offset"], len(seat.output)))

        threads = [threading.Thread(target=visit, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert not wrong
        for which, first in enumerate(firsts):
            last = one.attach(first, one.shells.listed()[which]["offset"])
            last.rest()
            assert last.position == begins[which] + len(SEQ)


def test_a_byte_that_was_not_written_yet_cannot_be_asked_for():
    with desk() as one:
        seat = one.open()
        seat.run("true")
        with pytest.raises(Refused) as refused:
            one.attach(seat, 10_000_000)
        assert refused.value.code is Code.INVALID_PARAMS
        with pytest.raises(Refused) as refused:
            one.shells.attach("no-such-handle", 0, shells_module.Size(80, 24), writes=True)
        assert refused.value.code is Code.NOT_FOUND


def test_a_watcher_that_never_reads_slows_nobody_and_is_moved_on():
    with desk() as one:
        typist = one.open()
        watcher = one.attach(typist, 0, writes=False)
        typist.quiet()
        typist.type("seq 1 400000; printf '<%s>' over\r")
        typist.until(lambda: b"<over>" in typist.output)
        assert watcher.take(0) is not None
        assert isinstance(watcher.end, Broken)
        assert watcher.end.code is Code.GAP
        again = one.attach(typist, 0, writes=False)
        assert again.data["offset"] == typist.position - LIMIT
        again.until(lambda: b"<over>" in again.output)


def test_one_who_may_only_watch_and_types_is_put_out_and_nothing_was_typed():
    with desk() as one:
        typist = one.open()
        watcher = one.attach(typist, 0, writes=False)
        watcher.type("echo intruder\r")
        watcher.until(lambda: watcher.end is not None)
        assert watcher.end.code is Code.FORBIDDEN
        assert b"intruder" not in typist.run("echo back")


def test_all_who_look_see_the_same_and_the_slowest_typist_sets_the_pace():
    with desk() as one:
        first = one.open()
        second = one.attach(first, 0)
        watcher = one.attach(first, 0, writes=False)
        first.type("seq 1 100000\r")
        first.until(lambda: len(first.output) > AHEAD)
        wait_for(lambda: first.take() is None)
        assert len(first.output) < 2 * AHEAD
        second.until(lambda: len(second.output) >= len(first.output))
        watcher.until(lambda: len(watcher.output) >= len(first.output))
        assert second.output.startswith(first.output)
        assert watcher.output.startswith(first.output)


def test_a_viewer_that_ends_its_direction_leaves_and_the_shell_goes_on():
    with desk() as one:
        first = one.open()
        first.run("true")
        first.endpoint.ended(None)
        first.rest()
        assert first.end == Done()
        assert one.shells.listed()[0]["detachedFor"] >= 0
        assert one.attach(first, first.position).run("echo still here") == b"still here\n"


def test_an_ended_shell_is_found_until_its_time_is_over():
    with desk(ended=0.5) as one:
        first = one.open()
        first.run("true")
        first.type("echo last words; exit 5\r")
        first.leave()
        wait_for(lambda: one.shells.listed() and one.shells.listed()[0]["exitCode"] == 5)
        late = one.attach(first, first.position)
        assert b"last words\r\n" in late.rest()
        assert late.end == Done({"exitCode": 5})
        wait_for(lambda: not one.shells.listed())
        with pytest.raises(Refused) as refused:
            one.attach(first, 0)
        assert refused.value.code is Code.NOT_FOUND


TELLS_SIZE = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
while True:
    print(os.get_terminal_size().lines, os.get_terminal_size().columns, flush=True)
    signal.sigwait({signal.SIGWINCH})
"""


def test_a_terminal_is_as_small_as_its_smallest_viewer(tmp_path):
    program = tmp_path / "size.py"
    program.write_text(TELLS_SIZE)
    with desk() as one:
        first = one.open(120, 40)
        first.type(f"{shlex.join([sys.executable, str(program)])}\r")
        first.see(b"40 120")
        second = one.attach(first, first.position, 100, 50, writes=False)
        assert second.data["cols"] == 100
        assert second.data["rows"] == 40
        first.see(b"40 100")
        assert one.shells.resize(first.number, shells_module.Size(90, 30)) == {"cols": 90, "rows": 30}
        first.see(b"30 90")
        one.shells.resize(first.number, shells_module.Size(200, 60))
        first.see(b"50 100")
        second.leave()
        first.see(b"60 200")
        with pytest.raises(Refused) as refused:
            one.shells.resize(second.number, shells_module.Size(80, 24))
        assert refused.value.code is Code.NOT_FOUND


def test_what_is_typed_is_bounded_by_what_the_program_reads():
    with desk() as one:
        seat = one.open()
        seat.run("PS1=; set +o emacs; stty raw -echo")
        seat.type("echo rea''dy; sleep 0.5; head -c 300000 | md5sum; exit\n")
        seat.see(b"ready")
        typed = "x" * 300_000
        sent = 0
        deadline = time.monotonic() + 20
        used = seat.used
        while sent < len(typed):
            assert time.monotonic() < deadline
            room = TYPED - (sent - (seat.used - used))
            seat.endpoint.received(typed[sent : sent + room].encode()) if room else time.sleep(0.01)
            sent += room
        assert hashlib.md5(typed.encode()).hexdigest().encode() in seat.rest()
        assert seat.used - used == len(typed)


def test_a_program_that_reads_nothing_holds_back_the_typist_and_nobody_else():
    with desk() as one:
        deaf, other = one.open(), one.open()
        deaf.run("PS1=; set +o emacs; stty raw -echo")
        deaf.type("sleep 60\n")
        deaf.endpoint.received(b"x" * TYPED)
        assert other.run("echo quick") == b"quick\n"
        assert deaf.used < TYPED


def test_seventeen_shells_are_one_too_many_and_nine_viewers_too():
    with desk() as one:
        seats = [one.open() for _ in range(MOST_SHELLS)]
        with pytest.raises(Refused) as refused:
            one.open()
        assert refused.value.code is Code.BUSY
        seats[0].type("exit\r")
        seats[0].rest()
        one.open()
        for _ in range(MOST_VIEWERS - 1):
            one.attach(seats[1], 0, writes=True)
        with pytest.raises(Refused) as refused:
            one.attach(seats[1], 0, writes=True)
        assert refused.value.code is Code.BUSY


def test_who_may_only_watch_does_not_keep_out_who_comes_back_to_type():
    with desk() as one:
        seat = one.open()
        for _ in range(MOST_WATCHERS):
            one.attach(seat, 0, writes=False)
        with pytest.raises(Refused) as refused:
            one.attach(seat, 0, writes=False)
        assert refused.value.code is Code.BUSY
        one.attach(seat, 0, writes=True)


STUBBORN = (
    "trap '' HUP; nohup sleep 71 >/dev/null 2>&1 & (trap '' HUP; sleep 72 & sleep 72) & sleep 73 &"
    " (kill -STOP $BASHPID) & bash -c 'trap \"\" HUP TERM; sleep 74; sleep 74' & true"
)


def test_a_closed_shell_is_hung_up_and_what_does_not_go_is_killed():
    with desk(grace=0.5) as one:
        gentle, stubborn = one.open(), one.open()
        gentle.run("sleep 70 & true")
        stubborn.run(STUBBORN)
        started = time.monotonic()
        one.shells.close(gentle.data["handle"])
        gentle.rest()
        assert gentle.end.detail["exitCode"] in (-1, 129)
        assert len(members(stubborn.data["pid"])) > 4
        one.shells.close(stubborn.data["handle"])
        stubborn.rest()
        assert stubborn.end == Done({"exitCode": -9})
        assert time.monotonic() - started > 0.5
        assert members(gentle.data["pid"]) == members(stubborn.data["pid"]) == []


def test_a_shell_nobody_comes_back_to_is_ended():
    with desk(keep=0.3, grace=0.5, ended=0.1) as one:
        kept, left = one.open(), one.open()
        left.run("sleep 70 & true")
        left.leave()
        wait_for(lambda: not alive(left.data["pid"]))
        wait_for(lambda: len(one.shells.listed()) == 1)
        assert members(left.data["pid"]) == []
        assert kept.run("echo still here") == b"still here\n"


def test_nothing_is_left_when_the_agent_stops():
    before = len(os.listdir("/proc/self/fd"))
    with desk() as one:
        seats = [one.open() for _ in range(3)]
        seats[0].run(STUBBORN)
        seats[1].type("yes\r")
        seats[2].type("exit\r")
        seats[2].rest()
        for seat in seats:
            seat.leave()
        started = time.monotonic()
        assert one.stop()
        assert time.monotonic() - started < 5
        for seat in seats:
            assert members(seat.data["pid"]) == []
        with pytest.raises(Refused) as refused:
            one.open()
        assert refused.value.code is Code.BUSY
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_viewer_that_takes_nothing_does_not_hold_back_the_stop():
    for _ in range(5):
        with desk() as one:
            seat = one.open()
            seat.type("yes\r")
            wait_for(lambda one=one: one.shells.listed()[0]["offset"] >= AHEAD)
            started = time.monotonic()
            assert one.stop()
            assert time.monotonic() - started < 5
            seat.rest()
            assert seat.end.code is Code.CANCELLED


def test_what_a_shell_leaves_in_the_background_does_not_hold_its_end_back():
    with desk() as one:
        seat = one.open()
        seat.run("sleep 3 & disown")
        started = time.monotonic()
        seat.type("exit 4\r")
        seat.rest()
        assert seat.end == Done({"exitCode": 4})
        assert time.monotonic() - started < 2.5


@pytest.mark.parametrize(
    ("wishes", "code"),
    [
        ({"cwd": "/no/such/folder"}, Code.NOT_FOUND),
        ({"cwd": "/etc/passwd"}, Code.NOT_FOUND),
        ({"user": "daemon"}, Code.FORBIDDEN),
    ],
)
def test_what_cannot_be_opened_is_refused_with_a_code_and_leaves_nothing(wishes, code):
    with desk() as one:
        one.open().run("true")
        files = len(os.listdir("/proc/self/fd"))
        with pytest.raises(Refused) as refused:
            one.open(**wishes)
        assert refused.value.code is code
        assert str(refused.value)
        assert len(one.shells.listed()) == 1
        assert len(os.listdir("/proc/self/fd")) == files


def test_a_shell_starts_where_it_was_asked_to(tmp_path):
    with desk() as one:
        assert one.open(cwd=str(tmp_path)).run("pwd").decode() == f"{tmp_path}\n"
        assert one.open().run("pwd; echo ~").split() == [str(tmp_path).encode()] * 2


@pytest.mark.root
def test_shells_of_the_user_the_settings_name_are_that_users(monkeypatch):
    monkeypatch.setenv("COLOUR", "red")
    with desk("daemon") as one:
        seat = one.open(user="daemon")
        assert seat.run("id -un; id -Gn; echo $HOME $USER $LOGNAME").split()[:2] == [b"daemon", b"daemon"]
        assert seat.run("env | grep -c COLOUR") == b"0\n"
        assert seat.run("echo x > $(tty); echo $?") == b"x\n0\n"
        assert seat.run("kill -0 1 2>/dev/null; echo $?") == b"1\n"
        piped = one.pipe("id -un; echo named > /dev/stderr", user="daemon")
        assert b"daemon\n" in piped.rest()
        assert b"named\n" in piped.output
        for opens in (one.open, one.pipe):
            with pytest.raises(Refused) as refused:
                opens(user="root")
            assert refused.value.code is Code.FORBIDDEN


def test_the_log_tells_of_shells_and_nothing_of_what_was_typed_or_shown(caplog):
    caplog.set_level(logging.DEBUG)
    with desk(keep=0.2, ended=0.1) as one:
        ended, closed, left, stopped = (one.open() for _ in range(4))
        ended.run("echo whisp''ered")
        ended.type("exit 3\r")
        ended.rest()
        one.shells.close(closed.data["handle"])
        closed.rest()
        left.leave()
        wait_for(lambda: len(one.shells.listed()) == 1)
        stopped.leave()
    told = [record.getMessage() for record in caplog.records if record.name == "agent.shells"]
    assert [line.split()[:2] for line in told].count(["shell", "open"]) == 4
    for seat, why in (
        (ended, "its program ended"),
        (closed, "it was closed"),
        (left, "nobody looked at it any more"),
    ):
        (line,) = [line for line in told if line.startswith(f"shell ended pid={seat.data['pid']} ")]
        assert line.endswith(why)
    assert f"pid={ended.data['pid']} exit=3" in caplog.text
    assert "whisp" not in caplog.text
    assert not any(seat.data["handle"] in caplog.text for seat in (ended, closed, left, stopped))


def test_the_list_says_who_is_there():
    with desk() as one:
        first = one.open(90, 30)
        one.attach(first, 0, writes=False)
        (told,) = one.shells.listed()
        assert told["handle"] == first.data["handle"]
        assert (told["viewers"], told["writers"], told["detachedFor"], told["exitCode"]) == (2, 1, None, None)
        assert (told["cols"], told["rows"]) == (80, 24)
        assert abs(told["started"] - time.time()) < 60


def test_an_agent_without_a_shell_pays_nothing_for_them():
    code = (
        "import sys, agent_client.agent; print([name for name in sys.modules"
        " if name in ('termios', 'pty', 'fcntl', 'pwd', 'marshal', 'subprocess') or 'agent_client.shells' in name])"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True)
    loaded = set(eval(done.stdout)) - {"marshal"}
    assert not loaded, done.stderr


OPEN_AND_CLOSE = """
import time
from agent_client.protocol.codes import Code
from agent_client.shells import Shells, Times, Wishes
from agent_client.watch import Watch
watch = Watch()
shells = Shells(watch, Times(60.0))
opened = shells.open(Wishes(80, 24), None, lambda: None)
class Line:
    number = 1
    def wake(self): pass
    def consumed(self, count): pass
opened.endpoint.attach(Line())
opened.endpoint.received(b"echo $((6 * 7))$(tty); exit 5\\r")
output = end = b""
deadline = time.monotonic() + 20
while end in (b"", None) or isinstance(end, bytes):
    output += end or b""
    assert time.monotonic() < deadline, output
    end = opened.endpoint.take(4096)
    if end is None:
        time.sleep(0.01)
assert b"42/dev/pts/" in output, output
assert end.detail == {"exitCode": 5}, end
shells.stop()
assert watch.stop(10)
"""


@pytest.mark.parametrize("python", pythons())
def test_a_shell_is_opened_and_ended_on_every_python_here(python, tmp_path):
    done = subprocess.run(
        [python, "-c", OPEN_AND_CLOSE],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_a_ring_keeps_the_last_bytes_and_counts_all():
    ring = Ring(10)
    for chunk in (b"abc", b"defgh", b"ijklm", b"x" * 25, b"yz"):
        ring.add(chunk)
    assert (ring.start, ring.end) == (30, 40)
    assert ring.read(30, 100) == b"xxxxxxxxyz"
    assert ring.read(38, 1) == b"y"
    assert ring.read(40, 5) == b""
