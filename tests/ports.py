"""TCP ports for tests, and waiting for a server on one."""

from __future__ import annotations

import socket
import time

DEADLINE = 30.0  # seconds; a server on a busy machine takes a third of it


def free_port(address: str = "127.0.0.1") -> int:
    """Return a port that the kernel says is free."""
    with socket.socket() as trial:
        trial.bind((address, 0))
        return int(trial.getsockname()[1])


def wait_for_port(port: int, address: str = "127.0.0.1") -> None:
    """Wait until somebody listens on the port."""
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            socket.create_connection((address, port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
