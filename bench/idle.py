"""What the real agent takes from its node while nobody asks it anything."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from bench.figures import Figure
from bench.panel import Panel
from bench.relay import HOST, Relay
from tests.e2e.cluster import until
from tests.e2e.real_agent import RealAgent
from yumna_panel.demo import certificate

SECONDS = 32.0  # four pings and a heartbeat
SETTLED = 3.0  # seconds after the tunnel is open: HELLO, the first heartbeat and the second ping are over
LOOKS = 4  # at the memory, during that time
MEBIBYTE = 1024**2
GOAL, LIMIT = 22.0, 25.0  # MiB
GOAL_CPU, LIMIT_CPU = 0.2, 0.5  # percent of one core


def measure(panel: Panel) -> Iterator[Figure]:
    """Watch one, behind TLS as on a node: a proxy of our own ends it, whose memory is not looked at."""
    name = "idle"
    with TemporaryDirectory(prefix="yumna-bench-") as folder:
        made = certificate.ensure(Path(folder) / "tls", HOST)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(made.chain, made.key)
        relay = Relay(panel.cluster.ports["a"], tls)
        urls, trusted = [f"https://{HOST}:{relay.port}"], str(made.authority)
        secret = panel.cluster.add(name)
        agent = RealAgent(Path(folder) / name, urls, name, secret, MASTER_CA_FILE=trusted)
        try:
            until(lambda: "tunnel open" in agent.log, 20, "the agent connects")
            time.sleep(SETTLED)
            yield from _watch(psutil.Process(agent.process.pid))
        finally:
            agent.stop()
            relay.stop()


def _watch(process: psutil.Process) -> Iterator[Figure]:
    before, started = sum(process.cpu_times()[:2]), time.monotonic()
    memory = []
    for _ in range(LOOKS):
        time.sleep(SECONDS / LOOKS)
        memory.append(process.memory_info().rss / MEBIBYTE)
    share = 100 * (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - started)
    yield Figure("idle agent, memory", "MiB", tuple(memory), LIMIT, goal=GOAL)
    yield Figure("idle agent, processor", "%", (share,), LIMIT_CPU, goal=GOAL_CPU)
