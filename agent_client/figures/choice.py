"""Which source the agent uses: psutil where it is installed, else /proc."""

from agent_client.figures.source import Source


def best_source() -> Source:
    """Return the source for this machine.

    Raises:
        ImportError: neither psutil nor /proc is there.
    """
    try:
        from agent_client.figures.by_psutil import PsutilSource
    except ImportError:
        from agent_client.figures.proc import ProcSource

        return ProcSource()
    return PsutilSource()
