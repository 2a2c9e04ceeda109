"""What the network does to a tunnel: packets that vanish, slow and lossy lines, proxies that cut, delay and slice."""

import json
import socket
import time
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import pytest

from tests.e2e.cluster import Cluster, until
from tests.faults import namespaces
from tests.faults.chaos import Chaos
from tests.faults.counts import count, soaking
from tests.faults.encrypted import EncryptedCluster
from tests.faults.history import History
from tests.faults.nodes import Nodes, beside, start_on_both_servers

WORKERS = {"uvicorn": "a", "serve": "b"}
IDLE = count(45.0, 600.0)  # seconds a tunnel idles at the shipped defaults
IDLE_CUT = count(20.0, 60.0)  # seconds; 60 are usual, some take half
DELAY = 0.2  # seconds, each way
# Seconds until both sides know of a dead link; the rule is 18 of silence.
NOTICED = 20.0 if soaking() else 26.0
# Seconds until an agent is back on a line that is whole again.
HEALED = 10.0 if soaking() else 20.0

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(IDLE + 255)]


# Proxies on the way ---------------------------------------------------------------------------------------------


class Lines:
    """Agents behind bad proxies, one of each kind for each server."""

    KINDS = {
        "idle": {"idle_cut": IDLE_CUT},
        "far": {"delay": DELAY},
        "sliced": {"slice": 1},
        "hole": {},
        "cut": {},
    }

    def __init__(self, nodes: Nodes, stack: ExitStack) -> None:
        self.nodes = nodes
        self.proxies: dict[str, Chaos] = {}
        for server, worker in WORKERS.items():
            for kind, faults in self.KINDS.items():
                proxy = stack.enter_context(Chaos(nodes.cluster.ports[worker], **faults))
                self.proxies[f"{kind}-{server}"] = proxy
        self.since = time.monotonic()
        for name, proxy in self.proxies.items():
            nodes.start(name, f"ws://127.0.0.1:{proxy.port}/tunnel")
        nodes.wait_until_in()
        self.sessions = {name: nodes.session(name) for name in self.proxies}


@pytest.fixture(scope="module")
def lines(tmp_path_factory) -> Iterator[Lines]:
    names = [f"{kind}-{server}" for kind in Lines.KINDS for server in WORKERS]
    cluster = Cluster(tmp_path_factory.mktemp("panel"), "uvicorn")
    with ExitStack() as stack:
        stack.callback(cluster.stop)
        start_on_both_servers(cluster, WORKERS)
        nodes = Nodes(cluster, tmp_path_factory.mktemp("nodes"), names)
        stack.callback(nodes.stop)
        yield Lines(nodes, stack)


@pytest.fixture(scope="module", autouse=True)
def holes(lines) -> Iterator[dict[str, Future[tuple[float, float]]]]:
    """Black holes that are there from the start, so that the other tests need not wait for what comes of them."""

    def swallow(server: str) -> tuple[float, float]:
        name = f"hole-{server}"
        proxy, agent = lines.proxies[name], lines.nodes.agents[name]
        proxy.faults.black_hole = True
        noticed = both_notice(lines.nodes, name)
        proxy.faults.black_hole = False
        proxy.cut()
        began = time.monotonic()
        until(lambda: lines.nodes.session(name), 2 * HEALED, agent.log)
        return noticed, time.monotonic() - began

    with ThreadPoolExecutor(len(WORKERS), thread_name_prefix="hole") as pool:
        yield {server: pool.submit(swallow, server) for server in WORKERS}


@pytest.mark.parametrize("server", WORKERS)
def test_a_line_that_takes_long_each_way_carries_commands(lines, server, seen):
    name = f"far-{server}"
    word = uuid.uuid4().hex * 6000  # 192 KiB
    began = time.monotonic()
    assert lines.nodes.call(name, "faults.echo", word=uuid.uuid4().hex)["data"]
    seen(f"a command over a line with 2 x {DELAY:g} s of delay", time.monotonic() - began, "s", most=2.5)
    large = lines.nodes.call(name, "system.exec", shell=f"printf %s {word[:32]}; head -c 60000 /dev/zero")
    assert large["data"]["stdout"].startswith(word[:32])
    assert lines.nodes.session(name) == lines.sessions[name]


@pytest.mark.parametrize("server", WORKERS)
def test_bytes_that_come_one_by_one_make_whole_messages(lines, server):
    name = f"sliced-{server}"
    done = lines.nodes.call(name, "system.exec", shell="seq 1000")
    assert done["data"]["stdout"] == "".join(f"{number}\n" for number in range(1, 1001))
    assert lines.nodes.session(name) == lines.sessions[name]


@pytest.mark.parametrize("server", WORKERS)
def test_a_connection_that_is_reset_is_replaced_within_seconds(lines, server, seen):
    name = f"cut-{server}"
    assert lines.proxies[name].cut() == 1
    began = time.monotonic()
    until(lambda: lines.nodes.session(name) not in ("", lines.sessions[name]), HEALED)
    seen(f"back after a reset ({server})", time.monotonic() - began, "s", most=HEALED)
    assert lines.nodes.call(name, "faults.echo", word=uuid.uuid4().hex)["data"]


def both_notice(nodes: Nodes, name: str) -> float:
    """Wait until agent and panel both know that the line is dead; returns for how long."""
    began, before = time.monotonic(), nodes.session(name)
    until(lambda: "tunnel closed" in nodes.agents[name].log, 2 * NOTICED, f"the agent {name} notices")
    until(lambda: nodes.session(name) != before, 2 * NOTICED, f"the panel notices {name}")
    return time.monotonic() - began


# Lines between machines -----------------------------------------------------------------------------------------

MASTER = "203.0.113.2"  # TEST-NET-3, RFC 5737: never anybody's
DEAD = {"both": ("arriving", "leaving"), "deaf": ("arriving",), "mute": ("leaving",)}  # what is dropped
BAD = ("lossy", "slow")
CARRY = """
import asyncio, json, time
from tunnel.dispatch import asend_command
SHELL = "head -c 60000 /dev/zero; head -c 60000 /dev/zero >&2"  # 240 KiB of JSON

async def carry(name):
    done = 0
    ends = time.monotonic() + {seconds}
    while time.monotonic() < ends:
        data = await asend_command(name, "system.exec", {{"shell": SHELL}}, timeout=50)
        assert len(data["stdout"]) >= 20_000 and len(data["stderr"]) >= 20_000, data
        done += 1
    return done

async def all_of_them():
    print(json.dumps(await asyncio.gather(*map(carry, {names}))))

asyncio.run(all_of_them())
"""
ASK = """
import json
from servers.errors import CommandError
from tunnel.dispatch import send_command

def ask(name, word):
    try:
        return "ok", send_command(name, "faults.echo", {{"word": word}}, timeout=2)
    except CommandError as exc:
        return exc.code, exc.ran

print(json.dumps({{word: ask(name, word) for name, word in {asked}}}))
"""


def of_each(kinds: Iterable[str]) -> list[str]:
    """Return the names of the nodes behind these kinds of line, one for each server."""
    return [f"{kind}-{server}" for kind in kinds for server in WORKERS]


@pytest.fixture(scope="module")
def far(tmp_path_factory) -> Iterator[tuple[Nodes, dict[str, str]]]:
    """A master in a namespace of its own, and two nodes behind each kind of line in others; TLS throughout."""
    names = of_each((*DEAD, *BAD))
    with ExitStack() as stack:
        master, *leaves = stack.enter_context(namespaces.namespaces("master", *names))
        namespaces.ip("-n", master, "address", "add", f"{MASTER}/32", "dev", "lo")
        for number, leaf in enumerate(leaves):
            gateway = f"10.99.{number}.1"
            namespaces.join(master, f"to-{number}", f"{gateway}/24", leaf, "eth0", f"10.99.{number}.2/24")
            namespaces.ip("-n", leaf, "route", "add", "default", "via", gateway)
        folder = tmp_path_factory.mktemp("far-panel")
        cluster = EncryptedCluster(folder, address=MASTER, inside=namespaces.inside(master))
        stack.callback(cluster.stop)
        start_on_both_servers(cluster, WORKERS)
        nodes = Nodes(cluster, tmp_path_factory.mktemp("far-nodes"), names)
        stack.callback(nodes.stop)
        for name, leaf in zip(names, leaves, strict=True):
            url, authority = cluster.url(WORKERS[name.split("-")[1]]), str(cluster.authority.file)
            nodes.start(name, url, inside=namespaces.inside(leaf), MASTER_CA_FILE=authority)
        nodes.wait_until_in(seconds=60)
        for number, (name, leaf) in enumerate(zip(names, leaves, strict=True)):
            if name.startswith("slow"):
                namespaces.slow_down(leaf, "eth0")
                namespaces.slow_down(master, f"to-{number}")
            elif name.startswith("lossy"):
                namespaces.drop(leaf, arriving=True, leaving=True, when="numgen random mod 100 < 5")
        yield nodes, dict(zip(names, leaves, strict=True))


@pytest.mark.netns
def test_a_dead_link_is_noticed_by_both_sides_and_a_bad_one_is_not_called_dead(far, lines, seen):
    nodes, leaves = far
    bad = of_each(BAD)
    kept = {name: nodes.session(name) for name in bad}
    history = History()

    def die(name: str) -> None:
        hooks = dict.fromkeys(DEAD[name.split("-")[0]], True)
        namespaces.drop(leaves[name], **hooks)
        seen(f"dead link ({name}) noticed by both sides", both_notice(nodes, name), "s", most=NOTICED)
        namespaces.heal(leaves[name])
        began = time.monotonic()
        until(lambda: nodes.session(name), 2 * HEALED, nodes.agents[name].log)
        seen(f"back on a healed link ({name})", time.monotonic() - began, "s", most=HEALED)

    def ask_the_dead() -> None:
        # Not the mute one: what it is asked is a byte it hears, and its time of silence begins anew.
        asked = [(name, uuid.uuid4().hex) for name in of_each(("both", "deaf"))]
        with ExitStack() as stack:
            made = {word: stack.enter_context(history.operation(word)) for _, word in asked}
            told = json.loads(nodes.cluster.python(ASK.format(asked=asked)))
            for word, (code, ran) in told.items():
                made[word].ok() if code == "ok" else made[word].failed(code, ran)

    def carry() -> None:
        seconds = count(20.0, 120.0)
        names = bad * count(2, 3)  # so that replies wait for each other
        done = json.loads(
            nodes.cluster.python(CARRY.format(seconds=seconds, names=names), seconds=seconds + 100)
        )
        for number, name in enumerate(bad):
            replies = sum(done[number :: len(bad)])
            seen(f"replies of 240 KiB over a bad line ({name}) in {seconds:g} s", replies, "replies")
            assert replies >= 3

    with beside(*(partial(die, name) for name in of_each(DEAD)), ask_the_dead, carry):
        pass
    for name, session in kept.items():
        assert nodes.session(name) == session, nodes.agents[name].log
        assert nodes.agents[name].log.count("tunnel open") == 1
    history.check(nodes.ran())


# What was going on meanwhile --------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", WORKERS)
def test_a_proxy_that_swallows_everything_is_noticed_on_both_sides(lines, holes, server, seen):
    noticed, back = holes[server].result(120)
    seen(f"a black hole noticed by both sides ({server})", noticed, "s", most=NOTICED)
    seen(f"back after a black hole ({server})", back, "s", most=HEALED)


def test_the_proxy_that_cuts_idle_connections_does_it(lines):
    with Chaos(lines.nodes.cluster.ports["a"], idle_cut=0.5) as proxy:
        silent = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
        with silent, pytest.raises(ConnectionResetError):
            silent.recv(1)
        assert proxy.idle_cuts == 1


def test_an_idle_tunnel_lives_through_a_proxy_that_cuts_idle_connections(lines, seen):
    until(lambda: time.monotonic() - lines.since > IDLE, IDLE + 30)
    for server in WORKERS:
        name = f"idle-{server}"
        proxy = lines.proxies[name]
        seen(f"longest pause of an idle tunnel ({server})", proxy.longest_idle, "s", most=IDLE_CUT)
        assert (proxy.connections, proxy.idle_cuts) == (1, 0)
        assert lines.nodes.session(name) == lines.sessions[name]
        assert lines.nodes.call(name, "faults.echo", word=uuid.uuid4().hex)["data"]
