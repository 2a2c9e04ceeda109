"""Figures from /proc: what every Linux has, without any library."""

import os
import pwd
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Optional

from agent_client.figures.source import Counters, Process, Space, counted_interfaces

LONGEST_COMMAND = 1024  # bytes of a command line

_CPU_FIELDS = 8  # user nice system idle iowait irq softirq steal; guest time is within user and nice
_IDLE, _IOWAIT = 3, 4
_RECEIVED, _SENT = 0, 8  # columns of /proc/net/dev


class ProcSource:
    """Reads /proc."""

    name = "proc"

    def __init__(self, root: Path = Path("/proc")) -> None:
        self._root = root
        self._tick = float(os.sysconf("SC_CLK_TCK"))
        self._page = os.sysconf("SC_PAGE_SIZE")

    def counters(self) -> Counters:
        """CPU and network, since the machine started."""
        with (self._root / "stat").open("rb") as opened:
            times = [int(text) / self._tick for text in opened.readline().split()[1 : 1 + _CPU_FIELDS]]
        total = sum(times)
        received, sent = self._traffic()
        return Counters(total - times[_IDLE] - times[_IOWAIT], total, received, sent)

    def _traffic(self) -> tuple[int, int]:
        rows = {}
        for line in (self._root / "net/dev").read_text("ascii", "replace").splitlines()[2:]:
            name, _, columns = line.partition(":")
            rows[name.strip()] = columns.split()
        counted = [rows[name] for name in counted_interfaces(rows)]
        return sum(int(row[_RECEIVED]) for row in counted), sum(int(row[_SENT]) for row in counted)

    def memory(self) -> Space:
        """Memory; what the kernel could free at once counts as free."""
        sizes = {}
        for line in (self._root / "meminfo").read_text("ascii").splitlines():
            name, _, value = line.partition(":")
            sizes[name] = int(value.split()[0]) * 1024
        total = sizes["MemTotal"]
        free = min(total, sizes.get("MemAvailable", sizes["MemFree"]))
        return Space(total, total - free, free)

    def disk(self) -> Space:
        """The file system of the root folder."""
        # Not by `shutil`, which brings in all of Python's compression.
        disk = os.statvfs("/")
        return Space(
            total=disk.f_blocks * disk.f_frsize,
            used=(disk.f_blocks - disk.f_bfree) * disk.f_frsize,
            free=disk.f_bavail * disk.f_frsize,
        )

    def boot_time(self) -> float:
        """When the machine started, in unix seconds."""
        for line in (self._root / "stat").read_text("ascii").splitlines():
            if line.startswith("btime "):
                return float(line.split()[1])
        raise ValueError("/proc/stat names no boot time")

    def processes(self, *, full: bool) -> Iterable[Process]:
        """All processes this user may see, by number; with their arguments only when `full`."""
        boot = self.boot_time()
        for pid in sorted(self._pids()):
            process = self._process(pid, boot, full=full)
            if process is not None:
                yield process

    def _pids(self) -> Iterator[int]:
        return (int(name) for name in os.listdir(self._root) if name.isdigit())

    def _process(self, pid: int, boot: float, *, full: bool) -> Optional[Process]:
        folder = self._root / str(pid)
        try:
            stat = (folder / "stat").read_text("utf-8", "replace")
            # The owner of the folder would be root for a process that hides its memory, as the agent does.
            status = (folder / "status").read_text("utf-8", "replace")
            command = _command(folder / "cmdline") if full else None
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return None  # it ended while we looked, or is somebody else's business (hidepid)
        name, _, rest = stat.partition("(")[2].rpartition(")")
        fields = rest.split()  # from field 3 of proc(5) on
        return Process(
            pid=pid,
            name=name,
            user=_user_name(_real_uid(status)),
            started=boot + int(fields[19]) / self._tick,
            cpu_seconds=(int(fields[11]) + int(fields[12])) / self._tick,
            memory=int(fields[21]) * self._page,
            command=command,
        )


def _command(path: Path) -> str:
    with path.open("rb") as opened:
        return opened.read(LONGEST_COMMAND).rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace")


def _real_uid(status: str) -> int:
    line = next(line for line in status.splitlines() if line.startswith("Uid:"))
    return int(line.split()[1])


@lru_cache(maxsize=1024)
def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
