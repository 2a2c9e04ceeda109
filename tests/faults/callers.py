"""Who asks while something breaks: callers on the workers of a master, and the history of what they were told."""

import random
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from urllib.parse import urlencode

from tests.e2e.cluster import Cluster, until
from tests.faults.history import History, Operation

KINDS = ("thread", "loop")  # a view in a thread and one on the worker's event loop
OFTEN = 0.1  # seconds between the questions that look for the first right answer
ANSWER_WITHIN = 90.0  # seconds for HTTP; what is judged is what the view says


Way = tuple[str, str]  # the worker that is asked, and the agent


@dataclass(frozen=True)
class Asked:
    """One command: through which worker, to whom, and how it ended."""

    worker: str
    agent: str
    operation: Operation


class Callers:
    """Asks agents through workers; each command carries the key of its operation."""

    def __init__(self, cluster: Cluster, threads: int = 16) -> None:
        self.history = History()
        self.asked: list[Asked] = []
        self._cluster = cluster
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="caller")
        self._busy: list[Future[None]] = []
        self._stop = threading.Event()

    def __enter__(self) -> "Callers":
        return self

    def __exit__(self, *_: object) -> None:
        self.rest()
        self._pool.shutdown()

    def ask(self, worker: str, agent: str, *, hold: float = 0.0, timeout: float = 5.0) -> Operation:
        """Have an agent run a command that takes `hold` seconds; an HTTP error is raised and is `unknown`."""
        key = uuid.uuid4().hex
        query = urlencode({"key": key, "hold": hold, "timeout": timeout})
        with self.history.operation(key) as operation:
            self.asked.append(Asked(worker, agent, operation))
            kind = random.choice(KINDS)
            path = f"/test/{kind}/{agent}/proof.note?{query}"
            answer = self._cluster.get(worker, path, seconds=ANSWER_WITHIN)
            if "data" in answer:
                operation.ok()
            else:
                operation.failed(answer["code"], answer["ran"])
        return operation

    def begin(self, worker: str, agent: str, **options: float) -> "Future[Operation]":
        """Ask in a thread."""
        return self._pool.submit(self.ask, worker, agent, **options)

    def ask_all_the_while(
        self, threads: int, workers: Sequence[str], agents: Sequence[str], pause: float = 0.05
    ) -> None:
        """Ask random agents through these workers until `rest`, in so many threads."""
        self._stop.clear()
        self._busy += [self._pool.submit(self._go_on, workers, agents, pause) for _ in range(threads)]

    def rest(self) -> None:
        """Stop asking, and raise what a caller stumbled over."""
        self._stop.set()
        busy, self._busy = self._busy, []
        for one in busy:
            one.result()

    def _go_on(self, workers: Sequence[str], agents: Sequence[str], pause: float) -> None:
        while not self._stop.wait(pause):
            self.ask(random.choice(workers), random.choice(agents))

    def first_right(self, ways: Sequence[Way]) -> float:
        """Ask on each way again and again; return after how many seconds all had brought an answer."""
        began = time.monotonic()
        asked: dict[Way, list[Future[Operation]]] = {way: [] for way in ways}

        def right(way: Way) -> list[float]:
            ended = [one.result() for one in asked[way] if one.done()]
            return [one.end - began for one in ended if one.outcome == "ok" and one.end is not None]

        def all_right() -> bool:
            for way in ways:
                if not right(way):
                    asked[way].append(self.begin(*way))
            wait([question for way in ways for question in asked[way][-1:]], timeout=OFTEN)
            return all(right(way) for way in ways)

        until(all_right, 30, "the workers reach each other")
        return max(min(right(way)) for way in ways)

    def to(self, agents: "set[str]", wanted: Callable[[Operation], bool] = lambda _: True) -> list[Asked]:
        """Return what these agents were asked."""
        return [one for one in list(self.asked) if one.agent in agents and wanted(one.operation)]


def seconds_after(operations: Sequence[Operation], moment: float) -> float:
    """Return when the last of them ended, in seconds after `moment`."""
    ends = [operation.end for operation in operations]
    return max((end for end in ends if end is not None), default=time.monotonic()) - moment
