"""A master whose workers are reached over TLS, on 127.0.0.1 or on the address of a network namespace."""

import json
import ssl
import sys
import urllib.request
from pathlib import Path
from typing import Any

from tests.agent.certificates import Authority
from tests.e2e.cluster import SERVERS, Cluster, free_port


class EncryptedCluster(Cluster):
    """Workers with a certificate of `authority`; `inside` runs them in a namespace.

    Uvicorn ends TLS itself, and before `tunnel serve` a front does.
    """

    def __init__(
        self,
        folder: Path,
        *,
        address: str = "127.0.0.1",
        inside: tuple[str, ...] = (),
        **environment: str,
    ) -> None:
        super().__init__(folder, "uvicorn", **{"TUNNEL_TLS_ONLY": "1", **environment})
        self.address = address
        self.inside = inside
        self.authority = Authority(folder)
        self.authority.server(address=address)
        chain = next(folder.glob(f"*-{address}-*.pem"))
        self._certificate = (str(chain), str(chain.with_suffix(".key")))

    def start_worker(self, name: str) -> None:
        """Start a web worker, on its former port and server if it had one."""
        port = self.ports.setdefault(name, free_port())
        python, server = (*self.inside, sys.executable), self.servers.setdefault(name, self.server)
        if server == "serve":
            behind = str(free_port())
            front = ("-m", "tests.faults.tls_front", self.address, str(port), behind, *self._certificate)
            self._spawn(name, [*python, *SERVERS[server], behind])
            self._spawn(f"{name}-front", [*python, *front])
        else:
            chain, key = self._certificate
            listening = ("--host", self.address, "--ssl-certfile", chain, "--ssl-keyfile", key)
            self._spawn(name, [*python, *SERVERS[server], str(port), *listening])

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
        if self.servers[name] == "serve":
            return "serving http://" in self.log(name) and "listens" in self.log(f"{name}-front")
        return "Uvicorn running on" in self.log(name)
