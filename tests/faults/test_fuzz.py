"""Whatever bytes come, each parser answers with a result or its own refusal, and keeps nothing of them."""

import json
import random
import time
import tracemalloc
from collections.abc import Callable

import pytest

from agent_client.protocol import Code, frames
from agent_client.protocol.errors import ProtocolError, StreamBroken
from agent_client.protocol.events import FrameReceived
from agent_client.protocol.frames import Frame, Kind
from agent_client.protocol.messages import from_agent, from_master
from agent_client.reader import Reader, WrongFrame
from tests.faults.counts import count
from tests.protocol.ends import Ends
from tunnel.letters import ForgedLetter, Letter, seal, unseal

INPUTS = 2_000, 250_000  # for each of the four parsers: a million together
LIVE_INPUTS = 700, 50_000  # a session with a stream is opened for each
MAX_GROWTH = 256 * 1024  # bytes; one input kept of a thousand would be more
FIRST = 500  # inputs after which caches are filled

ADDRESS = "inbox-b"
MESSAGES = [
    {"type": "HELLO", "session": "s", "version": "1", "capabilities": ["a"], "policy": {}, "machineId": "m"},
    {"type": "EXEC_COMMAND", "id": "i", "service": "system", "action": "exec", "timestamp": 1700000000},
    {"requestId": "i", "status": "success", "data": {"cpu": 15.5, "list": [[1], {"a": None}]}, "error": None},
    {"type": "HANDSHAKE_ACK", "status": "success", "session": "s", "serverTime": 1e9, "limits": {}},
    {"type": "PING", "timestamp": 1e300, "rtt": None},
    {"type": "EVENT", "name": "\ud800", "data": {}},
    {"type": "GOODBYE", "reason": "r", "retryAfter": -1},
]
TEXTS = [json.dumps(message).encode() for message in MESSAGES]
PIECES = [
    b"",
    b"\0",
    b"\xff" * 9,
    b"[" * 1000,
    b"1e999",
    b"NaN",
    b"null",
    b'"\\ud800"',
    b"{}",
    b"9" * 5000,
    b"-",
]
SERVER_FRAMES = [
    b"\x81\x05hello",
    b"\x01\x01a\x80\x01b",
    b"\x89\x00",
    b"\x88\x02\x03\xe8",
    b"\x82\x7e\x00\x80" + b"x" * 128,
]


def _frame(data: bytes) -> None:
    frames.decode(data)


def _live(data: bytes) -> None:
    """Give both ends of a live stream, and its owner, what claims to be a frame of it."""
    ends = Ends().join()
    owner = ends.open()
    ends.to_agent(data)
    for event in ends.to_master(data):
        if isinstance(event, FrameReceived):
            owner.take(event.data)
    ends.join()
    if owner.stream.over or not ends.agent.live_streams:
        raise StreamBroken(Code.PROTOCOL, "the stream is over")
    assert ends.master.relay(1, data)


def _live_frames() -> list[bytes]:
    right = [
        Frame(Kind.DATA, 1, 0, b"ls -l\n"),
        Frame(Kind.WINDOW, 1, 256 * 1024),
        Frame(Kind.END, 1, 0, b'{"exitCode":0}'),
        Frame(Kind.RESET, 1, 0, b'{"code":"gap","error":"x"}'),
    ]
    return [frames.encode(frame) for frame in right]


def _message(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for decoder in (from_agent, from_master):
        try:
            decoder(text)
        except ProtocolError:
            continue


def _reader(data: bytes) -> None:
    reader, cut = Reader(), len(data) // 2
    reader.feed(data[:cut])
    reader.feed(data[cut:])


def _letter(data: bytes) -> None:
    unseal(data, ADDRESS)


def _letters() -> list[bytes]:
    return [seal(Letter("inbox-a", 7, number, [{"kind": "ask"}]), ADDRESS) for number in range(1, 4)]


PARSERS: dict[str, tuple[Callable[[bytes], None], type[Exception], Callable[[], list[bytes]]]] = {
    "frames": (_frame, ProtocolError, lambda: [bytes([kind]) + b"\0" * 12 + b"{}" for kind in range(5)]),
    "frames of a live stream": (_live, ProtocolError, _live_frames),
    "messages": (_message, ProtocolError, lambda: TEXTS),
    "reader": (_reader, WrongFrame, lambda: SERVER_FRAMES),
    "letters": (_letter, ForgedLetter, _letters),
}


def mutated(chance: random.Random, right: list[bytes]) -> bytes:
    """Return a right input with a few bytes changed, cut out, doubled or put in."""
    data = bytearray(chance.choice(right))
    for _ in range(chance.randint(0, 4)):
        at = chance.randrange(len(data) + 1)
        step = chance.randrange(4)
        if step == 0 and at < len(data):
            data[at] = chance.randrange(256)
        elif step == 1:
            del data[at : at + chance.randint(1, 8)]
        elif step == 2:
            data[at:at] = data[at : at + chance.randint(1, 16)]
        else:
            data[at:at] = chance.choice(PIECES)
    return bytes(data)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", PARSERS)
def test_no_input_ends_in_another_exception_or_stays_in_memory(name, seen):
    parse, refusal, right = PARSERS[name]
    seed = time.time_ns()
    inputs = count(*(LIVE_INPUTS if parse is _live else INPUTS))
    chance, examples, refused = random.Random(seed), right(), 0
    tracemalloc.start()
    try:
        for number in range(inputs):
            if number == FIRST:
                before, _ = tracemalloc.get_traced_memory()
            data = mutated(chance, examples)
            try:
                parse(data)
            except refusal:
                refused += 1
            except Exception as exc:
                raise AssertionError(f"{type(exc).__name__} for {data!r}, seed {seed}") from exc
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    seen(f"growth of {name}", after - before, "bytes", most=MAX_GROWTH)
    assert name == "messages" or 0 < refused < inputs
