"""Whatever a master sends, the agent closes in order and dials again: it survives any of them."""

import base64
import os
import random
import struct
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_client.protocol.limits import MAX_BINARY, MAX_TEXT
from agent_client.reader import LARGEST_CONTROL, MOST_FRAGMENTS, Closed, Pinged, Reader, WrongFrame
from tests.agent.raw_master import RawMaster, ack, close_code, frame, read_all, text
from tests.agent.test_link import wait_for

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def feed(data: bytes, step: int = 1 << 20) -> list:
    reader, items = Reader(), []
    for at in range(0, len(data), step):
        items += reader.feed(data[at : at + step])
    return items


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1 << 20])
def test_messages_come_out_whole_however_the_bytes_come_in(step):
    long = "ü" * 40_000
    data = frame(TEXT, b"{}") + frame(TEXT, b"a", fin=False) + frame(PING, b"now") + frame(0, b"b")
    data += frame(PONG, b"") + frame(BINARY, b"\xff" * 300) + frame(TEXT, long.encode()) + frame(CLOSE, b"")
    assert feed(data, step) == ["{}", Pinged(b"now"), "ab", b"\xff" * 300, long, Closed(1005, "")]


WRONG = {
    "masked": (frame(TEXT, b"{}", mask=b"abcd"), 1002),
    "an extension's bit": (frame(TEXT, b"{}", rsv=0x40), 1002),
    "an unknown kind": (frame(3, b""), 1002),
    "a fragment of nothing": (frame(0, b"x"), 1002),
    "a message inside a fragmented one": (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
    "a fragmented ping": (frame(PING, b"", fin=False), 1002),
    "a long ping": (frame(PING, b"x" * (LARGEST_CONTROL + 1)), 1002),
    "half a close code": (frame(CLOSE, b"\x03"), 1002),
    "a close code of nobody": (frame(CLOSE, struct.pack("!H", 999)), 1002),
    "the close code 1006": (frame(CLOSE, struct.pack("!H", 1006)), 1002),
    "a length in a form too long": (b"\x81\x7e\x00\x05hello", 1002),
    "no UTF-8": (frame(TEXT, b"\xff"), 1007),
    "a close reason that is no UTF-8": (frame(CLOSE, struct.pack("!H", 1000) + b"\xff"), 1007),
    "a text too long, by its header": (b"\x81\x7f" + struct.pack("!Q", MAX_TEXT + 1), 1009),
    "a frame of all lengths": (b"\x82\x7f" + b"\xff" * 8, 1009),
    "a binary too long": (b"\x82\x7f" + struct.pack("!Q", MAX_BINARY + 1), 1009),
    "fragments too long together": (frame(TEXT, b"x" * MAX_TEXT, fin=False) + frame(0, b"y"), 1009),
    "fragments without end": (
        frame(TEXT, b"x", fin=False) + frame(0, b"x", fin=False) * (MOST_FRAGMENTS + 1),
        1009,
    ),
}


@pytest.mark.parametrize(("data", "code"), WRONG.values(), ids=WRONG)
def test_what_is_no_frame_is_refused_with_its_code(data, code):
    with pytest.raises(WrongFrame) as wrong:
        feed(data)
    assert wrong.value.code == code


@given(st.lists(st.binary(max_size=40), max_size=20))
@settings(max_examples=500, deadline=None)
def test_random_bytes_end_in_a_message_or_a_wrong_frame(chunks):
    reader = Reader()
    try:
        for chunk in chunks:
            reader.feed(chunk)
    except WrongFrame:
        return


@pytest.mark.parametrize(
    "name", ["masked", "no UTF-8", "a frame of all lengths", "a message inside a fragmented one"]
)
def test_a_master_that_breaks_the_rules_is_left_with_a_code_and_dialled_again(start_agent, name):
    data, code = WRONG[name]
    said: list[bytes] = []

    def serve(connection) -> None:
        connection.sendall(ack() + data)
        said.append(read_all(connection))

    with RawMaster(serve) as master:
        agent = start_agent(f"ws://127.0.0.1:{master.port}/tunnel")
        wait_for(lambda: len(said) >= 2)
        assert close_code(said[0]) == code
        assert agent.link.alive


ANSWERS = {
    "no HTTP": b"hello\r\n\r\n",
    "nothing": b"",
    "a wrong key": b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
    "a header without an end": b"HTTP/1.1 101 x\r\nX: " + b"y" * 200_000,
    "headers without end": b"HTTP/1.1 101 x\r\n" + b"X: y\r\n" * 30_000,
    "bytes": base64.b64decode(b"/////wAAAAAKDQoNCg0K") * 100,
    "a status of letters": b"HTTP/1.1 abc\r\n\r\n",
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_handshake_answered_with_rubbish_is_tried_again(start_agent, answer):
    def hang_up(connection) -> None:
        connection.close()

    with RawMaster(hang_up, answer=answer) as master:
        agent = start_agent(f"ws://127.0.0.1:{master.port}/tunnel")
        wait_for(lambda: len(master.requests) >= 2, 20)
        assert agent.link.alive


@pytest.mark.parametrize("seed", range(4))
def test_a_master_that_sends_noise_never_ends_the_agent(start_agent, seed):
    """Well-formed frames with anything in them: messages that are nearly right, and ones that are not."""
    dice = random.Random(seed)
    words = ["EXEC_COMMAND", "GET_STATS", "CANCEL", "PONG", "GOODBYE", "HANDSHAKE_ACK", "HELLO", "", "🙈"]
    values = [None, True, -1, 0, 1e300, "", "x", [], {}, {"a": [1]}, "system", "agent", "ping", "\x00"]
    names = ["id", "type", "service", "action", "params", "timestamp", "timeout", "stream", "serverTime"]
    names += ["session", "ping", "silence", "heartbeat", "limits", "reason", "retryAfter"]

    def message() -> bytes:
        made = {name: dice.choice(values) for name in dice.sample(names, dice.randrange(len(names)))}
        if dice.random() < 0.8:
            made["type"] = dice.choice(words)
        return text({**made, "retryAfter": 0})

    def serve(connection) -> None:
        connection.sendall(ack() if dice.random() < 0.8 else b"")
        connection.sendall(b"".join(message() for _ in range(30)) + frame(BINARY, os.urandom(20)))
        threading.Event().wait(0.05)  # let it work on some of them before the line breaks

    def serve_and_break(connection) -> None:
        serve(connection)
        connection.close()

    with RawMaster(serve_and_break) as master:
        agent = start_agent(f"ws://127.0.0.1:{master.port}/tunnel")
        wait_for(lambda: len(master.requests) >= 8, 30)
        assert agent.link.alive
        assert agent.sampler.usage()["ramTotal"] > 0
