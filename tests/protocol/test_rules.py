"""The small rules one by one: ids, codes, clocks, replay, frames, text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_client.protocol import AgentSession, MasterSession, ProtocolError
from agent_client.protocol.clock import MasterClock
from agent_client.protocol.codes import AGENT_CODES, NOT_RUN_CODES, UNKNOWN_OUTCOME_CODES, Code
from agent_client.protocol.errors import MalformedFrame, MalformedMessage, MessageTooDeep, MessageTooLarge
from agent_client.protocol.frames import Frame, Kind, decode, encode
from agent_client.protocol.handshake import valid_agent_id, valid_secret
from agent_client.protocol.limits import MAX_DEPTH
from agent_client.protocol.messages import from_agent, from_master
from agent_client.protocol.replay import ReplayGuard
from agent_client.protocol.text import dumps, loads
from tests.faults.counts import count
from tests.protocol.ends import FACTS, START


@pytest.mark.parametrize("text", ["abc", "agent-home-server", "A.b_c-9", "0" * 64])
def test_an_agent_id_of_the_right_shape_is_valid(text):
    assert valid_agent_id(text)


@pytest.mark.parametrize(
    "text", ["", "ab", "-abc", "a b", "one,two", "a" * 65, "abc\n", "ábc", "../x", ".abc"]
)
def test_any_other_agent_id_is_not(text):
    assert not valid_agent_id(text)


@pytest.mark.parametrize(
    ("secret", "valid"),
    [
        (b"rahasiadapur", True),
        (b"", False),
        (b"x" * 256, True),
        (b"x" * 257, False),
        (b"a\x0bb", False),
        (b" a", False),
    ],
)
def test_a_secret_is_1_to_256_printable_bytes(secret, valid):
    assert valid_secret(secret) is valid


def test_every_code_says_whose_it_is():
    assert frozenset(Code) == AGENT_CODES | NOT_RUN_CODES | UNKNOWN_OUTCOME_CODES
    assert not NOT_RUN_CODES & UNKNOWN_OUTCOME_CODES


def test_the_sample_with_the_lowest_round_trip_sets_the_clock():
    clock = MasterClock(fallback=0.0)
    clock.greeted(START, 100.0)
    clock.measured(START + 1.0, 3.0, 102.0)
    clock.measured(START + 5.0, 0.1, 105.0)
    clock.measured(START + 9.0, 2.0, 109.5)
    assert clock.time(105.0) == pytest.approx(START + 5.05)


def test_a_full_guard_is_busy_and_forgets_nothing_early():
    guard = ReplayGuard(limit=2)
    assert guard.judge("a", START, START) is None
    assert guard.judge("b", START, START) is None
    assert guard.judge("c", START, START) is Code.BUSY
    assert guard.judge("a", START, START + 30) is Code.DUPLICATE
    assert guard.judge("c", START + 31, START + 31) is None
    assert len(guard) == 1


@settings(max_examples=count(1_000, 10_000), deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.floats(-70, 70), st.floats(0, 20)), min_size=1, max_size=12
    )
)
def test_no_command_ever_runs_twice_or_outside_its_thirty_seconds(arrivals):
    guard, now, ran = ReplayGuard(), START, set()
    stamps: dict[str, float] = {}
    for command_id, age, pause in arrivals:
        now += pause
        stamp = stamps.setdefault(command_id, now - age)
        if guard.judge(command_id, stamp, now) is None:
            assert abs(now - stamp) <= 30
            assert command_id not in ran
            ran.add(command_id)


@given(st.sampled_from(Kind), st.integers(1, 2**32 - 1), st.integers(0, 2**64 - 1), st.binary(max_size=64))
def test_a_frame_survives_the_wire(kind, stream, offset, payload):
    frame = Frame(kind, stream, offset, b"" if kind is Kind.WINDOW else payload)
    assert decode(encode(frame)) == frame


@pytest.mark.parametrize("data", [b"", b"\0" * 12, b"\x04" + b"\1" * 12, b"\0" * 13, b"\1" + b"\1" * 13])
def test_a_malformed_frame_is_refused(data):
    with pytest.raises(MalformedFrame):
        decode(data)


def test_a_frame_beyond_the_limit_is_refused_at_both_ends():
    with pytest.raises(MessageTooLarge):
        encode(Frame(Kind.DATA, 1, 0, b"x" * (256 * 1024 + 1)))
    with pytest.raises(MessageTooLarge):
        decode(b"x" * (256 * 1024 + 14))


def test_brackets_inside_strings_are_no_depth_and_a_thousand_levels_are_refused():
    assert loads('{"a": "' + "[" * 1000 + '"}')
    with pytest.raises(MessageTooDeep):
        loads('{"a":' * 1000 + "1" + "}" * 1000)


def test_what_the_other_side_would_take_for_too_deep_is_not_written():
    deep: object = "]" * 50
    for _ in range(MAX_DEPTH - 1):
        deep = [deep]
    assert loads(dumps({"data": deep})) == {"data": deep}
    with pytest.raises(MessageTooDeep):
        dumps({"data": [deep]})


@pytest.mark.parametrize("half", ["\ud800", {"\ud800": 1}])
def test_half_a_surrogate_pair_is_not_written(half):
    with pytest.raises(MalformedMessage):
        dumps({"data": half})


@pytest.mark.parametrize(
    "text", ['{"a": "\\ud800"}', '{"a": Infinity}', "7", '"x"', "{}}", "\0", '{"a":1e999}', '{"a":[-1E+400]}']
)
def test_text_that_is_no_message_is_malformed(text):
    with pytest.raises(MalformedMessage):
        loads(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(
    [
        "type",
        "id",
        "requestId",
        "status",
        "data",
        "error",
        "code",
        "service",
        "action",
        "timestamp",
        "params",
        "timeout",
        "stream",
        "session",
        "version",
        "capabilities",
        "host",
        "ping",
        "silence",
        "rtt",
        "serverTime",
    ]
)
TYPES = st.sampled_from(
    [
        "HANDSHAKE_ACK",
        "EXEC_COMMAND",
        "GET_STATS",
        "CANCEL",
        "PONG",
        "GOODBYE",
        "HELLO",
        "PING",
        "HEARTBEAT",
        "EVENT",
    ]
)
OBJECTS = st.dictionaries(NAMES, JSON | TYPES, max_size=8)


@settings(max_examples=500, deadline=None)
@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_random_text_ends_in_a_protocol_error_or_a_message(text):
    for decoder in (from_agent, from_master):
        try:
            decoder(text)
        except ProtocolError:
            continue


@settings(max_examples=1_000, deadline=None)
@given(st.lists(OBJECTS | st.binary(max_size=40), max_size=8), st.booleans())
def test_random_messages_never_break_a_session(messages, basic):
    import json

    ends = (
        MasterSession("s", now=0.0, wall=START, basic=basic),
        AgentSession(FACTS, ReplayGuard(), now=0.0, wall_offset=START),
    )
    for session in ends:
        for message in messages:
            if isinstance(message, bytes):
                session.receive_bytes(message, 1.0)
            else:
                session.receive_text(json.dumps(message), 1.0, START)
            session.tick(1.0)
            session.to_send()
