"""Streams over two joined ends, and with the holder between owner and agent, keep docs/protocol.md §4."""

import json
from dataclasses import replace

import pytest

from agent_client.protocol import CloseCode, Code, InvalidState
from agent_client.protocol.errors import (
    MalformedMessage,
    MessageTooLarge,
    NoStreams,
    ProtocolError,
    StreamBroken,
    TooManyStreams,
)
from agent_client.protocol.events import (
    CloseRequired,
    CommandLapsed,
    CommandReceived,
    FrameReceived,
    ReplyReceived,
    RttMeasured,
    StreamData,
    StreamEnded,
    StreamReset,
    StreamWritable,
)
from agent_client.protocol.frames import Frame, Kind, decode, encode
from agent_client.protocol.limits import (
    INITIAL_WINDOW,
    KIB,
    MAX_DATA,
    MAX_DETAIL,
    MAX_STREAMS,
    MAX_WINDOW,
    MAX_WINDOWS,
    SEND_AT_ONCE,
    SMALL_GRANT,
    SMALLEST_WINDOW,
)
from agent_client.protocol.messages import Command
from agent_client.protocol.streams import NO_REASON, STEPS, Account, State, Step, Stream, why
from agent_client.protocol.windows import Allotment, RoundTrips
from tests.protocol.ends import Ends, Owner


def opened(**windows) -> tuple[Ends, Owner]:
    ends = Ends().join()
    return ends, ends.open(**windows)


def frames(messages: list) -> list[Frame]:
    return [decode(message) for message in messages if isinstance(message, bytes)]


def reset_of(ends: Ends) -> StreamReset:
    return ends.events(StreamReset, "agent")[-1]


# -- opening


def test_the_master_numbers_streams_and_never_uses_a_number_again():
    ends, first = opened()
    ends.ask("refused")
    ends.agent.fail("refused", Code.BUSY, "no")
    ends.join()
    ends.agent.end_stream(1)
    first.give(first.stream.end())
    ends.join()
    third = ends.open("c-3")
    assert [event.command.stream for event in ends.events(CommandReceived, "agent")] == [1, 2, 3]
    assert third.number == 3
    assert [event.stream for event in ends.events(ReplyReceived)] == [1, None, 3]


def test_the_reply_that_opens_a_stream_goes_before_its_frames_and_tells_the_window():
    ends = Ends().join()
    ends.ask()
    ends.agent.open_stream("c-1", {"handle": "h"}, window=1000, interactive=True)
    ends.agent.send_data(1, b"x")
    reply, frame = ends.agent.to_send()
    assert json.loads(reply)["data"] == {"handle": "h", "window": 1000}
    assert decode(frame) == Frame(Kind.DATA, 1, 0, b"x")


def test_bytes_go_both_ways_and_each_end_closes_for_itself():
    ends, owner = opened()
    owner.give(owner.stream.data(b"ls\n"))
    owner.give(owner.stream.end({"done": True}))
    ends.join()
    ends.agent.send_data(1, b"a.txt\n")
    ends.agent.end_stream(1, {"exitCode": 0})
    ends.join()
    assert ends.at_agent[-2:] == [StreamData(1, b"ls\n"), StreamEnded(1, {"done": True})]
    assert owner.events == [StreamData(1, b"a.txt\n"), StreamEnded(1, {"exitCode": 0})]
    assert owner.stream.over
    assert (ends.agent.live_streams, ends.master.live_streams) == ((), {})


def test_a_stream_opens_with_the_windows_both_sides_told():
    ends, owner = opened(down=300, up=500)
    assert (owner.stream.sendable, ends.agent.sendable(1)) == (300, 500)


def test_a_success_nobody_awaits_is_reset_and_leaves_no_orphan():
    ends = Ends().join()
    ends.ask()
    ends.pass_time(11)
    assert ends.events(CommandLapsed)
    ends.agent.open_stream("c-1", {})
    ends.join()
    assert reset_of(ends).code is Code.CANCELLED
    assert (ends.agent.live_streams, ends.master.live_streams) == ((), {})


def test_a_command_that_lapses_while_its_stream_opens_is_cancelled():
    ends = Ends().join()
    ends.ask()
    ends.master.tick(ends.now + 11)
    assert [json.loads(text)["type"] for text in ends.master.to_send()] == ["CANCEL"]


def test_an_action_that_opens_no_stream_answers_with_an_error():
    ends = Ends().join()
    ends.ask()
    ends.agent.reply("c-1", {"cpu": 1})
    ends.join()
    assert ends.events(ReplyReceived)[0].reply.code is Code.INTERNAL


def test_a_command_without_a_stream_opens_none():
    ends = Ends().join()
    ends.command()
    with pytest.raises(InvalidState, match="awaits no stream"):
        ends.agent.open_stream("c-1", {})
    ends.agent.reply("c-1", 1)


def test_an_opening_answer_that_does_not_fit_leaves_the_command_to_be_answered():
    ends = Ends().join()
    ends.ask()
    with pytest.raises(MessageTooLarge):
        ends.agent.open_stream("c-1", {"x": "y" * MAX_DATA})
    ends.agent.fail("c-1", Code.TOO_LARGE, "too large")
    ends.join()
    assert ends.events(ReplyReceived)[0].reply.code is Code.TOO_LARGE


@pytest.mark.parametrize("window", [-1, MAX_WINDOW + 1, "1", True, 1.5, None])
def test_a_window_that_is_none_opens_no_stream(window):
    ends = Ends().join()
    with pytest.raises(MalformedMessage):
        ends.ask(window=window)
    wrong = Command("c-2", "shell", "open", ends.wall, {"window": window}, stream=1)
    ends.agent.receive_text(wrong.to_text(), ends.now, ends.wall)
    assert json.loads(ends.agent.to_send()[0])["code"] == "invalid_params"
    ends = Ends().join()
    ends.ask()
    reply = {"requestId": "c-1", "status": "success", "data": {"window": window}}
    event = ends.master.receive_text(json.dumps(reply), ends.now, ends.wall)[0]
    assert (event.reply.code, event.stream) == (Code.PROTOCOL, None)
    assert frames(ends.master.to_send())[0].kind is Kind.RESET


def test_a_number_that_was_used_is_refused_by_the_agent():
    ends, _ = opened()
    again = Command("c-2", "shell", "open", ends.wall, stream=1)
    ends.agent.receive_text(again.to_text(), ends.now, ends.wall)
    assert json.loads(ends.agent.to_send()[0])["code"] == "invalid_params"
    assert ends.agent.live_streams == (1,)


def test_a_basic_agent_is_asked_for_no_stream():
    with pytest.raises(NoStreams, match="opens no streams"):
        Ends(basic=True).join().ask()


def test_a_session_holds_a_bounded_number_of_streams_and_an_ended_one_makes_room():
    ends = Ends().join()
    owners = [ends.open(f"c-{number}") for number in range(MAX_STREAMS)]
    with pytest.raises(TooManyStreams, match=f"{MAX_STREAMS} streams are open"):
        ends.ask("one-more")
    ends.agent.reset_stream(owners[7].number, Code.INTERNAL, "x")
    ends.join()
    ends.open("one-more")
    for number in (5, 6):  # one ends, one is being opened, and a third is too many
        ends.agent.reset_stream(number, Code.INTERNAL, "x")
        ends.join()
        another = Command(f"another {number}", "shell", "open", ends.wall, stream=MAX_STREAMS + number)
        ends.agent.receive_text(another.to_text(), ends.now, ends.wall)
    ends.agent.receive_text(replace(another, id="x", stream=999).to_text(), ends.now, ends.wall)
    assert json.loads(ends.agent.to_send()[0])["code"] == "busy"


def test_a_command_that_was_not_sent_uses_up_no_number_and_no_room():
    ends = Ends().join()
    large = Command("c-1", "shell", "open", ends.wall, {"x": "y" * MAX_DATA})
    with pytest.raises(MessageTooLarge):
        ends.master.send(large, deadline=ends.now + 1, stream_owner="me")
    assert ends.open("c-2").number == 1
    assert list(ends.master._allotment._held) == [1]


# -- windows


def test_nobody_sends_beyond_the_window_and_more_is_granted_as_bytes_are_taken():
    ends, owner = opened(up=1000)
    ends.agent.send_data(1, b"x" * 1000)
    ends.join()
    with pytest.raises(InvalidState):
        ends.agent.send_data(1, b"x")
    assert not owner.give(owner.stream.consumed(499))
    assert owner.give(owner.stream.consumed(1))
    ends.join()
    assert ends.at_agent[-1] == StreamWritable(1)
    assert ends.agent.sendable(1) >= 500


def test_the_agent_grants_more_as_it_takes_bytes():
    ends, owner = opened(down=1000, interactive=True)
    owner.give(owner.stream.data(b"x" * 1000))
    ends.join()
    assert owner.stream.sendable == 0
    ends.agent.consumed(1, 1000)
    ends.join()
    assert (owner.events, owner.stream.sendable) == ([StreamWritable(1)], 1000)


def test_what_was_not_received_cannot_be_consumed():
    ends, owner = opened()
    owner.give(owner.stream.data(b"xy"))
    ends.join()
    for count in (3, -1):
        with pytest.raises(InvalidState):
            ends.agent.consumed(1, count)


def test_a_bulk_window_grows_to_a_mebibyte_while_the_line_is_calm_and_shrinks_when_it_is_not():
    stream, received = Stream(1, may_send=0, grants=INITIAL_WINDOW, most=MAX_WINDOW), 0
    windows = []
    for most in [MAX_WINDOW] * 5 + [INITIAL_WINDOW]:
        stream.most = most
        while stream.granted > received:
            size = min(MAX_DATA, stream.granted - received)
            stream.receive(Frame(Kind.DATA, 1, received, b"x" * size))
            received += size
        assert stream.consumed(received - stream._taken)
        windows.append((stream.granted - received) // KIB)
    assert windows == [256, 512, 1024, 1024, 1024, 128]


def test_a_line_is_calm_below_twice_its_shortest_round_trip_and_fifty_milliseconds():
    trips, calm = RoundTrips(), []
    for seconds in (0.2, 0.1, 0.25, 0.26, 0.1):
        trips.measured(seconds)
        calm.append(trips.calm)
    assert calm == [True, True, True, False, True]
    for _ in range(8):
        trips.measured(0.7)
    assert trips.least == 0.7  # the way is longer than it was
    assert trips.calm


def test_a_slow_round_trip_holds_the_windows_of_the_agent_where_they_began():
    ends, _owner = opened()
    live = ends.agent._live[1].stream
    assert live.most == MAX_WINDOW
    for rtt in (0.01, 0.5):
        ends.agent._tune(rtt)
    assert live.most == INITIAL_WINDOW
    ends.master.receive_text('{"type":"PING","timestamp":1,"rtt":0.01}', ends.now, ends.wall)
    assert ends.master.receive_text('{"type":"PING","timestamp":1,"rtt":0.5}', ends.now, ends.wall) == [
        RttMeasured(0.5, calm=False)
    ]


def test_the_windows_of_a_session_never_sum_to_more_than_they_may():
    allotment, held = Allotment(), []
    for number in range(MAX_STREAMS):
        first, most = allotment.take(number, MAX_WINDOW // 2, grows=number % 2 == 0)
        assert SMALLEST_WINDOW <= first <= most <= MAX_WINDOW
        held.append(most)
    assert sum(held) <= MAX_WINDOWS
    for number in range(MAX_STREAMS):
        allotment.free(number)
        allotment.free(number)
    assert allotment.take(0, INITIAL_WINDOW, grows=True) == (INITIAL_WINDOW, MAX_WINDOW)


# -- broken rules


BROKEN = [
    (Frame(Kind.DATA, 1, 5, b"x"), Code.GAP),
    (Frame(Kind.DATA, 1, 0, b"x" * 1001), Code.WINDOW),
    (Frame(Kind.END, 1, 5), Code.GAP),
    (Frame(Kind.WINDOW, 1, MAX_WINDOW + 1), Code.WINDOW),
]
BY_PAYLOAD = [
    (Frame(Kind.END, 1, 0, b"[]"), Code.PROTOCOL),
    (Frame(Kind.END, 1, 0, b"\xff"), Code.PROTOCOL),
    (Frame(Kind.END, 1, 0, b" " * (MAX_DETAIL + 1)), Code.PROTOCOL),
]


@pytest.mark.parametrize(("frame", "code"), BROKEN)
def test_a_frame_of_the_agent_against_the_rules_resets_its_stream_at_both_sides(frame, code):
    ends, owner = opened(up=1000)
    other = ends.open("c-2")
    owner.take(ends.to_master(encode(frame))[0].data)
    ends.join()
    assert owner.events[-1].code is reset_of(ends).code is code
    assert list(ends.master.live_streams) == list(ends.agent.live_streams) == [other.number]


@pytest.mark.parametrize(("frame", "code"), BROKEN + BY_PAYLOAD)
def test_a_frame_of_the_master_against_the_rules_resets_its_stream_at_both_sides(frame, code):
    ends, owner = opened(down=1000)
    other = ends.open("c-2")
    ends.at_agent += ends.to_agent(encode(frame))
    ends.join()
    assert reset_of(ends).code is owner.events[-1].code is code
    assert list(ends.master.live_streams) == list(ends.agent.live_streams) == [other.number]


@pytest.mark.parametrize(("frame", "code"), BY_PAYLOAD)
def test_an_end_with_a_wrong_detail_is_the_owners_to_judge(frame, code):
    ends, owner = opened()
    owner.take(ends.to_master(encode(frame))[0].data)
    ends.join()
    assert reset_of(ends).code is code
    assert not ends.master.live_streams


@pytest.mark.parametrize(
    "data", [b"", b"\x07" * 20, *(encode(frame) for frame, _ in BROKEN), encode(Frame(Kind.DATA, 2, 0, b"x"))]
)
def test_a_wrong_frame_of_the_owner_never_reaches_the_agent_and_ends_the_stream(data):
    ends, _ = opened(down=1000)
    with pytest.raises(ProtocolError):
        ends.master.relay(1, data)
    ends.join()
    assert reset_of(ends).number == 1
    assert not ends.master.live_streams
    assert not ends.master.relay(1, data)


def test_an_agent_that_grants_what_it_does_not_read_fills_no_memory():
    ends, owner = opened()

    def send_all_that_is_granted() -> None:
        while ends.master.queued_frames < MAX_WINDOWS + 2 * MAX_DATA:
            while size := min(owner.stream.sendable, MAX_DATA):
                owner.give(owner.stream.data(bytes(size)))
            grant = encode(Frame(Kind.WINDOW, 1, owner.stream.sent + MAX_WINDOW))
            owner.take(ends.to_master(grant)[0].data)

    with pytest.raises(StreamBroken) as broken:
        send_all_that_is_granted()
    assert broken.value.code is Code.WINDOW
    assert ends.master.queued_frames == 0


@pytest.mark.parametrize("kind", [Kind.DATA, Kind.END])
def test_bytes_that_came_before_are_against_the_rules(kind):
    stream = Stream(1, may_send=0, grants=10)
    stream.receive(Frame(Kind.DATA, 1, 0, b"abc"))
    with pytest.raises(StreamBroken) as broken:
        stream.receive(Frame(kind, 1, 2))
    assert broken.value.code is Code.PROTOCOL


def test_a_window_of_the_owner_that_grants_nothing_does_not_pass():
    ends, _ = opened(up=1000)
    assert ends.master.relay(1, encode(Frame(Kind.WINDOW, 1, 1000)))
    assert ends.master.to_send() == []


def test_data_after_end_is_against_the_rules():
    stream = Stream(1, may_send=10, grants=10)
    stream.receive(Frame(Kind.END, 1, 0))
    with pytest.raises(StreamBroken) as broken:
        stream.receive(Frame(Kind.DATA, 1, 0, b"x"))
    assert broken.value.code is Code.PROTOCOL
    assert stream.reset(Code.PROTOCOL, "x").kind is Kind.RESET


def test_a_window_after_end_is_ignored():
    stream = Stream(1, may_send=10, grants=10)
    stream.end()
    assert stream.receive(Frame(Kind.WINDOW, 1, 2**60)) == []
    assert stream.sendable == 0


def test_frames_of_an_ended_stream_are_dropped_and_cost_nothing_while_they_were_granted():
    ends, _owner = opened(up=MAX_WINDOW)
    ends.master.reset_stream(1, Code.CANCELLED, "x")
    late = [encode(Frame(Kind.DATA, 1, at, b"x" * 100)) for at in range(0, MAX_WINDOW - 100, 100)]
    assert not any(ends.to_master(data) for data in late)
    assert ends.to_master(encode(Frame(Kind.END, 1, 5))) == []


def test_frames_of_an_ended_stream_that_nobody_granted_are_a_flood():
    ends, _owner = opened(up=1000)
    ends.master.reset_stream(1, Code.CANCELLED, "x")
    seen = [ends.to_master(encode(Frame(Kind.DATA, 1, 0, b"x" * 500))) for _ in range(2_003)]
    assert seen[-1][0].code == CloseCode.RUBBISH
    assert not any(seen[:1_900])


def test_a_frame_before_the_reply_that_opens_its_stream_is_a_wrong_message():
    ends = Ends().join()
    ends.ask()
    seen = [ends.to_master(encode(Frame(Kind.DATA, 1, 0, b"x"))) for _ in range(21)]
    assert seen[20][0].code == CloseCode.RUBBISH


@pytest.mark.parametrize(
    "frame", [Frame(Kind.DATA, 1, 0), Frame(Kind.WINDOW, 1, 0), Frame(Kind.WINDOW, 1, INITIAL_WINDOW + 1)]
)
def test_frames_that_say_nothing_are_a_flood(frame):
    for side in ("to_master", "to_agent"):
        ends, _ = opened()
        number, seen = 0, []
        while not seen and number < 3_000:
            number += 1
            grows = number if frame.offset > INITIAL_WINDOW else 0
            one = Frame(frame.kind, 1, frame.offset + grows, b"")
            seen = [e for e in getattr(ends, side)(encode(one)) if isinstance(e, CloseRequired)]
        assert seen[0].code == CloseCode.RUBBISH
    assert SMALL_GRANT > 1


# -- RESET, cancel, the end of a session


def test_a_cancelled_command_ends_the_stream_it_opened():
    ends, owner = opened()
    ends.agent.send_data(1, b"x")
    ends.agent.receive_text('{"type":"CANCEL","id":"c-1"}', ends.now, ends.wall)
    ends.join()
    assert owner.events == [StreamReset(1, Code.CANCELLED, "the command was cancelled")]
    assert (ends.agent.live_streams, ends.master.live_streams) == ((), {})


def test_a_reset_of_the_owner_reaches_the_agent_and_of_the_agent_the_owner():
    ends, owner = opened()
    owner.give(owner.stream.reset(Code.REVOKED, "no right"))
    ends.join()
    assert reset_of(ends) == StreamReset(1, Code.REVOKED, "no right")
    owner = ends.open("c-2")
    ends.agent.reset_stream(2, Code.NOT_FOUND, "gone")
    ends.join()
    assert owner.events == [StreamReset(2, Code.NOT_FOUND, "gone")]


def test_the_holder_resets_a_stream_and_has_what_tells_the_owner():
    ends, owner = opened()
    frame = ends.master.reset_stream(1, Code.RELAY_LOST, "the worker is silent")
    ends.join()
    owner.take(frame)
    assert reset_of(ends) == owner.events[-1] == StreamReset(1, Code.RELAY_LOST, "the worker is silent")
    assert ends.master.reset_stream(1, Code.RELAY_LOST, "again") is None


def test_a_reset_drops_what_waits_of_its_stream_and_nothing_else():
    ends, _ = opened()
    ends.open("c-2")
    for number in (1, 2, 1):
        ends.agent.send_data(number, b"x" * 100)
    ends.agent.reset_stream(1, Code.INTERNAL, "x")
    assert [(f.kind, f.stream) for f in frames(ends.agent.to_send())] == [(Kind.RESET, 1), (Kind.DATA, 2)]
    assert ends.agent.queued_frames == 0


def test_a_reset_of_the_agent_drops_what_the_holder_keeps_for_it():
    ends, owner = opened()
    owner.give(owner.stream.data(b"x" * 100))
    ends.to_master(encode(Frame(Kind.RESET, 1, 0)))
    assert ends.master.queued_frames == 0
    assert frames(ends.master.to_send()) == []


def test_a_reset_of_the_agent_is_believed_only_with_the_agents_codes():
    for payload, code in ((b'{"code":"revoked","error":"x"}', Code.INTERNAL), (b"{", Code.INTERNAL)):
        ends, owner = opened()
        owner.take(ends.to_master(encode(Frame(Kind.RESET, 1, 0, payload)))[0].data)
        assert owner.events[-1].code is code


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"[]", b'{"code":[]}', b'{"code":"new"}', b"\xff", b"x" * 300_000]
)
def test_a_reset_ends_the_stream_whatever_it_says(payload):
    assert why(payload) == (Code.INTERNAL, NO_REASON)


def test_methods_of_a_stream_that_is_over_do_nothing_or_raise():
    ends, _ = opened()
    ends.agent.reset_stream(1, Code.INTERNAL, "x")
    ends.agent.reset_stream(1, Code.INTERNAL, "again")
    ends.agent.consumed(1, 5)
    assert ends.agent.sendable(1) == 0
    for call in (lambda: ends.agent.send_data(1, b"x"), lambda: ends.agent.end_stream(1)):
        with pytest.raises(InvalidState):
            call()


def test_the_end_of_a_session_names_the_streams_it_cuts():
    ends, owner = opened()
    assert ends.master.live_streams == {1: owner}
    ends.master.end()
    assert ends.master.live_streams == {}
    assert not ends.master.relay(1, encode(owner.stream.data(b"x")))
    ends.agent.close()
    assert ends.agent.live_streams == (1,)
    with pytest.raises(InvalidState, match="closed"):
        ends.agent.send_data(1, b"x")
    ends.agent.reset_stream(1, Code.INTERNAL, "x")


def test_no_illegal_step_changes_a_stream():
    steps = {
        Step.SEND: lambda account: account.gave(Kind.DATA, 0, 1),
        Step.SEND_END: lambda account: account.gave(Kind.END, 0, 0),
        Step.TAKE: lambda account: account.took(Kind.DATA, 0, 1),
        Step.TAKE_END: lambda account: account.took(Kind.END, 0, 0),
        Step.RESET: lambda account: account.took(Kind.RESET, 0, 0),
    }
    for state in State:
        for step, take in steps.items():
            account = Account(1, may_send=10, grants=10)
            account.state = state
            if (state, step) in STEPS:
                take(account)
                assert account.state is STEPS[state, step]
            else:
                with pytest.raises(StreamBroken):
                    take(account)
                assert (account.state, account.out.position, account.into.position) == (state, 0, 0)


@pytest.mark.parametrize("payload", [b"", b"x" * (MAX_DATA + 1)])
def test_bytes_that_make_no_frame_are_not_sent(payload):
    stream = Stream(1, may_send=MAX_WINDOW, grants=0)
    with pytest.raises(InvalidState):
        stream.data(payload)
    assert stream.sent == 0


def test_a_detail_that_fits_no_frame_ends_nothing():
    stream = Stream(1, may_send=0, grants=0)
    with pytest.raises(MessageTooLarge):
        stream.end({"x": "y" * MAX_DETAIL})
    assert stream.state is State.OPEN


# -- what goes first


def test_control_goes_before_keystrokes_and_these_before_bulk():
    ends, _ = opened(up=MAX_WINDOW)
    ends.open("c-2", interactive=True)
    ends.agent.send_data(1, b"bulk")
    ends.agent.send_data(2, b"key")
    ends.agent.event("x")
    ends.agent._ping(ends.now)
    names = [m if isinstance(m, str) else decode(m).payload for m in ends.agent.to_send()]
    assert [json.loads(name)["type"] for name in names[:2]] == ["PING", "EVENT"]
    assert names[2:] == [b"key", b"bulk"]


def test_what_becomes_urgent_passes_bulk_that_waits():
    ends, _owner = opened(up=MAX_WINDOW)
    ends.open("c-2", interactive=True)
    for _ in range(16):
        ends.agent.send_data(1, b"x" * 32 * KIB)
    first = frames(ends.agent.to_send())
    assert sum(len(frame.payload) for frame in first) <= SEND_AT_ONCE
    ends.agent.send_data(2, b"key")
    assert frames(ends.agent.to_send())[0].payload == b"key"
    ends.agent.to_send(most=0)
    ends.join()
    assert ends.agent.queued_frames == 0


def test_keystrokes_pass_bulk_at_the_holder_too():
    ends, bulk = opened(down=MAX_WINDOW)
    keys = ends.open("c-2", interactive=True)
    bulk.give(bulk.stream.data(b"bulk"))
    keys.give(keys.stream.data(b"key"))
    assert [frame.payload for frame in frames(ends.master.to_send())] == [b"key", b"bulk"]


def test_a_frame_for_the_owner_passes_as_it_came():
    ends, owner = opened()
    data = encode(Frame(Kind.DATA, 1, 0, b"x"))
    assert ends.to_master(data) == [FrameReceived(1, data, owner)]
