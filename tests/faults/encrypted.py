"""A master whose workers speak TLS themselves, on 127.0.0.1 or on the address of a network namespace."""

import json
import ssl
import sys
import urllib.request
from pathlib import Path
from typing import Any

from tests.agent.certificates import Authority
from tests.e2e.cluster import UVICORN, Cluster, free_port


class EncryptedCluster(Cluster):
    """Uvicorn workers with a certificate of `authority`; `inside` runs them in a namespace."""

    def __init__(
        self,
        folder: Path,
        *,
        address: str = "127.0.0.1",
        inside: tuple[str, ...] = (),
        **environment: str,
    ) -> None:
        super().__init__(folder, "uvicorn", **environment)
        self.address = address
        self.inside = inside
        self.authority = Authority(folder)
        self.authority.server(address=address)
        chain = next(folder.glob(f"*-{address}-*.pem"))
        self._tls = ("--ssl-certfile", str(chain), "--ssl-keyfile", str(chain.with_suffix(".key")))

    def start_worker(self, name: str) -> None:
        """Start a web worker, on its former port if it had one."""
        port = self.ports.setdefault(name, free_port())
        listening = (*UVICORN, str(port), "--host", self.address, *self._tls)
        self._spawn(name, [*self.inside, sys.executable, *listening])

    def url(self, name: str) -> str:
        """Where agents dial a worker."""
        return f"wss://{self.address}:{self.ports[name]}/tunnel"

    def get(self, name: str, path: str, seconds: float = 15.0) -> dict[str, Any]:
        """Ask a worker over HTTPS and return its JSON; only from the namespace it is in."""
        context = ssl.create_default_context(cafile=str(self.authority.file))
        url = f"https://{self.address}:{self.ports[name]}{path}"
        with urllib.request.urlopen(url, timeout=seconds, context=context) as answer:
            return dict(json.load(answer))

    def _answers(self, port: int) -> bool:  # type: ignore[override]
        name = next(name for name, its in self.ports.items() if its == port)
        return "Uvicorn running on" in self.log(name)
