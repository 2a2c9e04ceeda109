"""Reads a stream of an agent through a web worker, as a page would; see `tests.e2e.urls.read_stream`."""

import http.client
import json
import struct
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.cluster import Cluster


@dataclass
class Reader:
    """What has come so far is `got`; `told` is how it ended, empty until it has."""

    cluster: Cluster
    agent_id: str
    got: bytearray = field(default_factory=bytearray)
    told: dict[str, Any] = field(default_factory=dict)

    def open(self, worker: str, action: str = "fountain", **params: int) -> "Reader":
        """Ask a worker for a stream and wait until it is open."""
        self.told = {}
        self._line = http.client.HTTPConnection("127.0.0.1", self.cluster.ports[worker], timeout=60)
        query = "&".join(f"{key}={value}" for key, value in params.items())
        self._line.request("GET", f"/test/stream/{self.agent_id}/{action}?{query}")
        self._answer = self._line.getresponse()
        self._exactly(1)
        return self

    def read(self, enough: float = float("inf")) -> dict[str, Any]:
        """Read until the end and return how it ended, or until `got` has so many bytes."""
        while len(self.got) < enough and not self.told:
            (size,) = struct.unpack("!I", self._exactly(4))
            if size:
                self.got += self._exactly(size)
            else:
                self.told = json.loads(self._answer.read())
        return self.told

    def close(self) -> None:
        """Hang up."""
        self._line.close()

    def _exactly(self, size: int) -> bytes:
        data = self._answer.read(size)
        if len(data) < size:
            raise ConnectionError("the worker is gone")
        return data
