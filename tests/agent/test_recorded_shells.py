"""One who records a real shell: gets every byte, and is felt by nobody."""

import time

import pytest

from agent_client.calls import Refused
from agent_client.protocol.codes import Code
from agent_client.shells import Size
from agent_client.shells.shell import AHEAD, MOST_RECORDERS, MOST_VIEWERS
from agent_client.streams import Broken, Done
from tests.agent.seat import Desk, Seat, alive, desk
from tests.agent.test_link import wait_for


@pytest.fixture(autouse=True)
def _empty_home(monkeypatch, tmp_path):
    """Whatever this machine's user has shells do at their start, which may take seconds, is not ours."""
    monkeypatch.setenv("HOME", str(tmp_path))


def record(one: Desk, seat: Seat, offset: int = 0) -> Seat:
    opened = one.shells.attach(seat.data["handle"], offset, Size(1, 1), writes=False, records=True)
    return Seat(opened)


def test_a_recorder_gets_every_byte_and_the_end():
    with desk() as one:
        seat = one.open()
        recorder = record(one, seat)
        seat.type("seq 1 2000; exit 3\r")
        seen = seat.rest()
        assert recorder.rest() == seen
        assert recorder.end == Done({"exitCode": 3})
        again = record(one, seat, 100)  # its worker died: another one goes on where it was
        assert again.rest() == seen[100:]
        assert again.end == Done({"exitCode": 3})


def test_a_recorder_has_no_size_and_is_in_no_count():
    with desk() as one:
        seat = one.open(90, 30)
        recorder = record(one, seat)
        assert (recorder.data["cols"], recorder.data["rows"]) == (90, 30)
        assert seat.run("stty size") == b"30 90\n"
        listed = one.shells.listed()[0]
        assert (listed["viewers"], listed["writers"]) == (1, 1)
        for _ in range(MOST_VIEWERS - 1):
            one.attach(seat, 0, 90, 30)
        for _ in range(MOST_RECORDERS - 1):
            record(one, seat)
        with pytest.raises(Refused, match=f"{MOST_RECORDERS} record") as refused:
            record(one, seat)
        assert refused.value.code is Code.BUSY


def test_a_recorder_that_never_reads_slows_nobody_and_is_moved_on():
    with desk() as one:
        seat = one.open()
        recorder = record(one, seat)
        seat.type("yes | head -c 3000000; echo do''ne\r")
        seat.see(b"done")
        recorder.until(lambda: recorder.end is not None)
        assert isinstance(recorder.end, Broken)
        assert recorder.end.code is Code.GAP
        assert record(one, seat).data["offset"] > 1_000_000  # what is missing is known


def test_a_recorder_does_not_make_a_held_program_go_on():
    with desk() as one:
        seat = one.open()
        recorder = record(one, seat)
        seat.run("true")
        seat.type("yes\r")
        seat.see(b"y\r\ny\r\n")

        def written() -> int:
            return one.shells.listed()[0]["offset"]

        wait_for(lambda: written() >= seat.position + AHEAD)
        recorder.until(lambda: recorder.position == written())
        assert written() < seat.position + 2 * AHEAD
        seat.leave()


def test_a_shell_that_is_only_recorded_ends_after_its_time():
    with desk(keep=0.5) as one:
        seat = one.open()
        recorder = record(one, seat)
        seat.run("true")
        seat.leave()
        assert one.shells.listed()[0]["detachedFor"] is not None
        began = time.monotonic()
        recorder.rest()
        assert time.monotonic() - began < 15
        assert isinstance(recorder.end, Done)
        wait_for(lambda: not alive(seat.data["pid"]))


def test_a_recorder_may_not_type():
    with desk() as one:
        seat = one.open()
        with pytest.raises(Refused, match="may not type") as refused:
            one.shells.attach(seat.data["handle"], 0, Size(80, 24), writes=True, records=True)
        assert refused.value.code is Code.INVALID_PARAMS
        recorder = record(one, seat)
        recorder.type("echo no\r")
        recorder.until(lambda: recorder.end is not None)
        assert isinstance(recorder.end, Broken)
        assert recorder.end.code is Code.FORBIDDEN
