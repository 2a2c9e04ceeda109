"""Daphne with back-pressure: real server processes, raw sockets, and what they weigh."""

import asyncio
import http.client
import socket
import struct
import time

import pytest

from tests.tunnel.serving import (
    DEADLINE,
    MESSAGE,
    MESSAGES,
    TOTAL,
    Daphne,
    daphne,
    frame,
    read_frame,
    settled,
    until,
)
from tunnel.pacing import MAX_WAITING, Pace

MIB = 1024 * 1024
SMALL = 16 * MIB  # growth of a bounded server: buffers of one socket and the allocator's slack
PIECE = 16 * 1024
OPCODE_TEXT, OPCODE_BINARY, OPCODE_CLOSE, OPCODE_PING, OPCODE_PONG = 1, 2, 8, 9, 10


@pytest.fixture
def paced():
    with daphne("paced") as server:
        yield server


def sent(server: Daphne) -> int:
    return server.facts()[0]


def closed(server: Daphne) -> bool:
    return server.facts()[2] == 1


def flood(raw: socket.socket, start: int = 0) -> int:
    """Write as much of TOTAL as the other side takes; return how many bytes of frames went out."""
    data = memoryview(frame(b"x" * PIECE) * (TOTAL // PIECE))
    try:
        while start < len(data):
            start += raw.send(data[start : start + MESSAGE])
    except TimeoutError:
        pass
    return start


def test_a_websocket_client_that_does_not_read_holds_the_sender_and_no_memory(paced):
    before = paced.rss()
    raw = paced.connect("/pour")
    assert settled(lambda: sent(paced)) < SMALL
    assert paced.rss() - before < SMALL
    numbers = [struct.unpack_from("!Q", read_frame(raw)[1])[0] for _ in range(MESSAGES)]
    assert numbers == list(range(MESSAGES))
    raw.close()
    until(lambda: closed(paced))


def test_stock_daphne_takes_everything_into_memory_which_is_why_ours_exists():
    with daphne("stock") as server:
        before = server.rss()
        raw = server.connect("/pour")
        assert settled(lambda: sent(server)) == TOTAL
        assert server.rss() - before > TOTAL // 2
        raw.close()


def test_a_client_that_floods_a_slow_application_is_slowed_down(paced):
    before = paced.rss()
    raw = paced.connect("/swallow")
    raw.settimeout(1)
    out = flood(raw)
    assert out < TOTAL // 2  # the rest stays with the client: kernel buffers and the queue are full
    assert paced.rss() - before < SMALL
    paced.get("/go")
    raw.settimeout(DEADLINE)
    flood(raw, out)
    assert read_frame(raw) == (OPCODE_TEXT, b"all")
    assert paced.facts()[1] == TOTAL
    raw.close()
    until(lambda: closed(paced))


def test_a_download_waits_for_a_slow_reader(paced):
    before = paced.rss()
    connection = http.client.HTTPConnection("127.0.0.1", paced.port, timeout=DEADLINE)
    connection.request("GET", "/download")
    response = connection.getresponse()
    assert settled(lambda: sent(paced)) < SMALL
    assert paced.rss() - before < SMALL
    body = response.read()
    assert len(body) == TOTAL
    assert body[-8:] == struct.pack("!Q", MESSAGES - 1)
    connection.request("GET", "/facts")  # the connection is good for the next request
    assert connection.getresponse().read().split()[2] == b"1"
    connection.close()


def test_an_upload_stays_on_disk_until_the_application_asks_for_it(paced):
    before = paced.rss()
    connection = http.client.HTTPConnection("127.0.0.1", paced.port, timeout=DEADLINE)
    connection.request("PUT", "/upload", body=bytes(TOTAL))
    until(lambda: paced.get("/facts") == "0 0 0")
    assert paced.rss() - before < SMALL
    paced.get("/go")
    assert connection.getresponse().read() == str(TOTAL).encode()
    assert paced.rss() - before < SMALL
    connection.close()


def test_a_sender_is_released_when_its_reader_disappears(paced):
    raw = paced.connect("/pour")
    settled(lambda: sent(paced))
    raw.close()
    until(lambda: closed(paced))


def test_an_application_can_close_a_socket_whose_reader_is_stuck(paced):
    raw = paced.connect("/pour-and-close")
    settled(lambda: sent(paced))
    paced.get("/go")
    until(lambda: closed(paced))
    raw.close()


def test_a_client_that_pings_without_reading_is_owed_one_pong(paced):
    raw = paced.connect("/pour")
    settled(lambda: sent(paced))
    raw.sendall(b"".join(frame(b"%d" % number, OPCODE_PING) for number in range(1000)))
    frames = [read_frame(raw) for _ in range(MESSAGES + 1)]
    pongs = [payload for opcode, payload in frames if opcode == OPCODE_PONG]
    assert pongs == [b"999"]
    raw.close()


def test_pings_do_not_end_a_socket_whose_application_is_slow():
    with daphne("paced", "1", "1") as server:
        raw = server.connect("/swallow")
        raw.settimeout(0.5)
        out = flood(raw)
        # A ping is sent each 2 s at most, its pong would stand behind the flood: wait for two of them.
        raw.settimeout(DEADLINE)
        assert [read_frame(raw)[0] for _ in range(2)] == [OPCODE_PING, OPCODE_PING]
        server.get("/go")
        flood(raw, out)
        while (answer := read_frame(raw))[0] == OPCODE_PING:
            pass
        assert answer == (OPCODE_TEXT, b"all")
        raw.close()


def test_a_silent_client_is_dropped_by_pings_as_ever():
    with daphne("paced", "1", "1") as server:
        server.get("/go")
        raw = server.connect("/swallow")
        until(lambda: closed(server))
        raw.close()


def test_a_close_frame_reaches_the_client(paced):
    paced.get("/go")
    raw = paced.connect("/pour-and-close")
    while (last := read_frame(raw))[0] == OPCODE_BINARY:
        pass
    assert last == (OPCODE_CLOSE, struct.pack("!H", 4001))
    raw.close()


def test_the_server_stops_at_sigterm_with_sockets_open(paced):
    paced.connect("/pour")
    settled(lambda: sent(paced))
    started = time.monotonic()
    paced.stop()
    assert time.monotonic() - started < 5


async def test_senders_pass_in_the_order_they_came():
    pace, order = Pace(), []

    async def say(number: int) -> None:
        async with pace:
            order.append(number)
            pace.pauseProducing()

    pace.pauseProducing()
    tasks = [asyncio.create_task(say(number)) for number in range(5)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        pace.resumeProducing()
    assert order == [0, 1, 2, 3, 4]


async def test_a_cancelled_sender_lets_the_next_one_pass():
    pace = Pace()
    pace.pauseProducing()

    async def say() -> str:
        async with pace:
            return "said"

    first, second = asyncio.create_task(say()), asyncio.create_task(say())
    await asyncio.sleep(0)
    first.cancel()
    pace.resumeProducing()
    assert await second == "said"


def test_the_limit_is_the_one_the_documents_name():
    assert MAX_WAITING == 64
