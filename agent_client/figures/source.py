"""The figures a source gives: raw counters, which the sampler makes into rates."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Protocol

INTERFACES = Path("/sys/class/net")
LOOPBACK = "lo"


@dataclass(frozen=True)
class Counters:
    """What only grows: CPU seconds of all cores together, and bytes of the network interfaces."""

    busy: float
    total: float
    received: int
    sent: int


@dataclass(frozen=True)
class Space:
    """Bytes of memory or disk; `free` is what an ordinary user can still take."""

    total: int
    used: int
    free: int

    @property
    def percent(self) -> float:
        """Used share of what an ordinary user can use, 0 to 100."""
        usable = self.used + self.free
        return 100.0 * self.used / usable if usable else 0.0


@dataclass(frozen=True)
class Process:
    """One process; `cpu_seconds` grows, `started` tells it from a later one with the same number."""

    pid: int
    name: str
    user: str
    started: float
    cpu_seconds: float
    memory: int
    command: Optional[str] = None


class Source(Protocol):
    """Where figures come from."""

    name: str

    def counters(self) -> Counters:
        """CPU and network, since the machine started."""

    def memory(self) -> Space:
        """Memory; what the kernel could free at once counts as free."""

    def disk(self) -> Space:
        """The file system of the root folder."""

    def boot_time(self) -> float:
        """When the machine started, in unix seconds."""

    def processes(self, *, full: bool) -> Iterable[Process]:
        """All processes this user may see, by number; with their arguments only when `full`."""


def counted_interfaces(names: Iterable[str]) -> frozenset[str]:
    """Return the interfaces whose bytes are the machine's own traffic.

    With hardware (or a virtual machine's) interfaces only these: what goes through a bridge, a tunnel or a
    container passes one of them too and would be counted twice.
    """
    outside = frozenset(name for name in names if name != LOOPBACK)
    hardware = frozenset(name for name in outside if (INTERFACES / name / "device").exists())
    return hardware or outside


def load_average() -> tuple[float, float, float]:
    """Return the load of 1, 5 and 15 minutes; zeros where the system keeps none."""
    import os

    try:
        return os.getloadavg()
    except (AttributeError, OSError):
        return (0.0, 0.0, 0.0)
