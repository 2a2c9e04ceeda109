"""Nodes for the fault tests: real agents with a service that tests may break, called through a view of the test site."""

import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.cluster import ROOT, Cluster, until
from tests.e2e.real_agent import RealAgent
from tests.faults import injected

CALLS_END_AFTER = 15.0  # seconds; the view gives each command five


def add_all(cluster: Cluster, names: Iterable[str]) -> dict[str, str]:
    """Make servers in one process; returns their secrets by name."""
    code = f"from servers import identity\nfor name in {list(names)!r}: print(name, identity.create(name)[1])"
    return dict(line.split() for line in cluster.python(code).splitlines()[-len(list(names)) :])


def start_on_both_servers(cluster: Cluster, names: Mapping[str, str]) -> None:
    """Start a worker for each server, `names` by server, beside each other, and wait until all answer."""
    cluster.start()
    for server, name in names.items():
        cluster.server = server
        cluster.start_worker(name)
    for name in names.values():
        what = f"{name} answers; {cluster.log(name)[-2000:]}"
        until(lambda name=name: cluster._answers(cluster.ports[name]), 60, what)


class Nodes:
    """Agents of one cluster by name; `ran` is what all of them ran of `faults.echo`."""

    def __init__(self, cluster: Cluster, folder: Path, names: Iterable[str]) -> None:
        self.cluster = cluster
        self.secrets = add_all(cluster, names)
        self.agents: dict[str, RealAgent] = {}
        self._folder = folder
        self._ran = folder / "ran"
        self._path = f"{injected.install(folder / 'packages')}:{ROOT}"
        self._started = 0

    def start(self, name: str, url: str | None = None, **options: Any) -> RealAgent:
        """Start the agent of a node, not waiting for its tunnel; `url` leads to worker `a` if not given."""
        self._started += 1
        options = {"PYTHONPATH": self._path, injected.RAN: str(self._ran), **options}
        urls = [url or self.cluster.url("a")]
        folder = self._folder / f"{name}-{self._started}"
        self.agents[name] = RealAgent(folder, urls, name, self.secrets[name], **options)
        return self.agents[name]

    def session(self, name: str) -> str:
        """Return the id of the open session of a node, or nothing."""
        rows = self.cluster.sql(
            "SELECT s.id FROM tunnel_session s JOIN servers ON servers.id = server_id"
            f" WHERE agent_id = '{name}' AND closed_at IS NULL"
        )
        return str(rows[0][0]) if rows else ""

    def sessions(self, name: str) -> int:
        """Return how many sessions a node has had."""
        joined = "tunnel_session s JOIN servers ON servers.id = server_id"
        return int(self.cluster.sql(f"SELECT count(*) FROM {joined} WHERE agent_id = '{name}'")[0][0])

    def wait_until_in(self, *names: str, seconds: float = 30.0) -> None:
        """Wait until the panel holds the tunnels of these nodes, or of all."""
        for name in names or self.agents:
            until(lambda name=name: self.session(name), seconds, f"{name} is in: {self.agents[name].log}")

    def call(self, name: str, command: str, **params: str) -> dict[str, Any]:
        """Run a command in a thread of worker `a`, five seconds at most; returns `data`, or `code` and `ran`."""
        query = urllib.parse.urlencode(params)
        return self.cluster.get("a", f"/test/thread/{name}/{command}?{query}", CALLS_END_AFTER)

    def ran(self) -> list[str]:
        """Return the words of every `faults.echo` that ran, in that order."""
        return self._ran.read_text().split() if self._ran.exists() else []

    def stop(self) -> None:
        """End all agents."""
        for agent in self.agents.values():
            if agent.process.poll() is None:
                agent.process.kill()
            agent.process.wait(10)


@contextmanager
def beside(*works: Callable[[], Any]) -> Iterator[None]:
    """Run functions in threads of their own beside the body; wait for all, and fail with the first that failed."""
    with ThreadPoolExecutor(len(works), thread_name_prefix="beside") as pool:
        running = [pool.submit(work) for work in works]
        yield
        for one in running:
            one.result()
