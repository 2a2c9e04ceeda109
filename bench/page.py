"""A terminal page by hand: dials, types, reads, and acknowledges as `terminal.js` does."""

from __future__ import annotations

import json
import random
import socket
import time
from collections import deque
from types import TracebackType
from typing import Any

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from bench.panel import PATIENCE, Panel

ACK, ACK_LATE = (
    64 * 1024,
    0.05,
)  # bytes shown after which the panel is told; seconds after which it is told of less
RETRY_LEAST, RETRY_MOST = 0.5, 1.0  # seconds between dials, of which half is drawn
WIDE = {"cols": 1000, "rows": 50}  # all that is typed stays on one line
CHUNK = 256 * 1024


class Page:
    """Opens a shell of an agent at a worker, or joins it again after `leave`."""

    def __init__(self, panel: Panel, worker: str, agent_id: str) -> None:
        port = panel.cluster.ports[worker]
        self._where = "127.0.0.1", port
        self._uri = f"ws://127.0.0.1:{port}/tunnel/ws/{agent_id}/shell/"
        self._headers = {"Cookie": f"sessionid={panel.session}", "Origin": f"https://127.0.0.1:{port}"}
        self._shell = ""
        self._got: deque[bytes] = deque()
        self.position = 0  # of the shell's output
        self._acked = 0
        self._acked_at = 0.0
        self._awaited: tuple[str, str] | None = None

    def __enter__(self) -> Page:
        self.dial()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.end()
        self.leave()

    def dial(self) -> None:
        """Open a shell, or join the one there is, and wait until what is typed is sent.

        Raises:
            OSError: there is no line.
        """
        self._acked = self.position
        self._sock = socket.create_connection(self._where, timeout=PATIENCE)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._protocol = ClientProtocol(parse_uri(self._uri), max_size=None)
        request = self._protocol.connect()
        request.headers.update(self._headers)
        self._protocol.send_request(request)
        self._flush()
        while self._protocol.state is State.CONNECTING:
            self._receive()
        wish = {"t": "attach", "shell": self._shell, "offset": self.position, "write": True}
        self._say(**WIDE, **(wish if self._shell else {"t": "open", "lang": "en"}))
        self._told("opened")

    def dial_again(self) -> None:
        """Join the shell again as the page does: later after each failure."""
        wait, patience = RETRY_LEAST, time.monotonic() + PATIENCE
        while True:
            time.sleep(wait * (0.5 + random.random() / 2))
            try:
                self.dial()
            except OSError:
                if time.monotonic() > patience:
                    raise
                wait = min(RETRY_MOST, 2 * wait)
            else:
                return

    def until_lost(self) -> None:
        """Read until the panel hangs up."""
        try:
            while True:
                self.read()
        except OSError:
            self.leave()

    def type(self, data: bytes) -> None:
        """Press keys."""
        self._protocol.send_binary(data)
        self._flush()

    def read(self) -> bytes:
        """Wait for output, and acknowledge it.

        Raises:
            OSError: the line is lost, or nothing came for very long.
        """
        while not self._got:
            self._receive()
        data = self._got.popleft()
        self.position += len(data)
        if self._unacked >= ACK or time.monotonic() - self._acked_at > ACK_LATE:
            self._ack()
        return data

    def stand_still(self, seconds: float) -> None:
        """Show and acknowledge nothing for so long; a browser goes on answering pings for a page that does."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            self._sock.settimeout(left)
            try:
                data = self._sock.recv(CHUNK)
            except TimeoutError:
                return
            self._feed(data)

    def end(self) -> None:
        """End the shell, so that there are never many."""
        self._say(t="end")
        self._told("state", "ended")

    def leave(self) -> None:
        """Hang up; the shell goes on."""
        self._sock.close()
        self._got.clear()

    @property
    def _unacked(self) -> int:
        return self.position - self._acked

    def _ack(self) -> None:
        self._acked, self._acked_at = self.position, time.monotonic()
        self._say(t="ack", position=self.position)

    def _told(self, kind: str, state: str = "") -> None:
        """Wait for a message of the panel; what the shell writes before it has been shown."""
        self._awaited = (kind, state)
        while self._awaited is not None:
            self._receive()
            if kind == "state":
                self.position += sum(map(len, self._got))
                self._got.clear()
                self._ack()

    def _say(self, **members: Any) -> None:
        try:
            self._protocol.send_text(json.dumps(members).encode())
        except InvalidState as exc:
            raise ConnectionError("the panel hung up") from exc
        self._flush()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            self._sock.sendall(data)

    def _receive(self) -> None:
        """Take what comes; what was shown must be acknowledged soon even when no more does."""
        self._sock.settimeout(ACK_LATE if self._unacked else PATIENCE)
        try:
            data = self._sock.recv(CHUNK)
        except TimeoutError:
            if not self._unacked:
                raise
            self._ack()
            return
        self._feed(data)

    def _feed(self, data: bytes) -> None:
        if not data:
            raise ConnectionError("the panel hung up")
        self._protocol.receive_data(data)
        if self._protocol.handshake_exc is not None:
            raise ConnectionError("the panel refuses") from self._protocol.handshake_exc
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._take(event)
        self._flush()

    def _take(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.BINARY, Opcode.CONT):
            self._got.append(bytes(frame.data))
        elif frame.opcode is Opcode.TEXT:
            self._hear(json.loads(bytes(frame.data)))

    def _hear(self, said: dict[str, Any]) -> None:
        if said["t"] == "opened":
            self._shell = said["shell"]
            self.position = self._acked = said["offset"]
        if said["t"] == "state" and said["state"] == "ended" and self._awaited != ("state", "ended"):
            raise RuntimeError(f"the terminal is over: {said}")
        if self._awaited == (said["t"], said.get("state", "")):
            self._awaited = None
