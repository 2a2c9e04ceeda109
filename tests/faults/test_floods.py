"""Bad input from outside: a node with a key that breaks every rule, a panel that does, and callers that only hold sockets."""

import contextlib
import json
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from websockets.sync.client import connect

from agent_client.protocol.handshake import SUBPROTOCOL
from agent_client.protocol.limits import MAX_RUBBISH
from agent_client.protocol.messages import Hello
from tests.agent.raw_master import RawMaster, ack, close_code, frame, frames, read_all, text
from tests.e2e.basic_agent import BasicAgent
from tests.e2e.cluster import Cluster, until
from tests.e2e.real_agent import RealAgent
from tests.faults.counts import count, soaking
from tests.faults.nodes import add_all, start_on_both_servers

pytestmark = pytest.mark.e2e

WORKERS = {"uvicorn": "a", "serve": "b"}
MESSAGES = count(20_000, 100_000)  # small ones, written as fast as the socket takes them
SOCKETS = count(200, 5_000)  # that only open
HUGE = 2 * 1024 * 1024  # bytes
MORE_MEMORY = 32.0  # MiB
ANSWERED = 2.0 if soaking() else 5.0  # seconds within which a bystander is answered
# A server tells its application of whole messages alone, so the silence of 18 s ends it; under load that is seen late.
CLOSED_WITHIN = 25.0 if soaking() else 45.0  # seconds
KINDS = ("bystander", "liar", "victim", "late", "unending")
UNMASKED = bytes(4)  # the mask that changes nothing, so that a frame of the tests can be a client's
TOO_MANY = MAX_RUBBISH + 5
GONE = (None, 1006)  # a reset overtook the close frame, as it may where the flood still comes in


def deep(depth: int) -> bytes:
    return b'{"type":"EVENT","name":"x","data":' + b"[" * depth + b"]" * depth + b"}"


NOT_JSON = [b"not JSON", b"", b"{", b'{"type":', b"\x00", b"NaN"] * 5
WRONG_TYPES = [b"[]", b"17", b'"x"', b"null", b'{"type":5}', b'{"type":"PONG","serverTime":NaN}'] * 5
LONE_SURROGATES = [b'{"type":"EVENT","name":"\\ud800"}'] * TOO_MANY
UNKNOWN = [b'{"type":"NO_SUCH_TYPE","id":"x"}'] * 200
REPLIES_TO_NOTHING = [b'{"requestId":"nobody-asked","status":"success","data":1,"error":null}'] * 200


def texts(messages: list[bytes], mask: bytes) -> bytes:
    return b"".join(frame(1, message, mask=mask) for message in messages)


def endless(mask: bytes, part: bytes, fragments: int) -> Iterator[bytes]:
    """A message that never ends, in pieces of a thousand fragments."""
    yield frame(1, b"x", fin=False, mask=mask)
    for _ in range(fragments // 1000):
        yield frame(0, part, fin=False, mask=mask) * 1000


@dataclass(frozen=True)
class Attack:
    """Bytes after a handshake; `codes` are how it may be closed, nothing means the session lives on."""

    pieces: Callable[[bytes], Iterator[bytes]]
    codes: tuple[int | None, ...] = ()


def once(messages: list[bytes]) -> Callable[[bytes], Iterator[bytes]]:
    return lambda mask: iter([texts(messages, mask)])


ATTACKS = {
    "not JSON": Attack(once(NOT_JSON), (4008,)),
    "a thousand deep": Attack(once([deep(1000)] * TOO_MANY), (4008,)),
    "wrong types": Attack(once(WRONG_TYPES), (4008,)),
    "half characters": Attack(once(LONE_SURROGATES), (4008,)),
    "frames of no stream": Attack(lambda mask: iter([frame(2, b"\x00" * 40, mask=mask) * TOO_MANY]), (4008,)),
    "unknown types": Attack(once(UNKNOWN)),
    "replies to nothing": Attack(once(REPLIES_TO_NOTHING)),
    "no UTF-8": Attack(lambda mask: iter([frame(1, b"\xff\xfe", mask=mask)]), (1007, *GONE)),
    "a frame of no kind": Attack(lambda mask: iter([frame(3, b"", mask=mask)]), (1002, *GONE)),
    "two MiB": Attack(lambda mask: iter([frame(1, b"x" * HUGE, mask=mask)]), (1009, 4008, *GONE)),
    "two MiB that only begin": Attack(
        lambda mask: iter([frame(2, b"x" * HUGE, mask=mask)[: HUGE // 2 + 100]]), (1009, 4008, *GONE)
    ),
    "fragments without end": Attack(lambda mask: endless(mask, b"x" * 100, 40_000), (1009, 4008, *GONE)),
    "small messages": Attack(
        lambda mask: (
            frame(1, b'{"type":"EVENT","name":"x"}', mask=mask) * 1000 for _ in range(MESSAGES // 1000)
        ),
        (4008, *GONE),
    ),
}


class Watch:
    """Keeps asking a bystander beside a test's body, and reads off the most memory a process took meanwhile."""

    def __init__(self, process: int, ask: Callable[[], object] = lambda: None) -> None:
        self._process, self._ask = process, ask
        self.slowest, self.grown = 0.0, 0.0  # seconds, MiB

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        """Raises what a question raised."""
        Path(f"/proc/{self._process}/clear_refs").write_text("5")  # proc(5): the peak begins anew
        before, stop = self._peak(), threading.Event()
        with ThreadPoolExecutor(1, thread_name_prefix="watch") as pool:
            running = pool.submit(self._keep_asking, stop)
            try:
                yield
            finally:
                stop.set()
            running.result()
        self.grown = max(self.grown, (self._peak() - before) / 1024)

    def _keep_asking(self, stop: threading.Event) -> None:
        while True:
            began = time.monotonic()
            self._ask()
            self.slowest = max(self.slowest, time.monotonic() - began)
            if stop.wait(0.05):
                return

    def _peak(self) -> int:
        """KiB that were resident at most."""
        status = Path(f"/proc/{self._process}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0])


# To the master --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("panel"), "uvicorn")
    try:
        start_on_both_servers(made, WORKERS)
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def secrets(cluster) -> dict[str, str]:
    names = [f"{kind}-{worker}" for worker in WORKERS.values() for kind in KINDS]
    names += [f"evil-{number}-{worker}" for worker in WORKERS.values() for number in range(len(ATTACKS))]
    return add_all(cluster, names)


def dial(cluster, worker, secrets, name, **options) -> BasicAgent:
    agent = BasicAgent(cluster.url(worker), name, secrets[name], **options)
    agent.wait_for("HANDSHAKE_ACK")
    return agent


@pytest.fixture(params=WORKERS)
def worker(request) -> str:
    return WORKERS[request.param]


@pytest.fixture
def watch(cluster, secrets, worker) -> Iterator[Watch]:
    """A watch on the worker and on an agent of it that does nothing wrong; its session must outlive the test."""
    bystander = dial(cluster, worker, secrets, f"bystander-{worker}")

    def ask() -> None:
        answer = cluster.get(worker, f"/test/thread/bystander-{worker}/GET_STATS")
        assert answer.get("data") == {"cpu": 1.5, "ram": 64}, answer

    for _ in range(50):  # what the worker takes for its first requests is no growth
        ask()
    yield Watch(cluster.processes[worker].pid, ask)
    ask()
    assert bystander.close_code is None
    bystander.stop()


def attack(cluster, worker, secrets, name: str, attack: Attack) -> "int | str | None":
    """Send an attack's bytes; returns the code it was closed with, or "open"."""
    agent = dial(cluster, worker, secrets, name)
    with contextlib.suppress(OSError):  # closed in the middle of it
        for piece in attack.pieces(UNMASKED):
            agent.socket.socket.sendall(piece)
    if attack.codes:
        return agent.closed(20)
    agent.ping()
    agent.wait_for("PONG", 20)
    agent.stop()
    return "open"


@pytest.mark.usefixtures("unending")
def test_a_node_that_breaks_the_rules_is_closed_and_disturbs_nobody(cluster, secrets, worker, watch, seen):
    for _ in range(count(1, 5)):
        with watch.beside(), ThreadPoolExecutor(4) as pool:
            names = [f"evil-{number}-{worker}" for number in range(len(ATTACKS))]
            run = partial(attack, cluster, worker, secrets)
            ends = dict(zip(ATTACKS, pool.map(run, names, ATTACKS.values()), strict=True))
        assert not [
            (name, end) for name, end in ends.items() if end not in (ATTACKS[name].codes or ("open",))
        ]
    seen(f"memory of worker {worker} grew", watch.grown, "MiB", most=MORE_MEMORY)
    seen(f"slowest answer of a bystander on {worker}", watch.slowest, "s", most=ANSWERED)


def never_end(cluster: Cluster, worker: str, name: str, secret: str) -> tuple[int | None, float]:
    """Begin a message and add nothing to it for ever; returns the close code, and after how many seconds it came."""
    headers = {"X-Agent-ID": name, "X-Agent-Secret": secret}
    options = {"additional_headers": headers, "subprotocols": [SUBPROTOCOL], "compression": None}
    with connect(cluster.url(worker), proxy=None, **options) as agent:
        agent.send(Hello(json.loads(agent.recv())["session"], "1").to_text())
        began, pause = time.monotonic(), threading.Event()
        with contextlib.suppress(OSError):
            agent.socket.sendall(frame(1, b"x", fin=False, mask=UNMASKED))
            while time.monotonic() - began < 2 * CLOSED_WITHIN:
                agent.socket.sendall(frame(0, b"", fin=False, mask=UNMASKED) * 10)
                pause.wait(0.05)
        return agent.protocol.close_code, time.monotonic() - began


@pytest.fixture(scope="module")
def unending(cluster, secrets) -> Iterator[dict[str, Future[tuple[int | None, float]]]]:
    """What became of a node on each worker whose message never ends, while the other tests run."""
    with ThreadPoolExecutor(len(WORKERS), thread_name_prefix="unending") as pool:
        names = {worker: f"unending-{worker}" for worker in WORKERS.values()}
        yield {
            worker: pool.submit(never_end, cluster, worker, name, secrets[name])
            for worker, name in names.items()
        }


def test_an_empty_fragment_for_ever_takes_no_memory_and_delays_nobody(cluster, secrets, worker, watch, seen):
    agent = dial(cluster, worker, secrets, f"evil-0-{worker}")
    with watch.beside(), contextlib.suppress(OSError):
        for piece in endless(UNMASKED, b"", MESSAGES):
            agent.socket.socket.sendall(piece)
    agent.stop()
    seen(f"memory of worker {worker} grew", watch.grown, "MiB", most=MORE_MEMORY)
    seen(f"slowest answer of a bystander on {worker}", watch.slowest, "s", most=ANSWERED)


def test_a_reply_in_anothers_name_and_a_second_one_change_nothing(cluster, secrets, worker):
    liar = dial(cluster, worker, secrets, f"liar-{worker}")

    def answer(message: dict) -> dict:
        victim.send({"requestId": "nobody-asked", "status": "success", "data": "early", "error": None})
        liar.seen.clear()
        liar.send({"requestId": message["id"], "status": "success", "data": "a lie", "error": None})
        liar.ping()
        liar.wait_for("PONG")  # the lie has been read by now
        mine = {"requestId": message["id"], "status": "success", "data": message["id"], "error": None}
        victim.send(mine)
        return mine | {"data": "a second answer"}

    victim = dial(cluster, worker, secrets, f"victim-{worker}", answer=answer)
    for other in WORKERS.values():
        answers = [
            cluster.get(other, f"/test/thread/victim-{worker}/GET_STATS") for _ in range(count(5, 200))
        ]
        asked = [message["id"] for message in victim.seen if message["type"] == "GET_STATS"]
        assert [one["data"] for one in answers] == asked[-len(answers) :]
    assert liar.close_code is None
    assert victim.close_code is None
    liar.stop()
    victim.stop()


def test_sockets_that_only_open_keep_nobody_out(cluster, secrets, worker, watch, seen):
    """Half say nothing, half begin a handshake and do not end it; each from an address of its own."""
    allow_files(cluster.processes[worker].pid)
    allow_files(0)
    with contextlib.ExitStack() as stack, watch.beside():
        for number in range(SOCKETS):
            source = (f"127.1.{number // 250}.{number % 250 + 1}", 0)
            address = ("127.0.0.1", cluster.ports[worker])
            held = stack.enter_context(socket.create_connection(address, 20, source_address=source))
            if number % 2:
                held.sendall(b"GET /tunnel HTTP/1.1\r\nX-Agent-ID: nobody\r\nX-Slow: ")
        began = time.monotonic()
        late = dial(cluster, worker, secrets, f"late-{worker}")
        seen(f"a node came in on {worker} in", time.monotonic() - began, "s", most=ANSWERED)
        late.stop()
    seen(f"memory of worker {worker} grew", watch.grown, "MiB", most=MORE_MEMORY)
    seen(f"slowest answer of a bystander on {worker}", watch.slowest, "s", most=ANSWERED)


def allow_files(process: int) -> None:
    """Let a process have as many files as it may; 0 is this one."""
    _, most = resource.prlimit(process, resource.RLIMIT_NOFILE)
    resource.prlimit(process, resource.RLIMIT_NOFILE, (most, most))


# To the agent ---------------------------------------------------------------------------------------------------

TO_THE_AGENT = {
    **{name: one for name, one in ATTACKS.items() if name != "two MiB that only begin"},
    "replies to nothing": Attack(once(REPLIES_TO_NOTHING), (4008,)),  # no message of a master
    "empty fragments without end": Attack(lambda mask: endless(mask, b"", 100_000), (1009, *GONE)),
    "commands": Attack(
        lambda mask: (
            texts([command(f"{part}-{number}") for number in range(1000)], mask)
            for part in range(MESSAGES // 1000)
        ),
        (4008, *GONE),
    ),
}


def command(number: str) -> bytes:
    asked = {"id": number, "type": "EXEC_COMMAND", "service": "agent", "action": "ping"}
    return json.dumps(asked | {"timestamp": time.time()}).encode()


class EvilMaster:
    """Attacks the first time an agent dials in; the second time it behaves, and asks something."""

    def __init__(self, attack: Attack) -> None:
        self._attack = attack
        self.visits = 0
        self.code: int | str | None = "open"
        self.answered = threading.Event()

    def serve(self, connection: socket.socket) -> None:
        self.visits += 1
        connection.settimeout(20)
        connection.sendall(ack(ping=1))
        if self.visits == 1:
            sending = threading.Thread(target=self._send, args=(connection,), name="evil master")
            sending.start()
            if self._attack.codes:
                self.code = close_code(read_all(connection))
            sending.join()
            if self._attack.codes:
                return
        connection.sendall(text(json.loads(command("after"))))  # read after all that was sent before
        self._await_answer(connection)

    def _send(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the agent left in the middle of it
            for piece in self._attack.pieces(b""):
                connection.sendall(piece)

    def _await_answer(self, connection: socket.socket) -> None:
        received = b""
        while data := connection.recv(65536):
            received += data
            if b'"after"' in unmasked(received):
                self.answered.set()
                return
        self.code = close_code(received)


def unmasked(data: bytes) -> bytes:
    return b"".join(payload for _, payload in frames(data))


def test_a_panel_that_breaks_the_rules_is_left_and_a_later_one_served(tmp_path: Path, seen):
    """All at once: a panel and an agent for each attack; the memory is that of each agent."""

    def run(name: str) -> tuple[object, float]:
        evil = EvilMaster(TO_THE_AGENT[name])
        with RawMaster(evil.serve) as master:
            agent = RealAgent(
                tmp_path / name.replace(" ", "-"), [f"ws://127.0.0.1:{master.port}/tunnel"], "node", "x" * 40
            )
            try:
                until(lambda: evil.visits, 30, f"{name}: {agent.log}")
                watch = Watch(agent.process.pid)
                with watch.beside():
                    assert evil.answered.wait(60), (
                        f"{name}: {evil.code}, {evil.visits} visits: {agent.log[-2000:]}"
                    )
                assert agent.process.poll() is None
                assert "Traceback" not in agent.log
                return evil.code, watch.grown
            finally:
                agent.stop()

    with ThreadPoolExecutor(len(TO_THE_AGENT)) as pool:
        results = dict(zip(TO_THE_AGENT, pool.map(run, TO_THE_AGENT), strict=True))
    print(results)
    wrong = {
        name: end for name, (end, _) in results.items() if end not in (TO_THE_AGENT[name].codes or ("open",))
    }
    assert not wrong
    seen("memory of an agent grew", max(grown for _, grown in results.values()), "MiB", most=MORE_MEMORY)


# Last, for it goes on beside the others ---------------------------------------------------------------------------


def test_a_message_that_never_ends_ends_its_session(unending, worker, seen):
    code, seconds = unending[worker].result(4 * CLOSED_WITHIN)
    assert code in (1000, *GONE), "as one that fell silent"
    seen(f"a message without end on {worker} was closed after", seconds, "s", most=CLOSED_WITHIN)
