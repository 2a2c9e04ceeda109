"""Which source the agent uses: /proc on Linux, psutil on other systems."""

import sys

from agent_client.figures.source import Source


def best_source() -> Source:
    """Return the source for this machine.

    Raises:
        ImportError: the system is not Linux, and psutil is not installed.
    """
    if sys.platform == "linux":  # both give the same figures there, and psutil weighs 1.6 MiB
        from agent_client.figures.proc import ProcSource

        return ProcSource()
    from agent_client.figures.by_psutil import PsutilSource

    return PsutilSource()
