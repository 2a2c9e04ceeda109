"""The supervisor of the demo as a child of ours, and the signals that end both."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType

from yumna_panel.demo.places import Places

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOP_TIMEOUT = 30.0  # seconds; it gives each program 12 and stops them one after the other
LOOK_INTERVAL = 0.5  # seconds between two looks whether it still runs


class Stop:
    """Remembers that a person or the system asked us to stop. Made in the main thread."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        for number in STOP_SIGNALS:
            signal.signal(number, self._ask)

    @property
    def asked(self) -> bool:
        """Tell whether it was asked."""
        return self._asked.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for it at most so long; tell whether it was asked."""
        return self._asked.wait(seconds)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._asked.set()


class Supervisor:
    """supervisord, in a session of its own: Ctrl-C comes to us, and we stop it in order."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, environment: dict[str, str]) -> None:
        """Start it on the configuration written before."""
        tied = str(Path(__file__).with_name("tied.py"))
        command = [
            sys.executable,
            tied,
            "-P",
            "-m",
            "supervisor.supervisord",
            "-c",
            self._places.supervisor_config.name,
        ]
        with (self._places.logs / "supervisor-output.log").open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=self._places.data,  # the paths in the configuration start here
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def is_alive(self) -> bool:
        """Tell whether it runs."""
        return self._process is not None and self._process.poll() is None

    def wait(self, stop: Stop) -> int:
        """Return 0 when we are asked to stop, 1 when it ended by itself."""
        while not stop.wait(LOOK_INTERVAL):
            if not self.is_alive:
                return 1
        return 0

    def stop(self) -> None:
        """End it and all it started."""
        if self._process is None or not self.is_alive:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)  # what is tied to it ends with it
            self._process.wait()
