"""Reads a stream of an agent through a web worker, as a page would; see `tests.e2e.urls.read_stream`."""

import http.client
import json
import struct
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from tests.e2e.cluster import Cluster


@dataclass
class Reader:
    """What has come so far is `got`; `data` is what the agent answered, `told` how it ended, empty until it has."""

    cluster: Cluster
    agent_id: str
    got: bytearray = field(default_factory=bytearray)
    data: Any = None
    told: dict[str, Any] = field(default_factory=dict)

    def open(self, worker: str, command: str = "test.fountain", typed: str = "", **params: Any) -> "Reader":
        """Ask a worker for a stream and wait until it is open, or refused."""
        self.told = {}
        self._line = http.client.HTTPConnection("127.0.0.1", self.cluster.ports[worker], timeout=60)
        query = urlencode({"params": json.dumps(params), "type": typed})
        path = command.replace(".", "/")
        self._line.request("GET", f"/test/stream/{self.agent_id}/{path}?{query}")
        try:
            self._answer = self._line.getresponse()
        except http.client.HTTPException as exc:
            raise ConnectionError("the worker is gone") from exc
        self.data = json.loads(self._record())
        return self

    def read(self, enough: float = float("inf")) -> dict[str, Any]:
        """Read until the end and return how it ended, or until `got` has so many bytes."""
        while len(self.got) < enough and not self.told:
            piece = self._record()
            self.got += piece
            if not piece:
                self.told = json.loads(self._answer.read())
        return self.told

    def close(self) -> None:
        """Hang up."""
        self._line.close()

    def _record(self) -> bytes:
        (size,) = struct.unpack("!I", self._exactly(4))
        return self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        try:
            data = self._answer.read(size)
        except http.client.HTTPException as exc:
            raise ConnectionError("the worker is gone") from exc
        if len(data) < size:
            raise ConnectionError("the worker is gone")
        return data
