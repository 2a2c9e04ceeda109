"""What must be seen while the database is away for longer than a lease, and after it has returned."""

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from itertools import cycle
from urllib.error import HTTPError

from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.e2e.basic_agent import BasicAgent
from tests.e2e.cluster import Cluster, until
from tests.faults.counts import count, soaking
from tests.faults.history import History

AWAY = count(13.0, 60.0)  # seconds; a lease is 10
AGENTS = count(6, 60)
PINGS = 4.0  # seconds between the signs of life of the agents
PAUSE = 0.25  # seconds between two commands of one caller
RIGHT = 15.0  # seconds after which everything must be true again

Node = tuple[str, str]  # agent id and secret
Fault = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class Answer:
    """How a handshake was answered, after how many seconds, and when on the monotonic clock."""

    status: int
    seconds: float
    at: float


class Fleet:
    """Agents that say something from time to time, one half on each worker, and remember what they ran."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.ran: list[str] = []
        self.nodes = make_nodes(cluster, AGENTS)
        self.agents = [self.dial("ab"[index % 2], node) for index, node in enumerate(self.nodes)]
        self._over = threading.Event()
        self._pinger = threading.Thread(target=self._ping, name="pings", daemon=True)
        self._pinger.start()

    def dial(self, worker: str, node: Node) -> BasicAgent:
        agent = BasicAgent(self.cluster.url(worker), *node, answer=self._answer)
        agent.wait_for("HANDSHAKE_ACK")
        return agent

    def stop(self) -> None:
        self._over.set()
        self._pinger.join()
        for agent in self.agents:
            agent.stop()

    def _ping(self) -> None:
        while not self._over.wait(PINGS):
            for agent in self.agents:
                with suppress(ConnectionClosed):  # the test looks who is left
                    agent.ping()

    def _answer(self, message: dict) -> dict:
        if key := (message.get("params") or {}).get("key"):
            self.ran.append(key)
        return {"id": message["id"], "data": {"cpu": 1.5}}


def make_nodes(cluster: Cluster, number: int) -> list[Node]:
    code = f"""
import uuid
from servers import identity
for _ in range({number}):
    server, secret = identity.create(f"node-{{uuid.uuid4()}}")
    print(server.agent_id, secret)
"""
    lines = cluster.python(code).splitlines()[-number:]
    return [(agent_id, secret) for agent_id, secret in map(str.split, lines)]


def sessions(cluster: Cluster, nodes: list[Node], which: str = "TRUE") -> list[tuple[str, str]]:
    """Return agent ids and ids of the sessions of these agents."""
    names = ", ".join(f"'{node[0]}'" for node in nodes)
    rows = cluster.sql(
        "SELECT agent_id, tunnel_session.id FROM tunnel_session JOIN servers ON servers.id = server_id"
        f" WHERE agent_id IN ({names}) AND {which}"
    )
    return sorted((agent_id, str(session)) for agent_id, session in rows)


def states(cluster: Cluster, nodes: list[Node]) -> Counter[str]:
    """Count how they are shown by a web worker."""
    try:
        return Counter(
            cluster.get("b", "/test/states?" + "&".join(f"id={node[0]}" for node in nodes)).values()
        )
    except HTTPError:  # its database is not quite back
        return Counter()


def swept(cluster: Cluster) -> str:
    """Return until when somebody holds the right to sweep; each sweep makes this later."""
    return str(cluster.sql("SELECT MAX(until) FROM tunnel_lease WHERE name='sweep'")[0][0] or "")


def ask(cluster: Cluster, worker: str, node: Node, history: History) -> None:
    key = uuid.uuid4().hex
    with history.operation(key) as operation:
        answer = cluster.get(worker, f"/test/thread/{node[0]}/system.getUsage?key={key}")
        if "data" in answer:
            operation.ok()
        else:
            operation.failed(answer["code"], answer["ran"])


def ask_on(over: threading.Event, cluster: Cluster, worker: str, nodes: list[Node], history: History) -> None:
    for node in cycle(nodes):
        if over.wait(PAUSE):
            return
        ask(cluster, worker, node, history)


def knock_on(over: threading.Event, cluster: Cluster, worker: str, node: Node) -> list[Answer]:
    answers = []
    while not over.wait(PAUSE):
        answers.append(knock(cluster, worker, node))
    return answers


def knock(cluster: Cluster, worker: str, node: Node) -> Answer:
    began = time.monotonic()
    try:
        BasicAgent(cluster.url(worker), *node).stop()
        status = 101
    except InvalidStatus as refused:
        status = refused.response.status_code
    return Answer(status, time.monotonic() - began, time.monotonic())


def survive(
    cluster: Cluster,
    fleet: Fleet,
    name: str,
    fault: Fault,
    seen: Callable[..., None],
    meanwhile: Callable[[History], None] = lambda _: None,
) -> None:
    """Have the database go away in this way while people and agents want something of the panel.

    `meanwhile` begins with the fault, in a thread of its own; what it asks it writes into the history.

    Raises:
        AssertionError: something ended, or was answered otherwise than docs/protocol.md §1 says.
    """
    leaver, newcomer = make_nodes(cluster, 2)
    leaving = fleet.dial("a", leaver)
    history, over = History(), threading.Event()
    for worker in "ab":  # each worker knows the way to each agent: what is not known cannot be looked up now
        for node in fleet.nodes:
            ask(cluster, worker, node, history)
    before = sessions(cluster, fleet.nodes, "closed_at IS NULL")
    assert len(before) == AGENTS
    until(lambda: swept(cluster), 20, "the background worker sweeps")
    with ThreadPoolExecutor(5) as pool:
        try:
            with fault():
                asking = [pool.submit(ask_on, over, cluster, worker, fleet.nodes, history) for worker in "ab"]
                knocking = [pool.submit(knock_on, over, cluster, worker, newcomer) for worker in "ab"]
                beside = pool.submit(meanwhile, history)
                leaving.stop()  # the end of this one cannot be written now
                over.wait(AWAY)
                back = time.monotonic()
        finally:
            over.set()
        for done in [*asking, beside]:
            done.result(30)
        answers = [answer for done in knocking for answer in done.result(30)]
    entered = until(lambda: let_in(fleet, newcomer), RIGHT, "an agent is let in again")
    until(lambda: not sessions(cluster, [leaver], "closed_at IS NULL"), RIGHT, "an end meanwhile is written")
    shown = {"active": AGENTS + 1, "reconnecting": 1}
    until(
        lambda: states(cluster, [*fleet.nodes, newcomer, leaver]) == shown, RIGHT, "all are shown as they are"
    )
    most = RIGHT if soaking() else 2 * RIGHT
    seen(f"{name}: all is true again", time.monotonic() - back, "s", most=most)
    last = swept(cluster)
    until(lambda: swept(cluster) > last, 20, "the background worker sweeps again")

    assert [agent.close_code for agent in fleet.agents] == [None] * AGENTS
    assert sessions(cluster, fleet.nodes, "closed_at IS NULL") == before
    assert sessions(cluster, [*fleet.nodes, newcomer, leaver], "close_reason = 'worker_lost'") == []
    history.check(fleet.ran)
    failed = len(history.operations) - history.outcomes()["ok"]
    seen(f"{name}: of {len(history.operations)} commands failed", failed, "commands", most=0)
    meanwhile = [answer for answer in answers if answer.at < back]
    assert meanwhile, "nobody knocked"
    assert {answer.status for answer in meanwhile} <= {500, 503}
    seen(f"{name}: a handshake was answered 5xx after", max(one.seconds for one in meanwhile), "s", most=10.0)
    accepted = 1 + sum(answer.status == 101 for answer in answers)
    claimed = len(sessions(cluster, [newcomer]))
    assert claimed == accepted, "an agent that was sent away had a session all the same"
    assert entered.close_code is None
    entered.stop()


def let_in(fleet: Fleet, node: Node) -> BasicAgent | None:
    try:
        return fleet.dial("b", node)
    except (InvalidStatus, TimeoutError):
        return None
