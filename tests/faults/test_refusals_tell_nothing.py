"""Whoever may not in learns nothing: every refusal is the same answer, at the same time, as often as it is tried."""

import asyncio
import itertools
import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.cluster import Cluster
from tests.faults.counts import count, soaking
from tests.faults.nodes import Nodes, start_on_both_servers
from tunnel.attempts import MAX_PER_ADDRESS, MAX_PER_PAIR

pytestmark = pytest.mark.e2e

WORKERS = {"uvicorn": "a", "serve": "b"}
DELAY = 0.3  # seconds; that of the test site
ROUNDS = count(10, 2_000)  # refusals of each kind
GUESSES = count(300, 10_000)  # from one address
AT_ONCE = 16  # refusals that wait side by side; each waits out the delay
RIGHT = 20  # handshakes with a right secret beside guesses
FORGOTTEN = 5  # of them may get in: one failure of an address is forgotten each 0.6 s
LATE = 0.5 if soaking() else 2.0  # seconds after the delay
REQUEST = (
    "GET /tunnel HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@dataclass(frozen=True)
class Answer:
    """What a caller sees of a refusal, and after how many seconds."""

    head: bytes
    body: bytes
    seconds: float

    @property
    def seen(self) -> tuple[bytes, bytes]:
        """All of it but the clock."""
        lines = self.head.split(b"\r\n")
        return b"\r\n".join(line for line in lines if not line.lower().startswith(b"date:")), self.body


async def ask(port: int, source: str, headers: list[tuple[str, str]]) -> Answer:
    """Send a handshake as bytes, so that it may be as wrong as it likes, from an address of loopback."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    try:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        began = time.monotonic()
        writer.write(f"{REQUEST}{lines}\r\n".encode("latin-1"))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
        seconds = time.monotonic() - began
        body = b"" if head.startswith(b"HTTP/1.1 101") else await asyncio.wait_for(reader.read(), 60)
        return Answer(head, body, seconds)
    finally:
        writer.close()


def addresses() -> Iterator[str]:
    """Every address of 127.2.0.0/16 and up in turn, so that none fails often enough to be held back."""
    return (f"127.{a}.{b}.{c}" for a in range(2, 250) for b in range(1, 250) for c in range(1, 250))


def pair(agent_id: str, secret: str) -> list[tuple[str, str]]:
    return [("X-Agent-ID", agent_id), ("X-Agent-Secret", secret)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("panel"), "uvicorn")
    try:
        start_on_both_servers(made, WORKERS)
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def nodes(cluster, tmp_path_factory) -> Iterator[Nodes]:
    names = [
        f"{kind}-{name}" for name in WORKERS.values() for kind in ("free", "guessed", "burst", "behind-nat")
    ]
    made = Nodes(cluster, tmp_path_factory.mktemp("nodes"), ["right", "suspended", "by-ssh", *names])
    cluster.sql("UPDATE servers SET status='suspended' WHERE agent_id='suspended'")
    cluster.sql("UPDATE servers SET connection_type='ssh' WHERE agent_id='by-ssh'")
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(params=WORKERS)
def worker(request) -> str:
    return WORKERS[request.param]


def kinds(secrets: dict[str, str]) -> dict[str, list[tuple[str, str]]]:
    """Return a handshake for each way to be refused, by what is wrong with it."""
    right = secrets["right"]
    return {
        "no headers": [],
        "no secret": pair("right", right)[:1],
        "no id": pair("right", right)[1:],
        "the id twice": pair("right", right) + pair("right", right)[:1],
        "the secret twice": pair("right", right) + pair("right", right)[1:],
        "no shape of an id": pair("!", right),
        "an empty secret": pair("right", ""),
        "a secret that is no ASCII": pair("right", "ü" * 43),
        "a long id": pair("r" * 65, right),
        "a very long id": pair("r" * 4000, right),
        "a long secret": pair("right", "x" * 257),
        "a very long secret": pair("right", "x" * 4000),
        "an unknown id": pair("nobody-here", right),
        "a known id in capitals": pair("RIGHT", right),
        "a wrong secret": pair("right", "x" * len(right)),
        "nearly the secret": pair("right", right[:-1] + ("A" if right[-1] != "A" else "B")),
        "a secret of another": pair("right", secrets["suspended"]),
        "suspended": pair("suspended", secrets["suspended"]),
        "suspended and a wrong secret": pair("suspended", right),
        "another type": pair("by-ssh", secrets["by-ssh"]),
        "another type and a wrong secret": pair("by-ssh", right),
    }


async def refusals(
    port: int, wrong: dict[str, list[tuple[str, str]]], rounds: int
) -> dict[str, list[Answer]]:
    """Ask with each kind as often, in an order of chance, each from an address of its own."""
    order = [kind for kind in wrong for _ in range(rounds)]
    random.shuffle(order)
    answers: dict[str, list[Answer]] = {kind: [] for kind in wrong}
    sources, gate = addresses(), asyncio.Semaphore(AT_ONCE)

    async def one(kind: str) -> None:
        async with gate:
            answers[kind].append(await ask(port, next(sources), wrong[kind]))

    await asyncio.gather(*map(one, order))
    return answers


def halves(answers: list[Answer]) -> tuple[float, float]:
    """Return the medians of every second answer and of the others: two runs of one kind."""
    seconds = [answer.seconds for answer in answers]
    return statistics.median(seconds[::2]), statistics.median(seconds[1::2])


@pytest.mark.timeout(1800)
def test_every_refusal_is_the_same_answer_at_the_same_time(cluster, nodes, worker, seen):
    answers = asyncio.run(refusals(cluster.ports[worker], kinds(nodes.secrets), ROUNDS))
    looks = {answer.seen: kind for kind, ones in answers.items() for answer in ones}
    assert len(looks) == 1, looks
    assert next(iter(looks))[0].startswith(b"HTTP/1.1 403 ")
    seconds = [answer.seconds for ones in answers.values() for answer in ones]
    assert min(seconds) >= DELAY - 0.01
    seen(f"latest refusal by {worker} after the delay", max(seconds) - DELAY, "s", most=LATE)
    medians = [statistics.median(answer.seconds for answer in ones) for ones in answers.values()]
    apart = max(medians) - min(medians)
    same = max(abs(one - other) for one, other in map(halves, answers.values()))
    seen(f"medians of two runs of one kind on {worker} differ by", same * 1000, "ms")
    most = max(same * 1000, 1.0) if soaking() else None  # a millisecond is the clock of the event loop
    seen(f"medians of two kinds on {worker} differ by", apart * 1000, "ms", most=most)


async def guess(port: int, source: str, ids: Iterator[str], number: int) -> Counter[bytes]:
    """Guess from one address; return how often each status came."""
    statuses: Counter[bytes] = Counter()
    gate = asyncio.Semaphore(AT_ONCE * 4)

    async def one() -> None:
        async with gate:
            answer = await ask(port, source, pair(next(ids), "x" * 43))
            statuses[answer.head.split(b" ")[1]] += 1

    await asyncio.gather(*(one() for _ in range(number)))
    return statuses


async def several(port: int, source: str, shown: list[tuple[str, str]], number: int) -> list[Answer]:
    """Show the same pair several times at once."""
    return await asyncio.gather(*(ask(port, source, shown) for _ in range(number)))


def refused_for(cluster: Cluster, worker: str, words: str, source: str) -> int:
    """Return how often a worker refused an address for this reason."""
    lines = cluster.log(worker).splitlines()
    return sum(f"refused from {source}:" in line and words in line for line in lines)


@pytest.mark.timeout(600)
def test_guesses_are_held_back_and_the_agents_behind_the_same_address_are_not(cluster, nodes, worker):
    """The guesser and a real agent have one address, as behind a NAT; the guesser has tried all it may."""
    port, source = cluster.ports[worker], "127.0.0.1"
    name = f"behind-nat-{worker}"
    agent = nodes.start(name, cluster.url(worker))
    nodes.wait_until_in(name)
    agent.stop()
    names = itertools.cycle(f"guess-{number}" for number in range(50))
    began = time.monotonic()
    first = 2 * MAX_PER_ADDRESS
    assert asyncio.run(guess(port, source, names, first)) == {b"403": first}
    right = pair(f"free-{worker}", nodes.secrets[f"free-{worker}"])
    tried = asyncio.run(several(port, source, right, RIGHT))  # held back, although their secret is right
    held = sum(answer.head.startswith(b"HTTP/1.1 403 ") for answer in tried)
    assert held >= RIGHT - FORGOTTEN
    assert asyncio.run(guess(port, source, names, GUESSES - first)) == {b"403": GUESSES - first}
    judged = refused_for(cluster, worker, "unknown id or wrong secret", source)
    minutes = 1 + (time.monotonic() - began) / 60
    assert judged <= minutes * MAX_PER_ADDRESS + AT_ONCE * 4  # these were under way when the last one counted
    assert refused_for(cluster, worker, "too many failures", source) == GUESSES - judged + held
    nodes.start(name, cluster.url(worker))
    nodes.wait_until_in(name)


def test_one_id_is_guessed_ten_times_a_minute_and_others_are_free(cluster, nodes, worker):
    """From two addresses, so that what counts is the pair; a third one still gets in with the right secret."""
    port, name = cluster.ports[worker], f"guessed-{worker}"
    right = pair(name, nodes.secrets[name])
    for source in ("127.0.1.1", "127.0.1.2"):
        assert asyncio.run(guess(port, source, itertools.repeat(name), MAX_PER_PAIR)) == {
            b"403": MAX_PER_PAIR
        }
        assert asyncio.run(ask(port, source, right)).head.startswith(b"HTTP/1.1 403 ")
        assert refused_for(cluster, worker, "too many failures", source) == 1
    assert asyncio.run(ask(port, "127.0.1.3", right)).head.startswith(b"HTTP/1.1 101 ")


def test_guesses_sent_side_by_side_are_no_more_than_those_sent_in_turn(cluster, nodes, worker):
    """The right secret at the end of a burst: all of it is on its way before the first guess has failed."""
    port, name = cluster.ports[worker], f"burst-{worker}"
    secrets = ["x" * 43] * (10 * MAX_PER_PAIR) + [nodes.secrets[name]]

    async def burst() -> list[Answer]:
        return await asyncio.gather(*(ask(port, "127.0.1.4", pair(name, secret)) for secret in secrets))

    assert {answer.head.split(b" ")[1] for answer in asyncio.run(burst())} == {b"403"}
