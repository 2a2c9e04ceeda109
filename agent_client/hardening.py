"""Keep the secret out of core dumps and out of other processes' reach, as far as the system lets us."""

import contextlib
import ctypes
import os
import resource
import sys
from collections.abc import MutableMapping

_PR_SET_DUMPABLE = 4


def harden(environment: "MutableMapping[str, str]") -> None:
    """Forget the secret's variable, write no core dumps, and (Linux) let no other process look inside."""
    environment.pop("AGENT_SECRET", None)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def files_open() -> int:
    """Return how many files this process has open; it works although the process hides its memory."""
    return len(os.listdir("/proc/self/fd"))
