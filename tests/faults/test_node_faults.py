"""What goes wrong on the node itself: threads that raise, a machine held still, a full disk, files used up, bad handlers."""

import resource
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.e2e.cluster import Cluster, until
from tests.faults.counts import count
from tests.faults.history import History
from tests.faults.nodes import Nodes, beside

pytestmark = pytest.mark.e2e

NAMES = (
    "stopped",
    "hanging",
    "deaf",
    "raising",
    "ending",
    "pool",
    "figures",
    "handlers",
    "programs",
    "full",
    "files",
)
STOPPED = count(25.0, 60.0)  # seconds
PRINTED = count(64, 1024)  # MiB
BACK = 20.0  # seconds within which an agent is back, or has ended
TIME_LIMIT = 5.0  # seconds; that of the view
FULL_DISK = ("sh", "-c", 'exec "$@" > /dev/full 2> /dev/full', "sh")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory) -> Iterator[Nodes]:
    cluster = Cluster(tmp_path_factory.mktemp("panel"), "uvicorn")
    made = None
    try:
        cluster.start("a")
        made = Nodes(cluster, tmp_path_factory.mktemp("nodes"), NAMES)
        for name in NAMES:
            made.start(name, inside=FULL_DISK if name == "full" else ())
        made.wait_until_in()
        yield made
    finally:
        if made is not None:
            made.agents["stopped"].process.send_signal(signal.SIGCONT)
            made.stop()
        cluster.stop()


class Hold:
    """A machine that is held still while the other tests run, and what was asked of it meanwhile."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.history = History()
        self.session = nodes.session("stopped")
        self.process = nodes.agents["stopped"].process
        self.process.send_signal(signal.SIGSTOP)
        self.since = time.monotonic()
        self.asking = threading.Thread(target=self._ask, name="asking a node that is held still")
        self.asking.start()

    def _ask(self) -> None:
        for _ in range(4):  # each waits six seconds at first; later the panel knows
            self.ask()
            time.sleep(1)

    def ask(self) -> dict:
        word = uuid.uuid4().hex
        with self.history.operation(word) as operation:
            answer = self.nodes.call("stopped", "faults.echo", word=word)
            if "data" in answer:
                operation.ok()
            else:
                operation.failed(answer["code"], answer["ran"])
        return answer


@pytest.fixture(scope="module")
def hold(nodes) -> Iterator[Hold]:
    made = Hold(nodes)
    yield made
    made.asking.join(60)


@pytest.fixture(scope="module")
def hanging(nodes) -> Iterator[list[float]]:
    """All eight threads of an agent's pool are in a handler that never ends; gives how long it took the agent to end."""
    with ended(nodes, "hanging", *[partial(nodes.call, "hanging", "faults.hang")] * 8) as seconds:
        yield seconds


@pytest.fixture(scope="module")
def deaf(nodes) -> Iterator[list[float]]:
    """The thread of an agent's link hangs; gives how long it took the agent to end."""
    with ended(nodes, "deaf", partial(nodes.call, "deaf", "faults.break-link", word="hang")) as seconds:
        yield seconds


@contextmanager
def ended(nodes: Nodes, name: str, *calls: Callable[[], object]) -> Iterator[list[float]]:
    """Make calls, and give how many seconds passed until their agent ended, once it has."""
    seconds: list[float] = []

    def watch() -> None:
        began = time.monotonic()
        nodes.agents[name].process.wait(120)
        seconds.append(time.monotonic() - began)

    with beside(watch, *calls):
        yield seconds


def back(nodes: Nodes, name: str, session: str, seconds: float = 2 * BACK) -> float:
    """Wait until a node has another session than this and answers; returns for how long."""
    began = time.monotonic()
    until(lambda: nodes.session(name) not in ("", session), seconds, nodes.agents[name].log)
    word = uuid.uuid4().hex
    assert nodes.call(name, "faults.echo", word=word)["data"] == word
    return time.monotonic() - began


def test_an_agent_whose_link_meets_an_error_is_back(nodes, hold, hanging, deaf, seen):
    session = nodes.session("raising")
    nodes.call("raising", "faults.break-link")
    seen("back after an error in the thread of the link", back(nodes, "raising", session), "s", most=BACK)
    assert nodes.agents["raising"].log.count("RuntimeError: injected") == 1


def test_an_agent_that_lost_a_thread_ends_for_its_service_to_start_it_again(nodes, seen):
    began = time.monotonic()
    nodes.call("ending", "faults.break-link", word="end")
    nodes.call("pool", "faults.break-pool")
    nodes.call("figures", "faults.break-figures")
    nodes.call("figures", "faults.break-link")  # the next session begins with figures
    nodes.call("pool", "faults.echo", word="never")
    for name, words in (
        ("ending", "the link's thread ended"),
        ("pool", "agent-pool-"),
        ("figures", "the thread for figures ended"),
    ):
        agent = nodes.agents[name]
        assert agent.process.wait(2 * BACK) == 1, agent.log
        seen(f"an agent without a thread ({name}) ended", time.monotonic() - began, "s", most=BACK)
        assert words in agent.log
        nodes.start(name)
    for name in ("ending", "pool", "figures"):
        until(lambda name=name: nodes.call(name, "faults.echo", word=f"{name}-again").get("data"), 15)


def test_what_a_handler_raises_or_returns_costs_its_caller_an_error_and_nobody_else_anything(nodes):
    session = nodes.session("handlers")
    assert nodes.call("handlers", "faults.fail")["code"] == "internal"
    for _ in range(10):  # more often than there are threads
        assert nodes.call("handlers", "faults.leave")["code"] == "internal"
    for word, code in (
        ("bytes", "internal"),
        ("circle", "internal"),
        ("nan", "internal"),
        ("keys", "internal"),
    ):
        assert nodes.call("handlers", "faults.strange", word=word)["code"] == code, word
    assert nodes.call("handlers", "faults.strange", word="huge")["code"] == "too_large"
    for _ in range(12):  # of each: twenty wrong messages in a minute would end the session
        assert nodes.call("handlers", "faults.strange", word="deep")["code"] == "internal"
        assert nodes.call("handlers", "faults.strange", word="half")["code"] == "internal"
    assert nodes.call("handlers", "faults.echo", word="after-all")["data"] == "after-all"
    assert nodes.session("handlers") == session


def test_a_program_that_hangs_floods_or_leaves_children_is_ended_and_its_output_cut(nodes, tmp_path, seen):
    def run(shell: str) -> dict:
        return nodes.call("programs", "system.exec", shell=shell)

    def floods() -> None:
        options = ("--timeout", "60", "programs", "--", "head", "-c", str(PRINTED * 2**20), "/dev/zero")
        done = nodes.cluster.manage("tunnel", "run", *options, check=False, seconds=120)
        assert done.returncode == 0, done.stderr
        assert 0 < len(done.stdout) <= 64 * 1024

    pids = tmp_path / "pids"
    leaves = f"for n in 1 2 3; do (trap '' TERM; sleep 600) & echo $! >> {pids}; done"
    with beside(floods):
        assert run(f"{leaves}; wait")["code"] == "timeout"
        left = run(leaves)["data"]
        assert left["exitCode"] == 0
    for pid in map(int, pids.read_text().split()):
        until(lambda pid=pid: gone(pid), what=f"child {pid} is gone")
    agent = nodes.agents["programs"].process.pid
    seen(f"an agent's memory at most, with {PRINTED} MiB printed", highest(agent), "MiB", most=64)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def highest(pid: int) -> float:
    """Return the most memory a process has had, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def test_a_full_disk_for_its_log_costs_an_agent_nothing(nodes, seen):
    session = nodes.session("full")
    nodes.call("full", "faults.break-link")
    seen("back with a full disk for its log", back(nodes, "full", session), "s", most=BACK)


def test_an_agent_that_may_open_no_more_files_ends_or_is_back(nodes, seen):
    session, agent = nodes.session("files"), nodes.agents["files"]
    fewer = psutil.Process(agent.process.pid).num_fds() // 2
    resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE, (fewer, fewer))
    began = time.monotonic()
    until(lambda: agent.process.poll() is not None or nodes.session("files") not in ("", session), 2 * BACK)
    seen("an agent that may open no more files ended or was back", time.monotonic() - began, "s", most=BACK)
    assert agent.process.poll() != 0


def test_an_agent_whose_handlers_never_end_ends_for_its_service_to_start_it_again(nodes, hanging, seen):
    agent = nodes.agents["hanging"]
    assert agent.process.wait(60) == 1, agent.log
    assert "all 8 threads for commands hang" in agent.log
    (seconds,) = until(lambda: hanging)
    seen("an agent whose handlers all hang ended, after their time", seconds - TIME_LIMIT, "s", most=45.0)


def test_an_agent_whose_link_hangs_ends_for_its_service_to_start_it_again(nodes, deaf, seen):
    agent = nodes.agents["deaf"]
    assert agent.process.wait(60) == 1, agent.log
    assert "the link's thread hangs" in agent.log
    (seconds,) = until(lambda: deaf)
    seen("an agent whose link hangs ended", seconds, "s", most=45.0)
    nodes.start("deaf")
    until(lambda: nodes.call("deaf", "faults.echo", word="heard").get("data"), 30)


def test_an_agent_that_was_held_still_is_back_and_ran_nothing_that_was_called_off(nodes, hold, seen):
    threading.Event().wait(max(0.0, hold.since + STOPPED - time.monotonic()))
    hold.asking.join(60)
    assert hold.history.outcomes()["ok"] == 0
    assert nodes.session("stopped") == "", "the panel has noticed"
    hold.process.send_signal(signal.SIGCONT)
    seen(f"back after {STOPPED:g} s held still", back(nodes, "stopped", hold.session), "s", most=BACK)
    assert hold.ask()["data"]
    mine = hold.history.operations
    hold.history.check(word for word in nodes.ran() if word in mine)
