"""Whose turn it is on the line, and how much: the agent's streams without a socket."""

import socket
import threading

import pytest

from agent_client.dial import Connection
from agent_client.lines import Lines
from agent_client.outbox import Lane, Outbox
from agent_client.pace import LARGEST, LATEST, LEAST_UNDER_WAY, QUEUE, SMALLEST, SOONEST, Pace
from agent_client.protocol import AgentSession, Code
from agent_client.protocol.frames import Kind, decode
from agent_client.protocol.messages import Command, HandshakeAck
from agent_client.protocol.replay import ReplayGuard
from agent_client.streams import Broken, Done, Opened
from agent_client.wire import Wire
from tests.protocol.ends import FACTS


class Source:
    """Gives what it was told to, in order."""

    def __init__(self, *gives, interactive: bool = False) -> None:
        self.gives = list(gives)
        self.interactive = interactive
        self.line = None
        self.got = b""
        self.ends: list = []

    def attach(self, line) -> None:
        self.line = line
        line.wake()

    def take(self, most: int):
        if not self.gives:
            return None
        if not isinstance(self.gives[0], bytes):
            return self.gives.pop(0)
        chunk, self.gives[0] = self.gives[0][:most], self.gives[0][most:]
        if not self.gives[0]:
            self.gives.pop(0)
        return chunk or None

    def received(self, data: bytes) -> None:
        self.got += data

    def ended(self, detail) -> None:
        self.ends.append(detail)

    def lost(self, code: Code, error: str) -> None:
        self.ends.append(code)


class Desk:
    """A session whose master asks for streams, and the lines of it."""

    def __init__(self) -> None:
        self.session = AgentSession(FACTS, ReplayGuard(), now=0.0)
        self.session.receive_text(HandshakeAck("s", 0.0).to_text(), 0.0, 0.0)
        self.woken = threading.Event()
        self.lines = Lines(self.session, self.woken.set)
        self.asked = 0
        self.sent()

    def open(self, source: Source, **params) -> Source:
        self.asked += 1
        command = Command(f"c{self.asked}", "a", "b", 0.0, params, stream=self.asked)
        self.session.receive_text(command.to_text(), 0.0, 0.0)
        self.lines.open(command.id, Opened({}, source, 1000))
        return source

    def pull(self, piece: int = 1000) -> None:
        while self.lines.pull(piece, bulk=True):
            pass

    def sent(self) -> list:
        frames = []
        while messages := self.session.to_send():
            frames += [decode(message) for message in messages if isinstance(message, bytes)]
        return frames


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_terminals_go_first_and_bulk_takes_turns(desk):
    desk.open(Source(b"a" * 3000))
    desk.open(Source(b"b" * 3000))
    desk.open(Source(b"c" * 3000, interactive=True))
    order = []
    while desk.lines.pull(1000, bulk=True):
        order += [frame.stream for frame in desk.sent()]
    assert order == [3, 1, 2, 1, 2, 1, 2]


def test_nothing_is_taken_beyond_the_window_and_more_when_it_grows(desk):
    source = desk.open(Source(b"x" * 5000), window=1500)
    desk.pull()
    assert sum(len(frame.payload) for frame in desk.sent()) == 1500
    assert not desk.lines.waiting(bulk=True)
    for event in desk.session.receive_bytes(b"\1\0\0\0\1" + (3000).to_bytes(8, "big"), 0.0):
        desk.lines.hear(event)
    assert desk.lines.waiting
    desk.pull()
    assert sum(len(frame.payload) for frame in desk.sent()) == 1500
    assert len(source.gives[0]) == 2000


def test_an_end_or_a_fault_needs_no_window(desk):
    desk.open(Source(Done({"exitCode": 0})), window=0)
    desk.open(Source(Broken(Code.GAP, "too far behind")), window=0)
    desk.pull()
    assert [(frame.stream, frame.kind) for frame in desk.sent()] == [(2, Kind.RESET), (1, Kind.END)]


def test_one_who_sleeps_is_not_asked_until_it_wakes(desk):
    source = desk.open(Source())
    desk.pull()
    desk.woken.clear()
    source.gives.append(b"late")
    assert not desk.lines.pull(1000, bulk=True)
    source.line.wake()
    assert desk.woken.is_set()
    desk.pull()
    assert [frame.payload for frame in desk.sent()] == [b"late"]


def test_room_is_given_back_as_bytes_are_consumed(desk):
    source = desk.open(Source(interactive=True))  # windows of bulk would grow
    for event in desk.session.receive_bytes(b"\0\0\0\0\1" + bytes(8) + b"y" * 800, 0.0):
        desk.lines.hear(event)
    assert source.got == b"y" * 800
    desk.lines.settle()
    assert not desk.sent()
    source.line.consumed(800)
    desk.lines.settle()
    (window,) = desk.sent()
    assert (window.kind, window.offset) == (Kind.WINDOW, 1800)


def test_the_end_of_the_session_reaches_every_endpoint_once(desk):
    sources = [desk.open(Source(b"x" * 10)) for _ in range(3)]
    desk.session.close()
    desk.lines.end()
    desk.lines.end()
    assert [source.ends for source in sources] == [[Code.DISCONNECTED]] * 3
    assert not desk.lines.pull(1000, bulk=True)
    sources[0].line.wake()  # a thread that does not know yet
    sources[0].line.consumed(5)
    assert not desk.lines.pull(1000, bulk=True)


class Way:
    """A line of `rate` bytes a second and a round trip, which holds what comes faster; `sends` is how it is filled."""

    def __init__(self, rate: float, trip: float) -> None:
        self.rate, self.trip, self.shortest = rate, trip, trip
        self.pace = Pace()
        self.now = 0.0
        self.written = 0
        self.arrived = 0.0  # bytes that went over the line
        self.acknowledged: list[tuple[float, float]] = [(0.0, 0.0)]  # when, how many

    def run(self, seconds: float, wanted: float = float("inf"), step: float = 0.005) -> None:
        """Send as much as there is room for, and no more than `wanted` bytes a second."""
        ends, asked = self.now + seconds, 0.0
        while self.now < ends:
            self.now += step
            asked += min(wanted * step, 1e9)
            self.arrived = min(float(self.written), self.arrived + self.rate * step)
            self.acknowledged.append((self.now + self.trip, self.arrived))
            self.pace.look(self.written, self.unacknowledged, self.shortest, self.now)
            while asked >= self.pace.piece and self.pace.room(0) > 0:
                self.written += self.pace.piece
                asked -= self.pace.piece
                self.pace.look(self.written, self.unacknowledged, self.shortest, self.now)

    @property
    def unacknowledged(self) -> int:
        while len(self.acknowledged) > 1 and self.acknowledged[1][0] <= self.now:
            self.acknowledged.pop(0)
        return self.written - int(self.acknowledged[0][1])

    @property
    def queue(self) -> float:
        """How long what is written now waits before it is on the line, in seconds."""
        return (self.written - self.arrived) / self.rate


@pytest.mark.parametrize("trip", [0.001, 0.05, 0.6])
@pytest.mark.parametrize("rate", [16_000, 125_000, 1_250_000])
def test_on_a_slow_line_little_is_under_way_and_the_line_is_never_idle(rate, trip):
    way = Way(rate, trip)
    way.run(20)
    before = way.arrived
    way.run(10)
    assert way.arrived - before >= 9.5 * rate
    assert way.queue <= 1.5 * max(QUEUE, trip / 2) + (LEAST_UNDER_WAY + way.pace.piece) / rate
    assert way.pace.piece == pytest.approx(min(max(rate * 0.05, SMALLEST), LARGEST), rel=0.5)


@pytest.mark.parametrize("trip", [0.0005, 0.1, 0.3])
def test_a_fast_line_is_filled_within_seconds(trip):
    way = Way(12_500_000, trip)
    way.run(20)
    before = way.arrived
    way.run(2)
    assert way.arrived - before > 20_000_000
    assert way.pace.piece == LARGEST


def test_a_line_that_becomes_slow_is_noticed_within_seconds():
    way = Way(12_500_000, 0.02)
    way.run(10)
    way.rate = 125_000
    way.run(16)  # what was under way when it did takes 12 of them
    assert way.queue < 3 * QUEUE
    assert way.pace.piece < 10_000


def test_a_way_that_became_longer_is_filled_again_once_a_ping_has_told():
    way = Way(12_500_000, 0.005)
    way.run(10)
    way.trip = 0.3
    way.run(30)  # what is under way is thought to wait: nobody could tell it from a line that became slow
    assert way.pace.room(0) < 1_000_000
    way.shortest = 0.3
    way.run(20)
    carried = way.arrived
    way.run(10)
    assert way.arrived - carried > 9 * way.rate


def test_bulk_makes_room_for_a_ping_that_measures_the_way():
    way = Way(125_000, 0.02)
    assert not way.pace.holds(0.1, 0.05)
    way.run(10)
    assert way.pace.holds(20.0, 19.95)
    assert not way.pace.holds(20.0, 19.5)
    assert not way.pace.holds(20.0, 20.0)
    assert not way.pace.holds(float("inf"), 20.0)


def test_pauses_and_little_to_send_do_not_make_a_line_slow():
    way = Way(12_500_000, 0.02)
    way.run(10)
    way.run(30, wanted=2_000)
    way.now += 3600
    way.run(1, wanted=2_000)
    assert way.pace.piece == LARGEST
    assert way.pace.room(0) > 500_000


def test_without_room_the_next_look_is_soon():
    pace = Pace()
    assert pace.patience(-100_000) == LATEST
    way = Way(125_000, 0.01)
    way.run(10)
    assert way.pace.patience(way.pace.room(0)) <= LATEST
    assert way.pace.patience(LEAST_UNDER_WAY) == SOONEST


def test_a_terminal_passes_when_there_is_no_room_for_bulk(desk):
    bulk = desk.open(Source(b"b" * 10))
    assert not desk.lines.pull(1000, bulk=False)
    key = desk.open(Source(b"k", interactive=True))
    assert desk.lines.waiting(bulk=False)
    assert desk.lines.pull(1000, bulk=False)
    assert not key.gives
    assert bulk.gives


@pytest.mark.linux
def test_what_is_not_acknowledged_is_asked_by_this_machines_own_number_and_0_where_the_kernel_does_not_tell():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert (
            Wire(Connection(server, b"")).unacknowledged == 0
        )  # of one that listens the kernel refuses to tell
        with socket.create_connection(server.getsockname()) as near, server.accept()[0] as far:
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            near.setblocking(False)
            sent = 0
            while True:
                try:
                    sent += near.send(bytes(65536))
                except BlockingIOError:
                    break
            assert 0 < Wire(Connection(near, b"")).unacknowledged < sent


def test_what_waits_in_the_outbox_is_passed_by_what_is_urgent():
    outbox = Outbox()
    outbox.chunk = 1000
    for _ in range(4):
        outbox.message(b"b" * 900, Lane.BULK)
    first = bytes(outbox.peek())
    outbox.message(b"key", Lane.INTERACTIVE)
    outbox.sent(len(first))
    assert len(first) < 1000  # one frame of bulk, which is finished
    assert outbox.peek()[1] & 0x7F == len(b"key")
