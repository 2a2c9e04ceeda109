"""Figures by psutil, which also knows systems without /proc."""

import os
from collections.abc import Iterable
from pathlib import Path

import psutil

from agent_client.figures.source import Counters, Process, Space, counted_interfaces

LONGEST_COMMAND = 1024  # characters of a command line


class PsutilSource:
    """Asks psutil."""

    name = f"psutil {psutil.__version__}"

    def counters(self) -> Counters:
        """CPU and network, since the machine started."""
        times = psutil.cpu_times()
        # Linux counts guest time within user and nice.
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        interfaces = psutil.net_io_counters(pernic=True)
        counted = [interfaces[name] for name in counted_interfaces(interfaces)]
        return Counters(
            busy=total - times.idle - getattr(times, "iowait", 0.0),
            total=total,
            received=sum(row.bytes_recv for row in counted),
            sent=sum(row.bytes_sent for row in counted),
        )

    def memory(self) -> Space:
        """Memory; what the system could free at once counts as free."""
        memory = psutil.virtual_memory()
        return Space(memory.total, memory.total - memory.available, memory.available)

    def disk(self) -> Space:
        """The file system of the root folder."""
        usage = psutil.disk_usage(Path(os.sep).anchor)
        return Space(usage.total, usage.used, usage.free)

    def boot_time(self) -> float:
        """When the machine started, in unix seconds."""
        return psutil.boot_time()

    def processes(self, *, full: bool) -> Iterable[Process]:
        """All processes this user may see, by number; with their arguments only when `full`."""
        asked = ["pid", "name", "username", "create_time", "cpu_times", "memory_info"]
        for process in psutil.process_iter([*asked, "cmdline"] if full else asked):
            facts = process.info
            times, memory = facts["cpu_times"], facts["memory_info"]
            yield Process(
                pid=facts["pid"],
                name=facts["name"] or "",
                user=facts["username"] or "",
                started=facts["create_time"] or 0.0,
                cpu_seconds=times.user + times.system if times else 0.0,
                memory=memory.rss if memory else 0,
                command=" ".join(facts["cmdline"] or ())[:LONGEST_COMMAND] if full else None,
            )
