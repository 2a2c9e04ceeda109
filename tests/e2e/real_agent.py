"""Our own agent as a process of its own, on plain ws over loopback."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.e2e.cluster import ROOT


class RealAgent:
    """`python3 -m agent_client` in a folder of its own; its log is kept.

    `inside` is a command that runs it somewhere else, such as in a network namespace; `more` are variables.
    """

    def __init__(
        self,
        folder: Path,
        urls: list[str],
        agent_id: str,
        secret: str,
        *,
        inside: tuple[str, ...] = (),
        **more: str,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "agent.log"
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "CONNECTION_MODE": "tunnel",
            "MASTER_URL": ",".join(urls),
            "AGENT_ID": agent_id,
            "AGENT_SECRET": secret,
            "ALLOW_INSECURE": "1",
            **more,
        }
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*inside, sys.executable, "-m", "agent_client"],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text(errors="replace")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(15)
