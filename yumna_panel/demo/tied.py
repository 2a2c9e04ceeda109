"""Run a Python program whose life is tied to its parent's: python tied.py ARGUMENTS-OF-PYTHON.

Standard library only and for Python 3.9: agents run under the Python of the node.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG, SIGTERM = 1, 15  # prctl(2); the setting outlives exec, and a change of user would clear it


def main() -> None:
    """Become the program; on Linux the kernel will end it when the parent is gone, however that died."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGTERM)
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])  # noqa: S606 - a program, not a line for a shell


if __name__ == "__main__":
    main()
