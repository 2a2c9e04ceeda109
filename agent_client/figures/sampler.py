"""Keeps recent counters, so that CPU and network are always measured over a stretch of time."""

import logging
import threading
import time
from collections import deque
from typing import Callable, Optional

from agent_client.figures.source import Counters, Source, load_average
from agent_client.protocol.text import JsonObject
from agent_client.steady import steady

SAMPLE_EVERY = 5.0  # seconds; figures cover the last 5 to 10, and reading costs well under a millisecond
SAMPLES_KEPT = 2
SHORTEST_SPAN = 0.25  # seconds; within less the kernel's ticks (10 ms) make the percentage jump

MIB = 1024 * 1024

log = logging.getLogger("agent.figures")


class Sampler:
    """One thread that takes samples and measures on request, so that nobody else waits for a slow figure."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._lock = threading.Lock()
        self._samples: deque[tuple[float, Counters]] = deque(maxlen=SAMPLES_KEPT)
        self._changed = threading.Condition()
        self._asked: Optional[Callable[[JsonObject], None]] = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="agent-figures", daemon=True)

    def start(self) -> None:
        """Take the first sample and start the thread."""
        self._take()
        self._thread.start()

    def ask(self, deliver: Callable[[JsonObject], None]) -> None:
        """Have `deliver` called with fresh figures, in the sampler's thread; the newest request counts."""
        with self._changed:
            self._asked = deliver
            self._changed.notify()

    @property
    def alive(self) -> bool:
        """Tell whether the thread runs; before `stop` it always should."""
        return self._thread.is_alive()

    def stop(self, timeout: float) -> None:
        """End the thread and wait for it."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def usage(self) -> JsonObject:
        """Measure now (docs/protocol.md §5); memory and disk in MiB, network in bytes a second."""
        seconds, before, now = self._span()
        memory, disk = self.source.memory(), self.source.disk()
        total = now.total - before.total
        return {
            "cpu": round(
                100.0 * max(0.0, min(1.0, (now.busy - before.busy) / total)) if total > 0 else 0.0, 1
            ),
            "ram": memory.used // MIB,
            "ramTotal": memory.total // MIB,
            "ramPercent": round(memory.percent, 1),
            "disk": round(disk.percent, 1),
            "diskUsed": disk.used // MIB,
            "diskTotal": disk.total // MIB,
            "load": [round(value, 2) for value in load_average()],
            "uptime": int(uptime(self.source)),
            "netRx": _rate(now.received - before.received, seconds),
            "netTx": _rate(now.sent - before.sent, seconds),
        }

    def _span(self) -> tuple[float, Counters, Counters]:
        """Return a stretch that is long enough: its seconds, and the counters at both ends."""
        with self._lock:
            oldest = self._samples[0] if self._samples else None
        if oldest is None:
            oldest = self._take()
        short = SHORTEST_SPAN - (steady() - oldest[0])
        if short > 0:
            threading.Event().wait(short)  # only in the first moment of the agent's life
        now = self.source.counters()
        return steady() - oldest[0], oldest[1], now

    def _take(self) -> tuple[float, Counters]:
        sample = (steady(), self.source.counters())
        with self._lock:
            self._samples.append(sample)
        return sample

    def _run(self) -> None:
        due = steady() + SAMPLE_EVERY
        while True:
            with self._changed:
                while self._asked is None and not self._stopping and steady() < due:
                    self._changed.wait(max(0.0, due - steady()))
                if self._stopping:
                    return
                deliver, self._asked = self._asked, None
            try:
                if deliver is not None:
                    deliver(self.usage())
                if steady() >= due:
                    self._take()
            except Exception:
                log.exception("figures cannot be measured")
            if steady() >= due:
                due = steady() + SAMPLE_EVERY


def uptime(source: Source) -> float:
    """Return for how many seconds the machine runs; the kernel moves its boot time with the wall clock."""
    return max(0.0, time.time() - source.boot_time())


def _rate(amount: int, seconds: float) -> int:
    """Bytes a second; an interface that was reset or unplugged counts as silent."""
    return max(0, round(amount / seconds)) if seconds > 0 else 0
