"""A basic agent, written from docs/protocol.md §1 to §3 alone: it needs no HELLO, no streams, no code of ours."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


class BasicAgent:
    """Dials in, sends PING and HEARTBEAT, answers every command with `answer(message)`.

    `more` are headers besides the two, `options` are for `connect`.
    """

    def __init__(
        self,
        url: str,
        agent_id: str,
        secret: str,
        answer: Callable[[dict], Any] | None = None,
        more: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        headers = {"X-Agent-ID": agent_id, "X-Agent-Secret": secret, **(more or {})}
        options = {"additional_headers": headers, "proxy": None, "compression": None, **options}
        self._dialling = connect(url, open_timeout=10, **options)
        self.socket = self._dialling.__enter__()
        self.seen: list[dict] = []
        self.close_code: int | None = None
        self._answer = answer or (lambda message: {"id": message["id"], "data": {"cpu": 1.5, "ram": 64}})
        self._thread = threading.Thread(target=self._read, name=f"basic agent {agent_id}", daemon=True)
        self._thread.start()

    def send(self, message: dict) -> None:
        """Send a message."""
        self.socket.send(json.dumps(message))

    def ping(self) -> None:
        """Send what a basic agent sends from time to time."""
        self.send({"type": "PING", "timestamp": time.time(), "rtt": None})
        self.send({"type": "HEARTBEAT", "data": {"cpu": 12.5, "ram": 2048, "ramPercent": 50.0, "disk": 33.0}})

    def wait_for(self, kind: str, seconds: float = 5.0) -> dict:
        """Return the first message of this type."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for message in list(self.seen):
                if message["type"] == kind:
                    return message
            self._thread.join(0.01)
        raise AssertionError(f"no {kind} within {seconds} s, only {[m['type'] for m in self.seen]}")

    def closed(self, seconds: float = 5.0) -> int | None:
        """Wait until the master has closed the socket, and return its code."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"still open after {seconds} s"
        return self.close_code

    def stop(self) -> None:
        """Hang up."""
        self.socket.close()
        self._thread.join(5)

    def _read(self) -> None:
        try:
            for text in self.socket:
                message = json.loads(text)
                self.seen.append(message)
                if message["type"] in ("EXEC_COMMAND", "GET_STATS"):
                    answer = self._answer(message)
                    if answer is not None:
                        self.send(answer)
        except ConnectionClosed:
            pass
        finally:
            self.close_code = self.socket.protocol.close_code
