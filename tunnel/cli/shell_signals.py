"""What ends `tunnel shell` from outside, and with which exit code."""

import signal
from typing import Final

from tunnel.cli.exits import Exit
from tunnel.cli.shell_endings import SIGNAL_BASE

_CODES: Final = {
    signal.SIGINT: int(Exit.INTERRUPTED),
    signal.SIGTERM: SIGNAL_BASE + signal.SIGTERM,
    signal.SIGHUP: SIGNAL_BASE + signal.SIGHUP,
}


def that_end() -> dict[signal.Signals, int]:
    """Return them; those that nohup, or a shell for its jobs in the background, had us ignore are none, as for ssh."""
    return {number: code for number, code in _CODES.items() if signal.getsignal(number) is not signal.SIG_IGN}
