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
    _erase("AGENT_SECRET")
    environment.pop("AGENT_SECRET", None)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _erase(name: str) -> None:
    """Overwrite a variable where the process was given it: `/proc/<pid>/environ` goes on showing that, to root too."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # no C library of a Unix
        getenv = ctypes.CDLL(None).getenv
        getenv.restype = ctypes.c_void_p
        address = getenv(name.encode())
        if address:
            ctypes.memset(address, 0, len(ctypes.string_at(address)))


def files_open() -> int:
    """Return how many files this process has open; it works although the process hides its memory."""
    return len(os.listdir("/proc/self/fd"))
