"""Processes that we started: whether they ended, and signals to all that belongs to them."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Optional


def exited(pid: int) -> bool:
    """Tell whether our child ended, and leave it a zombie, so that its number stays taken."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def signal_group(group: int, number: int) -> None:
    """Send a signal to a process group, if it is still there."""
    # macOS answers EPERM for a group of zombies only.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def pidfd(pid: int) -> Optional[int]:
    """Return a file that becomes readable when a process ends, where the kernel has such a thing."""
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):  # Linux before 5.3, or a sandbox that forbids it
            return os.pidfd_open(pid)
    return None


def groups_of(session: int) -> set[int]:
    """Return the process groups of a session (setsid) in which something lives; none where there is no /proc."""
    try:
        stats = [_stat(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    except OSError:
        return set()
    return {
        stat.group for stat in stats if stat is not None and stat.session == session and stat.state != "Z"
    }


def signal_groups(groups: Iterable[int], *numbers: int) -> None:
    """Send signals to several groups, one signal after the other."""
    for number in numbers:
        for group in groups:
            signal_group(group, number)


class _Stat(NamedTuple):
    state: str
    group: int
    session: int


def _stat(folder: Path) -> Optional[_Stat]:
    """Read proc(5) of a process; its name may hold spaces and brackets."""
    try:
        fields = (folder / "stat").read_bytes().rpartition(b")")[2].split(maxsplit=4)
        return _Stat(fields[0].decode(), int(fields[2]), int(fields[3]))
    except (OSError, ValueError, IndexError):  # it ended just now
        return None
