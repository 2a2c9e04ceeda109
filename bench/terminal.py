"""A terminal as a person feels it: a key and its echo, Ctrl-C, a page that does not read, a restart, a slow line."""

from __future__ import annotations

import itertools
import re
import signal
import socket
import statistics
import string
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import psutil

from bench import narrow, reverse_ssh
from bench.dispatch import MILLI
from bench.figures import Figure
from bench.page import Page
from bench.panel import PATIENCE, Panel
from bench.pty_line import PtyLine
from tests.e2e.cluster import until
from tests.e2e.real_agent import RealAgent

RUNS, KEYS = 5, 300
BULK_RUNS = 3
FLOODS = 7  # of which each is interrupted
FLOOD = 0.7  # seconds of it before the interrupt
UNREAD = 60.0  # seconds in which a page shows nothing
LOOK = 0.25  # seconds between looks at it
RESTARTS = 9
SLOW_KEYS = 120
SLOW_RUNS = 3
MEBIBYTE, KIBIBYTE = 1024**2, 1024
GOAL_SAME, LIMIT_SAME = 0.9, 1.2  # milliseconds, as are the next two
GOAL_RELAYED, LIMIT_RELAYED = 2.2, 3.0
LIMIT_SLOW = 300.0
GOAL_BULK, LIMIT_BULK = 2.0, 3.0  # times the same key without it
GOAL_INTERRUPT, LIMIT_INTERRUPT = 0.3, 0.5  # seconds
GOAL_MEMORY, LIMIT_MEMORY = 4.0, 16.0  # MiB
GOAL_BACK, LIMIT_BACK = 1.0, 2.0  # seconds

# The same shell everywhere, whatever the person's own; what is echoed of this line is not yet its prompt.
BASH = b"exec env PS1='yumna''$ ' HISTFILE=/dev/null bash --norc --noprofile\r"
PROMPT = b"yumna$ "
# The kernel drops what is under way with a Ctrl-C, at times the prompt too (n_tty); Enter asks for another.
INTERRUPT = b"\x03\r"
CLEAR = b"\x15\r"  # Ctrl-U
OPENED = re.compile(r"INFO agent\.link tunnel open")


class Line(Protocol):
    """Somebody's way to a shell."""

    def type(self, data: bytes) -> None:
        """Press keys."""

    def read(self) -> bytes:
        """Wait for output."""


def measure(panel: Panel) -> Iterator[Figure]:
    """Measure all of it, on an agent of its own each."""
    with TemporaryDirectory(prefix="yumna-bench-") as folder:
        yield from _floors(Path(folder))
        with _agent(panel, Path(folder), "typed", panel.cluster.url("a")):
            yield _unread(panel)  # while the workers have had no need of memory yet
            yield from _keys(panel)
            yield _interrupts(panel)
            yield _restarts(panel)
        yield from _slow(panel, Path(folder))


def prepare(line: Line) -> None:
    """Have a plain bash at the other end."""
    line.type(BASH)
    await_text(line, PROMPT)


def keys(line: Line, count: int) -> list[float]:
    """Return the milliseconds of each key to its echo."""
    took = []
    for letter in itertools.islice(itertools.cycle(string.ascii_lowercase.encode()), count):
        began = time.perf_counter()
        line.type(bytes((letter,)))
        while letter not in line.read():
            pass
        took.append((time.perf_counter() - began) * MILLI)
    line.type(CLEAR)
    await_text(line, PROMPT)
    return took


def await_text(line: Line, text: bytes) -> None:
    """Read until this came; read errors end it."""
    seen = b""
    while text not in seen:
        seen = seen[-len(text) :] + line.read()


def _runs(line: Line, runs: int) -> tuple[float, ...]:
    keys(line, KEYS // 10)  # whatever is done once
    return tuple(statistics.median(keys(line, KEYS)) for _ in range(runs))


def _floors(folder: Path) -> Iterator[Figure]:
    with PtyLine("bash", "--norc", "--noprofile") as line:
        prepare(line)
        yield Figure("keystroke, floor: a bare terminal", "ms", _runs(line, RUNS))
    ssh = folder / "ssh"
    ssh.mkdir()
    try:
        with reverse_ssh.line(ssh) as line:
            prepare(line)
            yield Figure("keystroke, ssh through a reverse tunnel", "ms", _runs(line, RUNS))
    except reverse_ssh.Missing as exc:
        print(f"left out: keystroke, ssh through a reverse tunnel: {exc}", flush=True)


@contextmanager
def _agent(
    panel: Panel, folder: Path, name: str, url: str, inside: tuple[str, ...] = (), **more: str
) -> Iterator[None]:
    agent = RealAgent(folder / name, [url], name, panel.cluster.add(name), inside=inside, **more)
    try:
        until(lambda: OPENED.search(agent.log), 20, f"the agent connects: {agent.log}")
        yield
    finally:
        agent.stop()


@contextmanager
def _bash(panel: Panel, worker: str, agent_id: str = "typed") -> Iterator[Page]:
    with Page(panel, worker, agent_id) as page:
        prepare(page)
        yield page


@contextmanager
def _bulk(panel: Panel, agent_id: str, rates: list[float]) -> Iterator[None]:
    """Have the worker with the tunnel read as fast as a program writes; note how fast that was, in MiB a second."""
    panel.json("a", f"/bench/bulk/start/?agent={agent_id}")
    try:
        yield
    finally:
        told = panel.json("a", f"/bench/bulk/stop/?agent={agent_id}")
        rates.append(told["bytes"] / told["seconds"])


def _keys(panel: Panel) -> Iterator[Figure]:
    with _bash(panel, "a") as page:
        same = Figure("keystroke, same worker", "ms", _runs(page, RUNS), LIMIT_SAME, goal=GOAL_SAME)
        yield same
        rates: list[float] = []
        with _bulk(panel, "typed", rates):
            values = _runs(page, BULK_RUNS)
        yield Figure("keystroke during bulk, same worker", "ms", values, base=same)
        ratios = tuple(value / same.median for value in values)
        yield Figure("keystroke during bulk over one without", "×", ratios, LIMIT_BULK, goal=GOAL_BULK)
        yield Figure("bulk meanwhile", "MiB/s", tuple(rate / MEBIBYTE for rate in rates), more=True)
    with _bash(panel, "b") as page:
        values = _runs(page, RUNS)
        yield Figure("keystroke, relayed", "ms", values, LIMIT_RELAYED, base=same, goal=GOAL_RELAYED)


def _interrupts(panel: Panel) -> Figure:
    """Flood the page with `yes`, acknowledged as it reads; from Ctrl-C to the prompt."""
    with _bash(panel, "a") as page:
        values = tuple(_interrupt(page) for _ in range(FLOODS))
    return Figure("Ctrl-C on a flood to the prompt", "s", values, LIMIT_INTERRUPT, goal=GOAL_INTERRUPT)


def _interrupt(page: Page) -> float:
    page.type(b"yes\r")
    flows = time.monotonic() + FLOOD
    while time.monotonic() < flows:
        page.read()
    began = time.perf_counter()
    page.type(INTERRUPT)
    await_text(page, PROMPT)
    return time.perf_counter() - began


def _unread(panel: Panel) -> Figure:
    """Let a page at each worker read nothing while its shell floods it."""
    with ExitStack() as stack:
        pages = [stack.enter_context(_bash(panel, worker)) for worker in ("a", "b")]
        workers = [psutil.Process(panel.cluster.processes[worker].pid) for worker in ("a", "b")]
        before = [worker.memory_info().rss for worker in workers]
        most = list(before)
        for page in pages:
            page.type(b"yes\r")
        over = time.monotonic() + UNREAD
        while time.monotonic() < over:
            for page in pages:
                page.stand_still(LOOK / len(pages))
            now = [worker.memory_info().rss for worker in workers]
            most = [max(pair) for pair in zip(most, now, strict=True)]
        for page in pages:
            page.type(INTERRUPT)
            await_text(page, PROMPT)
    grown = tuple((high - low) / MEBIBYTE for high, low in zip(most, before, strict=True))
    name = "memory of a worker while a page reads nothing"
    return Figure(name, "MiB", grown, LIMIT_MEMORY, always=True, goal=GOAL_MEMORY)


def _restarts(panel: Panel) -> Figure:
    """Restart the worker with page and tunnel; from when it listens to the shell at the page."""
    with _bash(panel, "a") as page:
        values = tuple(_restart(panel, page) for _ in range(RESTARTS))
    return Figure("attached again after a restart", "s", values, LIMIT_BACK, goal=GOAL_BACK)


def _restart(panel: Panel, page: Page) -> float:
    panel.cluster.kill("a", signal.SIGTERM)
    panel.cluster.start_worker("a")
    page.until_lost()
    with ThreadPoolExecutor(1) as looking:
        answered = looking.submit(_listens, panel)
        page.dial_again()
        back = time.monotonic()
    page.type(b"echo back''again\r")
    await_text(page, b"backagain")
    return back - answered.result()


def _listens(panel: Panel) -> float:
    """Wait for the worker and return when it was back."""
    address = "127.0.0.1", panel.cluster.ports["a"]
    until(lambda: _connects(address), PATIENCE)
    return time.monotonic()


def _connects(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) == 0


def _slow(panel: Panel, folder: Path) -> Iterator[Figure]:
    try:
        with narrow.line(folder, panel.cluster.ports["a"]) as slow:
            yield from _on(panel, folder, slow)
    except narrow.Missing as exc:
        print(f"left out: keystroke on 1 Mbit/s: {exc}", flush=True)


def _on(panel: Panel, folder: Path, slow: narrow.Line) -> Iterator[Figure]:
    with (
        _agent(panel, folder, "slow", slow.url, slow.inside, MASTER_CA_FILE=slow.authority),
        _bash(panel, "a", "slow") as page,
    ):
        alone = Figure("keystroke on 1 Mbit/s, p95", "ms", (_p95(keys(page, SLOW_KEYS)),))
        yield alone
        rates: list[float] = []
        with _bulk(panel, "slow", rates):
            during = tuple(_p95(keys(page, SLOW_KEYS)) for _ in range(SLOW_RUNS))
        yield Figure("keystroke on 1 Mbit/s during bulk, p95", "ms", during, LIMIT_SLOW, base=alone)
        yield Figure("bulk on 1 Mbit/s meanwhile", "KiB/s", (rates[0] / KIBIBYTE,), more=True)


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]
