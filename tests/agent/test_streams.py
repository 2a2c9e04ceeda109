"""Streams of an agent against a real master over real sockets: shells, and programs as they run."""

import pytest

from tests.agent.real_master import Master
from tests.agent.test_link import url, wait_for


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
