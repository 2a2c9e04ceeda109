"""Signals of the agent and of what it starts."""

import signal
from types import FrameType
from typing import Optional

# Python's own start-up ignores these, and `subprocess` restores them in the child (restore_signals).
_PYTHONS_OWN = frozenset(
    number
    for number in (getattr(signal, name, None) for name in ("SIGPIPE", "SIGXFSZ", "SIGXFZ"))
    if number is not None
)


def make_children_normal() -> None:
    """Let programs started later begin with default signals, whatever this process was started with.

    A signal that is *ignored* (nohup, `trap '' INT`, a job behind `&` in a script) stays ignored in every
    program we start, and a blocked one stays blocked: such a child could not be stopped with Ctrl-C or
    SIGTERM. A signal that is *caught* becomes default by exec itself. So what is ignored is caught here by a
    function that does nothing, which needs no code between fork and exec (`preexec_fn` is unsafe in a
    program with threads). Call it in the main thread before any other thread starts.
    """
    for number in signal.valid_signals() - _PYTHONS_OWN:
        if signal.getsignal(number) is signal.SIG_IGN:
            # An ignored SIGCHLD would take the exit codes of our children away.
            signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else _nothing)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _nothing(_number: int, _frame: Optional[FrameType]) -> None:
    """Do as if the signal were ignored."""
