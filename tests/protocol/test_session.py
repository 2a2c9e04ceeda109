"""Two ends joined without a network keep every rule of docs/protocol.md §1–3."""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_client.protocol import CloseCode, Code, InvalidState
from agent_client.protocol.agent import Ended
from agent_client.protocol.errors import MalformedMessage, TooManyPending
from agent_client.protocol.events import (
    CancelReceived,
    CloseRequired,
    CommandLapsed,
    CommandReceived,
    HeartbeatDue,
    HeartbeatReceived,
    HelloReceived,
    MasterLeaving,
    NodeEventReceived,
    ReplyReceived,
    RttMeasured,
    SessionOpened,
)
from agent_client.protocol.frames import Frame, Kind, encode
from agent_client.protocol.limits import MAX_PENDING, MAX_TEXT, Timing
from agent_client.protocol.messages import MAX_REASON, Command, Hello
from agent_client.protocol.session import STEPS, State, Step
from tests.faults.counts import count
from tests.protocol.ends import FACTS, START, Ends

TEN_YEARS = 10 * 365 * 86400.0


def test_a_v1_agent_answers_the_ack_with_hello_and_a_first_heartbeat_is_due():
    ends = Ends().join()
    hello = ends.events(HelloReceived)[0].hello
    assert (hello.session, hello.version, hello.capabilities) == ("s-1", "1.2.3", ("system", "agent"))
    assert (hello.machine_id, hello.host, hello.policy) == ("f00d", FACTS.host, FACTS.policy)
    assert [type(event) for event in ends.at_agent] == [SessionOpened, HeartbeatDue]
    assert ends.master.state is ends.agent.state is State.OPEN


def test_a_command_is_answered_once_and_its_owner_gets_the_reply():
    ends = Ends().join()
    ends.command()
    assert ends.events(CommandReceived, "agent")[0].command.action == "getUsage"
    ends.agent.reply("c-1", {"cpu": 15.5})
    ends.join()
    event = ends.events(ReplyReceived)[0]
    assert (event.owner, event.reply.ok, event.reply.data) == ("me", True, {"cpu": 15.5})
    with pytest.raises(InvalidState):
        ends.agent.reply("c-1", {})


def test_an_id_is_asked_for_once_at_a_time():
    ends = Ends().join()
    ends.command()
    with pytest.raises(InvalidState, match="c-1 is pending already"):
        ends.command()
    ends.join()
    assert len(ends.events(CommandReceived, "agent")) == 1


@pytest.mark.parametrize(
    ("member", "runs"),
    [
        ({"stream": 1, "timeout": 5}, True),
        ({"stream": 0}, False),
        ({"stream": True}, False),
        ({"stream": 2**32}, False),
        ({"stream": 1.0}, False),
        ({"timeout": 10**400}, False),
        ({"timeout": "5"}, False),
        ({"timestamp": 1e300}, False),
    ],
)
def test_a_command_with_a_number_that_is_none_is_not_run(member, runs):
    ends = Ends().join()
    command = {"id": "c-9", "type": "EXEC_COMMAND", "service": "a", "action": "b", "timestamp": ends.wall}
    events = ends.agent.receive_text(json.dumps(command | member), ends.now, ends.wall)
    assert any(isinstance(event, CommandReceived) for event in events) is runs


def test_the_request_and_reply_look_exactly_as_in_the_mission():
    ends = Ends().join()
    ends.master.send(Command("u-1", "system", "getUsage", 1700000000), deadline=2000.0)
    request = json.loads(ends.master.to_send()[0])
    assert request == {
        "id": "u-1",
        "type": "EXEC_COMMAND",
        "service": "system",
        "action": "getUsage",
        "timestamp": 1700000000,
    }
    ends.agent.receive_text(json.dumps(request), ends.now, ends.wall)
    ends.agent.reply("u-1", {"cpu": 15.5, "ram": 4096})
    reply = json.loads(ends.agent.to_send()[0])
    assert reply == {
        "requestId": "u-1",
        "status": "success",
        "data": {"cpu": 15.5, "ram": 4096},
        "error": None,
    }


def test_get_stats_without_a_timestamp_is_answered_with_both_ids():
    ends = Ends().join()
    ends.agent.receive_text('{"type": "GET_STATS", "id": "req_1"}', ends.now, ends.wall)
    ends.agent.reply("req_1", {"cpu": 1.0})
    reply = json.loads(ends.agent.to_send()[0])
    assert reply["id"] == reply["requestId"] == "req_1"


@pytest.mark.parametrize("skew", [0.0, TEN_YEARS, -TEN_YEARS])
@pytest.mark.parametrize(
    ("age", "code"), [(0, None), (29, None), (31, Code.EXPIRED), (-29, None), (-31, Code.EXPIRED)]
)
def test_age_is_judged_on_the_masters_clock_whatever_the_nodes_says(skew, age, code):
    ends = Ends(skew=skew).join()
    ends.command(age=age)
    replies = ends.events(ReplyReceived)
    assert [event.reply.code for event in replies] == ([code] if code else [])
    assert len(ends.events(CommandReceived, "agent")) == (0 if code else 1)


AGES = st.floats(-90, 90).filter(lambda age: abs(abs(age) - 30) > 0.001)  # the edge is in the table above


@settings(max_examples=count(200, 10_000), deadline=None)
@given(st.floats(-TEN_YEARS, TEN_YEARS), st.lists(st.tuples(st.sampled_from("abc"), AGES), max_size=8))
def test_whatever_the_nodes_clock_says_only_fresh_commands_run_and_each_once(skew, commands):
    ends, expected = Ends(skew=skew).join(), []
    for command_id, age in commands:
        ends.master.forget(command_id)  # it may ask again, and does not hear of the first
        ends.command(command_id, age=age)
        if abs(age) <= 30 and command_id not in expected:
            expected.append(command_id)
    assert [event.command.id for event in ends.events(CommandReceived, "agent")] == expected


@pytest.mark.parametrize("step", [3600.0, -3600.0, 45.0, -45.0, TEN_YEARS])
def test_a_stepped_master_clock_refuses_no_fresh_command(step):
    ends = Ends().join()
    ends.command("before")
    ends.pass_time(60)
    ends.step = step
    ends.pass_time(ends.timing.ping + 1)
    ends.command("after")
    assert [event.command.id for event in ends.events(CommandReceived, "agent")] == ["before", "after"]


@pytest.mark.parametrize("step", [3600.0, -3600.0, 45.0, -45.0, -TEN_YEARS])
def test_a_clock_stepped_between_two_sessions_refuses_no_fresh_command(step):
    ends = Ends().join()
    ends.command("before")
    ends.pass_time(60)
    ends.command("forgets the first")
    again = Ends(guard=ends.guard, now=ends.now, step=step).join()
    again.command("after")
    assert [event.command.id for event in again.events(CommandReceived, "agent")] == ["after"]


@pytest.mark.parametrize("step", [3600.0, -3600.0, 45.0, -45.0, 1e300])
def test_a_clock_stepped_there_and_back_lets_no_command_run_twice(step):
    ends = Ends().join()
    command = ends.command()
    for there in (step, 0.0):
        ends.step = there
        ends.pass_time(ends.timing.ping + 1)
        ends.command(f"in between {there}")
    ends.agent.receive_text(command.to_text(), ends.now, ends.wall)
    assert json.loads(ends.agent.to_send()[-1])["code"] == "duplicate"


def test_an_expired_command_makes_the_agent_ask_for_the_time_soon():
    ends = Ends().join()
    ends.pass_time(5)
    assert ends.agent.next_tick() > ends.now + 1
    ends.step = 3600.0
    ends.command("refused")
    ends.pass_time(0.5)
    ends.command("runs")
    assert [event.command.id for event in ends.events(CommandReceived, "agent")] == ["runs"]


def test_a_suspended_laptop_runs_nothing_that_waited_for_it():
    ends = Ends().join()
    command = Command("c-1", "system", "exec", ends.wall)
    ends.now += 3600
    ends.agent.receive_text(command.to_text(), ends.now, ends.wall)
    assert json.loads(ends.agent.to_send()[0])["code"] == "expired"


def test_a_repeated_command_is_not_run_again_even_in_the_next_session():
    ends = Ends().join()
    command = ends.command()
    ends.agent.reply("c-1", 1)
    ends.join()
    again = Ends(guard=ends.guard).join()
    for session in (ends, again):
        session.agent.receive_text(command.to_text(), session.now, session.wall)
        assert json.loads(session.agent.to_send()[-1])["code"] == "duplicate"
    assert len(ends.events(CommandReceived, "agent")) == 1
    assert not again.events(CommandReceived, "agent")


def test_a_command_without_a_timestamp_is_refused_with_a_reason():
    ends = Ends().join()
    ends.agent.receive_text(
        '{"type":"EXEC_COMMAND","id":"c","service":"system","action":"exec"}', ends.now, ends.wall
    )
    reply = json.loads(ends.agent.to_send()[0])
    assert reply["code"] == "invalid_params"
    assert "timestamp" in reply["error"]


def test_a_late_a_second_and_a_foreign_reply_are_dropped():
    ends = Ends().join()
    ends.command(timeout=5)
    ends.pass_time(6)
    assert ends.events(CommandLapsed)[0].command_id == "c-1"
    ends.agent.reply("c-1", "late")
    ends.join()
    for text in ('{"requestId":"c-1","status":"success"}', '{"requestId":"other","status":"success"}'):
        assert ends.master.receive_text(text, ends.now, ends.wall) == []
    assert not ends.events(ReplyReceived)


@pytest.mark.parametrize(
    ("members", "ok", "code"),
    [
        ({"id": "c-1", "data": {"a": 1}}, True, None),
        ({"requestId": "c-1", "data": {"a": 1}}, True, None),
        ({"requestId": "c-1", "status": "error", "error": "no", "code": "not_found"}, False, Code.NOT_FOUND),
        ({"requestId": "c-1", "error": "no"}, False, Code.INTERNAL),
        ({"requestId": "c-1", "status": "error", "error": "no", "code": "not_sent"}, False, Code.INTERNAL),
        ({"requestId": "c-1", "status": "error", "error": None, "code": 7}, False, Code.INTERNAL),
    ],
)
def test_every_form_of_reply_is_understood_and_no_code_of_the_masters_is_believed(members, ok, code):
    ends = Ends().join()
    ends.command()
    events = ends.master.receive_text(json.dumps(members), ends.now, ends.wall)
    assert (events[0].reply.ok, events[0].reply.code) == (ok, code)


def test_cancel_reaches_a_running_command_and_is_ignored_for_a_finished_one():
    ends = Ends().join()
    ends.command()
    ends.master.cancel("c-1")
    ends.join()
    assert ends.events(CancelReceived, "agent") == [CancelReceived("c-1")]
    ends.agent.fail("c-1", Code.CANCELLED, "cancelled")
    ends.join()
    assert ends.events(ReplyReceived)[0].reply.code is Code.CANCELLED
    ends.agent.receive_text('{"type":"CANCEL","id":"c-1"}', ends.now, ends.wall)
    assert len(ends.events(CancelReceived, "agent")) == 1


def test_pings_measure_the_line_and_keep_both_sides_alive():
    ends = Ends().join()
    ends.pass_time(120)
    assert ends.events(RttMeasured)[-1].seconds == 0.0
    assert not ends.events(CloseRequired)
    assert not ends.events(CloseRequired, "agent")
    assert len(ends.events(HeartbeatDue, "agent")) == 1 + 120 // 30


def test_each_fourth_ping_is_announced_so_that_it_finds_the_line_empty():
    ends = Ends().join()
    announced = set()
    for _ in range(4 * 10 * int(ends.timing.ping)):
        ends.pass_time(1)
        if ends.agent.alone_at < float("inf"):
            announced.add(ends.agent.alone_at)
            assert ends.now <= ends.agent.alone_at <= ends.now + ends.timing.ping
    assert len(announced) == 10
    gaps = {later - sooner for sooner, later in itertools.pairwise(sorted(announced))}
    assert gaps == {4 * ends.timing.ping}


def test_a_silent_side_is_given_up_after_eighteen_seconds():
    ends = Ends().join()
    quiet = ends.now + 18
    assert ends.master.tick(quiet - 0.1) == []
    for session in (ends.master, ends.agent):
        assert [event.code for event in session.tick(quiet)][:1] == [CloseCode.ABNORMAL]


def test_bytes_of_a_message_under_way_are_life():
    ends = Ends().join()
    ends.master.heard(ends.now + 17)
    assert ends.master.tick(ends.now + 20) == []


def test_the_hello_tells_how_the_last_session_ended_as_seen_from_the_node():
    assert Ends().join().events(HelloReceived)[0].hello.last is None
    ends = Ends(last=Ended("no byte for 18 s" + "!" * 500, 990.0)).join()
    last = ends.events(HelloReceived)[0].hello.last
    assert last is not None
    assert last.reason.startswith("no byte for 18 s!")
    assert (len(last.reason), last.away) == (MAX_REASON, 10.0)


@pytest.mark.parametrize(
    "last", [1, "x", {"reason": 1}, {"reason": "x" * 201}, {"away": "y"}, {"away": 1e999}]
)
def test_a_last_session_that_is_none_is_malformed(last):
    with pytest.raises(MalformedMessage):
        Hello.from_members({"version": "1", "last": last})


def test_a_basic_agent_needs_no_hello_and_lives_for_three_heartbeats():
    ends = Ends(basic=True)
    assert ends.master.state is State.OPEN
    assert ends.master.tick(ends.now + 89) == []
    assert ends.master.tick(ends.now + 90)[0].code == CloseCode.ABNORMAL


def test_a_v1_agent_without_hello_is_closed_after_ten_seconds():
    ends = Ends()
    assert ends.master.tick(ends.now + 9.9) == []
    assert ends.master.tick(ends.now + 10)[0].code == CloseCode.NO_HELLO


def test_a_heartbeat_an_event_and_a_goodbye_arrive_as_they_were_sent():
    ends = Ends().join()
    ends.agent.heartbeat({"cpu": 3})
    ends.agent.event("reboot", {"in": 60})
    ends.master.goodbye("restart", 7.5)
    ends.join()
    assert ends.events(HeartbeatReceived)[0].usage == {"cpu": 3}
    assert ends.events(NodeEventReceived)[0] == NodeEventReceived("reboot", {"in": 60})
    assert ends.events(MasterLeaving, "agent")[0] == MasterLeaving("restart", 7.5)


def test_pong_overtakes_queued_commands():
    ends = Ends().join()
    ends.master.send(Command("c-1", "system", "exec", ends.wall), deadline=ends.now + 1)
    ends.master.receive_text('{"type":"PING","timestamp":5,"rtt":null}', ends.now, ends.wall)
    assert json.loads(ends.master.to_send()[0])["type"] == "PONG"


def test_an_answer_that_does_not_fit_a_message_becomes_too_large():
    ends = Ends().join()
    ends.command()
    ends.agent.reply("c-1", "x" * MAX_TEXT)
    ends.join()
    assert ends.events(ReplyReceived)[0].reply.code is Code.TOO_LARGE


def test_twenty_wrong_messages_a_minute_are_borne_and_the_next_ends_the_session():
    for wrong in ("{", "[]", '{"type": 5}', '{"a":' * 40, '{"x": NaN}'):
        ends = Ends().join()
        seen = [ends.master.receive_text(wrong, ends.now, ends.wall) for _ in range(21)]
        assert seen[:20] == [[]] * 20
        assert seen[20][0].code == CloseCode.RUBBISH


def test_frames_of_streams_never_opened_are_wrong_messages():
    ends = Ends().join()
    data = encode(Frame(Kind.DATA, 1, 0, b"x"))
    seen = [ends.agent.receive_bytes(data, ends.now) for _ in range(21)]
    assert seen[20][0].code == CloseCode.RUBBISH


def test_a_flood_of_right_messages_ends_the_session():
    ends = Ends().join()
    seen = [
        ends.master.receive_text('{"type":"EVENT","name":"x"}', ends.now, ends.wall) for _ in range(2_002)
    ]
    assert seen[-1][0].code == CloseCode.RUBBISH


def test_unknown_types_and_members_are_ignored():
    ends = Ends().join()
    assert ends.master.receive_text('{"type":"FUTURE","x":1}', ends.now, ends.wall) == []
    assert ends.agent.receive_text('{"type":"FUTURE","x":1}', ends.now, ends.wall) == []
    assert (ends.master.ignored, ends.agent.ignored) == (1, 1)


def test_an_oversized_message_closes_with_1009():
    ends = Ends().join()
    assert (
        ends.master.receive_text('{"x":"' + "y" * MAX_TEXT, ends.now, ends.wall)[0].code == CloseCode.TOO_BIG
    )
    assert ends.agent.receive_bytes(b"\0" * (MAX_TEXT + 14), ends.now)[0].code == CloseCode.TOO_BIG


def test_a_session_awaits_a_bounded_number_of_replies():
    ends = Ends().join()
    for number in range(MAX_PENDING):
        ends.master.send(Command(f"c-{number}", "a", "b", ends.wall), deadline=ends.now + 1)
    with pytest.raises(TooManyPending):
        ends.master.send(Command("one-more", "a", "b", ends.wall), deadline=ends.now + 1)


def test_ending_a_session_names_the_commands_without_an_answer_and_stops_everything():
    ends = Ends().join()
    ends.command()
    assert ends.master.end() == ["me"]
    assert ends.master.receive_text('{"requestId":"c-1"}', ends.now, ends.wall) == []
    assert ends.master.tick(ends.now + 1e6) == []
    with pytest.raises(InvalidState):
        ends.master.goodbye("x", 1)


def test_a_hostile_timing_keeps_no_agent_busy():
    ends = Ends(timing=Timing(ping=1e-9, silence=1e-9, heartbeat=1e12)).join()
    assert (ends.agent.timing.ping, ends.agent.timing.heartbeat) == (0.1, 3600.0)


def test_no_illegal_step_changes_the_state():
    for state in State:
        for step in Step:
            ends = Ends()
            ends.master.state = state
            if (state, step) in STEPS:
                ends.master._step(step)
                assert ends.master.state is STEPS[state, step]
            else:
                with pytest.raises(InvalidState):
                    ends.master._step(step)
                assert ends.master.state is state


def test_without_a_server_time_the_nodes_wall_clock_counts():
    ends = Ends()
    ends.agent.receive_text('{"type":"HANDSHAKE_ACK","status":"connected"}', ends.now, START + 500)
    assert ends.agent.clock.time(ends.now) == START + 500
