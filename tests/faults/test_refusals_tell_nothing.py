"""Whatever is wrong with a handshake, the refusal is the same: its bytes, and the time it takes."""

import itertools
import socket
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.cluster import SERVERS, Cluster
from tests.faults.counts import count, soaking

pytestmark = pytest.mark.e2e

EACH = 8, 2_000  # refusals of each kind
AT_ONCE = 8
DELAY = 0.3  # seconds, TUNNEL_REFUSAL_DELAY
LATEST = 3.0  # seconds, with other load on the machine
NOISE = 0.001  # seconds, beside what two halves of one kind differ
HANDSHAKE = (
    "GET /tunnel HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.fixture(scope="module", params=list(SERVERS))
def cluster(request, tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp(request.param), request.param)
    try:
        yield made.start("a")
    finally:
        made.stop()


def identity(agent_id: str, secret: str) -> str:
    return f"X-Agent-ID: {agent_id}\r\nX-Agent-Secret: {secret}\r\n"


def kinds(cluster) -> dict[str, str]:
    secrets = {name: cluster.add(name) for name in ("node-right", "node-held", "node-typed")}
    cluster.sql("UPDATE servers SET status='suspended' WHERE agent_id='node-held'")
    cluster.sql("UPDATE servers SET connection_type='ssh' WHERE agent_id='node-typed'")
    right = identity("node-right", secrets["node-right"])
    return {
        "no headers": "",
        "a doubled header": right + "X-Agent-ID: node-right\r\n",
        "an id too long": identity("x" * 65, "secret"),
        "a secret too long": identity("node-right", "x" * 257),
        "an unknown id": identity("node-nobody", secrets["node-right"]),
        "a wrong secret": identity("node-right", secrets["node-held"]),
        "suspended": identity("node-held", secrets["node-held"]),
        "another type": identity("node-typed", secrets["node-typed"]),
    }


def refusal(port: int, headers: str, source: str) -> tuple[bytes, float]:
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), 15, source_address=(source, 0)) as line:
        line.sendall((HANDSHAKE + headers + "\r\n").encode())
        answer = b""
        while b"\r\n\r\n" not in answer or not answer.partition(b"\r\n\r\n")[2]:
            piece = line.recv(65536)
            if not piece:
                break
            answer += piece
    taken = time.monotonic() - started
    lines = [line for line in answer.split(b"\r\n") if not line.lower().startswith(b"date:")]
    return b"\r\n".join(lines), taken


@pytest.mark.timeout(3600)
def test_no_refusal_tells_what_was_wrong(cluster, seen):
    wrong, port = kinds(cluster), cluster.ports["a"]
    tries = [headers for _ in range(count(*EACH)) for headers in wrong.values()]
    sources = [f"127.1.{number // 200}.{number % 200 + 1}" for number in range(len(tries))]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(refusal, itertools.repeat(port), tries, sources))
    assert len({answer for answer, _ in answers}) == 1, {answer for answer, _ in answers}
    assert answers[0][0].startswith(b"HTTP/1.1 403 ")
    times = {kind: [taken for _, taken in answers[at :: len(wrong)]] for at, kind in enumerate(wrong)}
    assert min(map(min, times.values())) >= DELAY
    seen("latest refusal", max(map(max, times.values())), "s", most=LATEST)
    medians = [statistics.median(taken) for taken in times.values()]
    apart = max(medians) - min(medians)
    halves = max(
        abs(statistics.median(taken[::2]) - statistics.median(taken[1::2])) for taken in times.values()
    )
    seen("medians of the kinds apart", apart, "s", most=halves + NOISE if soaking() else None)
