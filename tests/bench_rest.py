"""What REST costs over the bare dispatch: one Uvicorn worker, a basic agent on it, a client that keeps its connection.

`python -m tests.bench_rest [COUNT]` prints the figures; `measure` is for other programs.
"""

import http.client
import json
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.e2e.basic_agent import BasicAgent
from tests.e2e.cluster import Cluster

COUNT = 300
WARM_UP = 50  # requests that are not counted: imports, caches, the first connection to the database
MAKE_TOKEN = """
from django.contrib.auth import get_user_model
from servers import tokens
user, _ = get_user_model().objects.get_or_create(username="bench", is_superuser=True)
print(tokens.create(user, "bench", tokens.offered(user))[1])
"""


@dataclass(frozen=True)
class Figures:
    """Milliseconds of one command: over REST, dispatched in the worker itself, and what REST adds at the median."""

    rest_p50: float
    rest_p95: float
    bare_p50: float
    over_p50: float
    count: int


class Caller:
    """An HTTP/1.1 client that keeps its connection, with a token."""

    def __init__(self, port: int, token: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.headers = {"Authorization": f"Token {token}", "Content-Type": "application/json"}

    def __call__(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict]:
        data = None if body is None else json.dumps(body)
        self.connection.request(method, f"/api/tunnel/v1/{path}", data, {**self.headers, **headers})
        response = self.connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text else {}


def measure(count: int = COUNT) -> Figures:
    """Run the processes, measure, and stop them."""
    import tests.settings  # noqa: F401 - makes the environment that the processes inherit

    with tempfile.TemporaryDirectory(prefix="yumna-bench-") as folder:
        off = {"TUNNEL_API_COMMANDS_A_MINUTE": "0", "LOG_LEVEL": "WARNING"}
        cluster = Cluster(Path(folder), "uvicorn", **off)
        try:
            cluster.start("a")
            return _measure(cluster, count)
        finally:
            cluster.stop()


def _measure(cluster: Cluster, count: int) -> Figures:
    secret, token = cluster.add("bench"), cluster.python(MAKE_TOKEN).splitlines()[-1]
    agent = BasicAgent(cluster.url("a"), "bench", secret)
    agent.wait_for("HANDSHAKE_ACK")
    caller = Caller(cluster.ports["a"], token)
    rest = [_one(caller) for _ in range(WARM_UP + count)][WARM_UP:]
    bare = cluster.get("a", f"/test/bare/bench/{WARM_UP + count}")["seconds"][WARM_UP:]
    agent.stop()
    rest_p50, bare_p50 = statistics.median(rest) * 1000, statistics.median(bare) * 1000
    p95 = statistics.quantiles(rest, n=20)[-1] * 1000
    return Figures(
        round(rest_p50, 2), round(p95, 2), round(bare_p50, 2), round(rest_p50 - bare_p50, 2), count
    )


def _one(caller: Caller) -> float:
    began = time.perf_counter()
    status, answer = caller("POST", "servers/bench/commands/", {"service": "system", "action": "getUsage"})
    seconds = time.perf_counter() - began
    if status != 200:
        raise RuntimeError(f"answered {status}: {answer}")
    return seconds


if __name__ == "__main__":
    print(json.dumps(asdict(measure(int(sys.argv[1]) if sys.argv[1:] else COUNT))))
