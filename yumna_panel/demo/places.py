"""Where the demo keeps what it needs; known before Django is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Places:
    """The files of one demo, all below its data folder."""

    data: Path

    @classmethod
    def of_process(cls) -> Places:
        """Return the places for DATA_DIR, as the settings read it."""
        return cls(Path(os.environ.get("DATA_DIR") or CHECKOUT / ".demo").absolute())

    @property
    def lock(self) -> Path:
        """The file a running demo holds locked."""
        return self.data / "run.lock"

    @property
    def state(self) -> Path:
        """Where a running demo says how to reach it."""
        return self.data / "run.json"

    @property
    def admin_password(self) -> Path:
        """The first admin's password."""
        return self.data / "admin-password"

    @property
    def secret_key(self) -> Path:
        """The generated SECRET_KEY."""
        return self.data / "secret_key"

    @property
    def logs(self) -> Path:
        """The folder of the programs' logs."""
        return self.data / "logs"

    @property
    def supervisor_config(self) -> Path:
        """What supervisord reads."""
        return self.data / "supervisord.conf"

    @property
    def certificates(self) -> Path:
        """The folder of the certificate authority and the certificate of `make run HOST=`."""
        return self.data / "tls"

    @property
    def agents(self) -> Path:
        """The folder of the local agents' secrets and homes."""
        return self.data / "agents"
