"""What an end does where others rely on it not to break: late calls, strange values, a clock that goes on for long."""

import json

import pytest

from agent_client.protocol import CloseCode, Code
from agent_client.protocol.clock import SAMPLE_SPAN, MasterClock
from agent_client.protocol.errors import MalformedMessage, TooManyPending
from agent_client.protocol.events import (
    CommandLapsed,
    CommandReceived,
    HelloReceived,
    ReplyReceived,
    RttMeasured,
    SessionOpened,
)
from agent_client.protocol.limits import MAX_RUBBISH, MILLISECONDS_ABOVE
from agent_client.protocol.messages import MAX_LIST, Command, Goodbye, Hello, Pong, Reply
from agent_client.protocol.text import dumps
from tests.protocol.ends import FACTS, START, Ends


def test_nothing_that_comes_after_the_end_does_anything():
    ends = Ends().join()
    ends.command()
    ends.agent.close()
    late = Command("c-2", "system", "exec", ends.wall).to_text()
    assert ends.agent.receive_text(late, ends.now, ends.wall) == []
    assert ends.agent.receive_bytes(b"\0", ends.now) == []
    assert ends.agent.tick(ends.now + 1e6) == []
    assert not ends.agent.awaits_answer("c-1")
    assert ends.agent.to_send() == []


def test_an_agent_knows_which_commands_it_still_owes_an_answer():
    ends = Ends().join()
    ends.command()
    assert ends.agent.awaits_answer("c-1")
    assert not ends.agent.awaits_answer("c-2")
    assert ends.master.pending == 1
    ends.agent.reply("c-1", 1)
    ends.join()
    assert not ends.agent.awaits_answer("c-1")
    assert ends.master.pending == 0


def test_a_second_ack_opens_nothing_and_keeps_the_session():
    ends = Ends().join()
    second = '{"type":"HANDSHAKE_ACK","status":"connected","session":"s-2"}'
    assert ends.agent.receive_text(second, ends.now, ends.wall) == []
    assert ends.agent.id == "s-1"
    assert ends.agent.to_send() == []
    assert len(ends.events(SessionOpened, "agent")) == 1


def test_get_stats_is_run_once_while_it_runs_though_it_has_no_timestamp():
    ends = Ends().join()
    ask = '{"type": "GET_STATS", "id": "req_1"}'
    first = ends.agent.receive_text(ask, ends.now, ends.wall)
    assert [type(event) for event in first] == [CommandReceived]
    assert ends.agent.receive_text(ask, ends.now, ends.wall) == []
    assert json.loads(ends.agent.to_send()[0])["code"] == "duplicate"
    ends.agent.reply("req_1", {})
    assert len(ends.agent.receive_text(ask, ends.now, ends.wall)) == 1


def test_the_short_form_of_a_command_is_get_stats_on_the_wire():
    ends = Ends().join()
    ends.master.send(
        Command("u-1", "system", "getUsage", ends.wall, short=True), deadline=ends.now + 5, owner="me"
    )
    assert json.loads(ends.master.to_send()[0]) == {"type": "GET_STATS", "id": "u-1", "timestamp": ends.wall}


def test_a_stream_that_comes_with_a_command_is_named_on_the_wire():
    members = json.loads(Command("c-1", "a", "b", START, stream=7, timeout=3.0).to_text())
    assert (members["stream"], members["timeout"]) == (7, 3.0)


@pytest.mark.parametrize("data", [{1, 2}, float("nan"), {"a": object()}])
def test_an_answer_that_is_no_json_is_told_as_an_error(data):
    ends = Ends().join()
    ends.command()
    ends.agent.reply("c-1", data)
    ends.join()
    (event,) = ends.events(ReplyReceived)
    assert event.reply.code is Code.INTERNAL
    assert "cannot be written as JSON" in event.reply.error


def test_a_value_without_end_is_not_written():
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(MalformedMessage, match="cannot be written as JSON"):
        dumps({"data": endless})


def test_a_pong_that_answers_no_ping_measures_nothing():
    ends = Ends().join()
    before = (ends.agent.rtt, ends.agent.clock.offset)
    stranger = Pong(5.0, ends.wall + 3600).to_text()
    assert ends.agent.receive_text(stranger, ends.now, ends.wall) == []
    assert (ends.agent.rtt, ends.agent.clock.offset) == before


def test_a_master_that_tells_no_time_leaves_the_clock_and_measures_the_line():
    ends = Ends()
    ends.agent.receive_text('{"type":"HANDSHAKE_ACK","status":"connected"}', ends.now, START)
    ping = next(members for text in ends.agent.to_send() if (members := json.loads(text))["type"] == "PING")
    before = ends.agent.clock.offset
    pong = json.dumps({"type": "PONG", "timestamp": ping["timestamp"]})
    assert ends.agent.receive_text(pong, ends.now + 0.25, START) == []
    assert (ends.agent.rtt, ends.agent.clock.offset) == (0.25, before)


def test_an_old_sample_of_the_clock_does_not_count_for_ever():
    clock = MasterClock(fallback=0.0)
    clock.measured(START, 0.0, 100.0)
    later = 100.0 + SAMPLE_SPAN + 1
    clock.measured(START + SAMPLE_SPAN + 2.5, 1.0, later)  # a worse line, and a clock that drifts
    assert clock.time(later) == pytest.approx(START + SAMPLE_SPAN + 3.0)


def test_the_owner_of_too_many_commands_is_told_what_to_do():
    assert str(TooManyPending(512)) == (
        "512 commands already await a reply from this agent, wait for some of them"
    )


def test_a_cancel_of_a_command_that_is_answered_is_not_sent():
    ends = Ends().join()
    ends.command()
    ends.agent.reply("c-1", 1)
    ends.join()
    ends.master.cancel("c-1")
    assert ends.master.to_send() == []


def test_a_command_that_was_forgotten_neither_lapses_nor_is_answered():
    ends = Ends().join()
    ends.command(timeout=5)
    ends.master.forget("c-1")
    ends.agent.reply("c-1", "nobody waits")
    ends.join()
    ends.pass_time(6)
    assert not ends.events(ReplyReceived)
    assert not ends.events(CommandLapsed)


def test_an_id_that_is_asked_again_has_the_deadline_of_its_second_time():
    ends = Ends().join()
    ends.command(timeout=5)
    ends.master.forget("c-1")
    ends.master.send(Command("c-1", "a", "b", ends.wall), deadline=ends.now + 8, owner="second")
    assert ends.master.tick(ends.now + 6) == []
    assert ends.master.tick(ends.now + 8) == [CommandLapsed("c-1", "second")]


def test_a_basic_agent_may_introduce_itself():
    ends = Ends(basic=True).join()
    assert ends.events(HelloReceived)[0].hello.version == FACTS.version
    assert not ends.master.closed


def test_a_round_trip_is_told_by_the_ping_after_it():
    ends = Ends().join()
    events = ends.master.receive_text('{"type":"PING","timestamp":5,"rtt":0.25}', ends.now, ends.wall)
    assert events == [RttMeasured(0.25)]


@pytest.mark.parametrize(
    "members",
    [
        {"requestId": "c-1", "status": "perhaps"},
        {"requestId": "c-1", "status": 1},
        {"requestId": "c-1", "error": 7},
        {"requestId": "c-1", "status": "error", "error": ["no"]},
    ],
)
def test_a_reply_that_is_neither_success_nor_error_answers_nothing(members):
    ends = Ends().join()
    ends.command()
    assert ends.master.receive_text(json.dumps(members), ends.now, ends.wall) == []
    assert ends.master.pending == 1
    with pytest.raises(MalformedMessage):
        Reply.from_members(members)


@pytest.mark.parametrize(
    "words", ["system", {"system": 1}, ["system", 7], ["x" * 65], ["a"] * (MAX_LIST + 1)]
)
def test_capabilities_that_are_no_words_are_malformed(words):
    with pytest.raises(MalformedMessage, match="capabilities"):
        Hello.from_members({"version": "1", "capabilities": words})


def test_times_in_milliseconds_are_understood_as_what_they_are():
    told = Pong.from_members({"timestamp": 1.0, "serverTime": START * 1000})
    assert START * 1000 > MILLISECONDS_ABOVE
    assert told.server_time == START


@pytest.mark.parametrize("seconds", [-1, -0.001])
def test_nobody_is_sent_away_for_a_time_below_nothing(seconds):
    with pytest.raises(MalformedMessage, match="retryAfter is not positive"):
        Goodbye.from_members({"reason": "restart", "retryAfter": seconds})


def test_bytes_that_are_no_frame_are_wrong_messages():
    ends = Ends().join()
    seen = [ends.agent.receive_bytes(b"\xff", ends.now) for _ in range(MAX_RUBBISH + 1)]
    assert seen[:-1] == [[]] * MAX_RUBBISH
    assert seen[-1][0].code == CloseCode.RUBBISH
