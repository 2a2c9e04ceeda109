"""Clocks that are wrong, are stepped, or stood still with their machine: old commands do not run, fresh ones do."""

import signal
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.agent.certificates import Authority
from tests.agent.real_master import Master, Visit
from tests.e2e.cluster import Cluster, until
from tests.e2e.real_agent import RealAgent
from tests.faults.counts import count, soaking
from tests.faults.faketime import WrongClock
from tests.faults.history import History
from tests.faults.nodes import Nodes, beside

pytestmark = pytest.mark.e2e

HOUR, TEN_YEARS = 3600.0, 10 * 365 * 86_400.0
WRONG = {"hour-ahead": HOUR, "hour-behind": -HOUR, "ahead": TEN_YEARS, "behind": -TEN_YEARS}
STEPS = (HOUR, -HOUR, TEN_YEARS, -TEN_YEARS)  # beside what was wrong from the start
SILENCE = 900.0  # seconds; a machine held still is not given up, so that what waited for it does reach it
LOOKED = 2.0  # seconds for which idle agents are looked at
BUSY = (
    0.2  # of a core; with five pings a second an agent takes a tenth of that, one in a loop takes all it gets
)


@pytest.fixture(scope="module")
def master() -> Iterator[Master]:
    with Master(silence=SILENCE) as made:
        yield made


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


class Node:
    """A real agent with the socket its master holds of it, and the file that shows what ran there."""

    def __init__(self, folder: Path, master: Master, name: str, **variables: str) -> None:
        urls = [f"ws://127.0.0.1:{master.port}/tunnel"]
        self.name = name
        self.trace = folder / f"{name}.trace"
        self.agent = RealAgent(folder / name, urls, name, "rahasiadapur", **variables)
        self.visit: Visit | None = None

    def meet(self, visit: Visit) -> None:
        """Take the socket, and wait until its line was measured: from then on the clock is known well."""
        self.visit = visit
        visit.next(lambda message: message.get("rtt") is not None)

    def run(self, word: str, **members: object) -> str:
        """Have the node write a word down; returns the code of the answer, or `ok`."""
        answer = self.visit.run("system", "exec", params=self.writing(word), **members)
        return str(answer.get("code", "ok"))

    def writing(self, word: str) -> dict[str, str]:
        return {"shell": f"echo {word} >> {self.trace}"}

    def ran(self) -> list[str]:
        return self.trace.read_text().split() if self.trace.exists() else []

    def judge(self, word: str) -> None:
        """A fresh command runs, once; one that is 31 s old or from the future does not."""
        assert self.run(f"{word}-fresh", id=f"{word}-fresh") == "ok", self.agent.log
        assert self.run(f"{word}-fresh", id=f"{word}-fresh") == "duplicate"
        assert self.run(f"{word}-late", age=31) == "expired"
        assert self.run(f"{word}-early", age=-31) == "expired"

    def used(self) -> float:
        """Return how many seconds of a core the agent has taken so far."""
        times = psutil.Process(self.agent.process.pid).cpu_times()
        return float(times.user + times.system)


@pytest.mark.faketime
def test_a_clock_that_is_wrong_or_stepped_runs_nothing_old_and_refuses_nothing_fresh(master, tmp_path, seen):
    clocks = {name: WrongClock(tmp_path / f"{name}.clock", wrong) for name, wrong in WRONG.items()}
    nodes = {name: Node(tmp_path, master, name, **clock.variables) for name, clock in clocks.items()}
    steps = STEPS * count(1, 20)

    def live(node: Node) -> None:
        node.judge("first")
        for number, step in enumerate(steps):
            clocks[node.name].set(WRONG[node.name] + step)
            node.judge(f"step-{number}")

    try:
        for _ in nodes:
            visit = master.visit(30)
            nodes[visit.headers["X-Agent-ID"]].meet(visit)
        with beside(*(partial(live, node) for node in nodes.values())):
            pass
        before = {name: node.used() for name, node in nodes.items()}
        threading.Event().wait(LOOKED)
        for name, node in nodes.items():
            taken = (node.used() - before[name]) / LOOKED
            seen(f"share of a core of an idle agent, clock {name} and stepped", taken, "cores", most=BUSY)
        for node in nodes.values():
            assert node.ran() == ["first-fresh", *(f"step-{number}-fresh" for number in range(len(steps)))]
            assert not node.visit.over.is_set(), f"{node.name} never was offline: {node.agent.log}"
        years = {node.agent.log.split("-")[0] for node in nodes.values()}
        assert len(years) >= 3, "the clocks of the agents were wrong"
        assert master.nobody_comes(0.1)
    finally:
        for node in nodes.values():
            node.agent.stop()


@pytest.mark.faketime
@pytest.mark.parametrize(
    ("wrong", "words"), [(TEN_YEARS, "clock is ahead"), (-TEN_YEARS, "check both clocks")]
)
def test_a_clock_for_which_the_certificate_is_wrong_is_named(authority, tmp_path, wrong, words):
    clock = WrongClock(tmp_path / "clock", wrong)
    more = {"MASTER_CA_FILE": str(authority.file), **clock.variables}
    with Master(tls=authority.server()) as master:
        url = f"wss://127.0.0.1:{master.port}/tunnel"
        agent = RealAgent(tmp_path / "agent", [url], "wrong-clock", "rahasiadapur", **more)
        try:
            until(lambda: "no tunnel" in agent.log, 20)
            assert words in agent.log
            clock.set(0.0)  # somebody mends it
            assert master.visit(30)
        finally:
            agent.stop()


def test_a_machine_that_stood_still_does_not_run_what_waited_for_it(master, tmp_path):
    """The command is fresh when it is sent and too old when the machine goes on."""
    node = Node(tmp_path, master, "laptop")
    try:
        node.meet(master.visit(30))
        node.judge("before")
        node.agent.process.send_signal(signal.SIGSTOP)
        until(lambda: psutil.Process(node.agent.process.pid).status() == psutil.STATUS_STOPPED)
        stopped = time.monotonic()
        old = node.visit.command("system", "exec", params=node.writing("waited"), age=27)
        until(lambda: time.monotonic() - stopped > 4)
        young = node.visit.command("system", "exec", params=node.writing("just-sent"))
        node.agent.process.send_signal(signal.SIGCONT)
        assert node.visit.reply(old)["code"] == "expired"
        assert node.visit.reply(young)["status"] == "success"
        assert node.ran() == ["before-fresh", "just-sent"]
    finally:
        node.agent.process.send_signal(signal.SIGCONT)
        node.agent.stop()


# The panel's clock ----------------------------------------------------------------------------------------------

# Seconds after a step within which commands run again: leases look lapsed until they are renewed and looked at.
KNOWS_AGAIN = 15.0 if soaking() else 40.0


@pytest.fixture(scope="module")
def stepped(tmp_path_factory) -> Iterator[tuple[Nodes, WrongClock]]:
    """A panel whose worker and background worker have a clock that can be stepped, and a node that has its own."""
    cluster = Cluster(tmp_path_factory.mktemp("panel"), "uvicorn")
    clock = WrongClock(tmp_path_factory.mktemp("clock") / "clock", 0.0, each_second=True)
    nodes = None
    try:
        cluster.start()
        nodes = Nodes(cluster, tmp_path_factory.mktemp("nodes"), ["of-a-stepped-panel"])
        cluster.environment.update(clock.variables)
        cluster.start_worker("a")
        cluster.start_background()
        until(lambda: cluster._answers(cluster.ports["a"]), 60, cluster.log("a"))
        nodes.start("of-a-stepped-panel")
        nodes.wait_until_in()
        yield nodes, clock
    finally:
        if nodes is not None:
            nodes.stop()
        cluster.stop()


def panel_is_off(nodes: Nodes) -> float:
    """Return by how many seconds the worker's clock differs from the true one."""
    page = f"http://127.0.0.1:{nodes.cluster.ports['a']}/admin/login/"
    with urllib.request.urlopen(page, timeout=20) as answer:
        return parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time()


@pytest.mark.faketime
def test_a_panel_whose_clock_is_stepped_loses_no_tunnel_and_is_understood_again_soon(stepped, seen):
    nodes, clock = stepped
    (name,) = nodes.agents
    history = History()

    def ask() -> bool:
        word = uuid.uuid4().hex
        with history.operation(word) as operation:
            answer = nodes.call(name, "faults.echo", word=word)
            if "data" in answer:
                operation.ok()
            else:
                operation.failed(answer["code"], answer["ran"])
        return operation.outcome == "ok"

    session = nodes.session(name)
    assert ask()
    for step in count(1, 5) * (HOUR, 0.0, -HOUR, 0.0)[: count(2, 4)]:
        clock.set(step)
        until(lambda step=step: abs(panel_is_off(nodes) - step) < 60, 30, "the worker sees the step")
        began = time.monotonic()
        ask()  # perhaps refused, in truth not run
        until(ask, 2 * KNOWS_AGAIN)
        seen(
            f"commands run again after a step to {step:+g} s", time.monotonic() - began, "s", most=KNOWS_AGAIN
        )
    until(lambda: nodes.session(name) == session, KNOWS_AGAIN, "the panel shows what was never lost")
    assert nodes.agents[name].log.count("tunnel open") == 1
    assert nodes.agents[name].log.count("tunnel closed") == 0
    history.check(nodes.ran())
