"""A small master for the agent's tests, written with `websockets` from docs/protocol.md §1–3 only."""

import json
import queue
import ssl
import struct
import threading
import time
import uuid
from http import HTTPStatus

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

PATIENCE = 10.0  # seconds a test waits for a fact before it fails


class Visit:
    """One WebSocket of an agent, as the master sees it."""

    def __init__(self, socket: ServerConnection, master: "Master") -> None:
        self.socket = socket
        self.headers = socket.request.headers
        self.path = socket.request.path
        self.master = master
        self.messages: queue.Queue[dict] = queue.Queue()
        self.said: list[str] = []  # every text, as it came
        self.streams: dict[int, Stream] = {}
        self.frames = 0  # binary messages so far
        self.over = threading.Event()

    def greet(self, **members: object) -> None:
        """Send HANDSHAKE_ACK with short times, so that tests are fast."""
        ack = {
            "type": "HANDSHAKE_ACK",
            "status": "connected",
            "session": "s-1",
            "serverTime": self.master.clock(),
            "ping": 0.2,
            "silence": 5,
            "heartbeat": 30,
            "limits": {},
        }
        self.send({**ack, **members})

    def send(self, message: dict) -> None:
        self.socket.send(json.dumps(message))

    def command(self, service: str, action: str, *, age: float = 0.0, **members: object) -> str:
        """Send an EXEC_COMMAND and return its id."""
        command_id = str(members.pop("id", uuid.uuid4()))
        self.send(
            {
                "id": command_id,
                "type": "EXEC_COMMAND",
                "service": service,
                "action": action,
                "timestamp": self.master.clock() - age,
                **members,
            }
        )
        return command_id

    def run(self, service: str, action: str, **members: object) -> dict:
        """Send a command and return its reply."""
        return self.reply(self.command(service, action, **members))

    def reply(self, command_id: str, patience: float = PATIENCE) -> dict:
        return self.next(lambda message: message.get("requestId") == command_id, patience)

    def open(
        self, service: str, action: str, *, window: int = 128 * 1024, reads: bool = True, **params: object
    ) -> "Stream":
        """Open a stream; what the reply says is in its `data`."""
        stream = self.streams[len(self.streams) + 1] = Stream(self, len(self.streams) + 1, window, reads)
        stream.command_id = self.command(
            service, action, params={**params, "window": window}, stream=stream.number
        )
        reply = self.reply(stream.command_id)
        assert reply["status"] == "success", reply
        stream.opened(reply["data"])
        return stream

    def next(self, wanted, patience: float = PATIENCE) -> dict:
        """Return the next message that is `wanted` (a type, or a function), dropping others."""
        deadline = time.monotonic() + patience
        while True:
            message = self.messages.get(timeout=max(0.001, deadline - time.monotonic()))
            if message.get("type") == wanted if isinstance(wanted, str) else wanted(message):
                return message

    def talk(self) -> None:
        """Read until the socket closes; PING is answered as a master must."""
        try:
            for text in self.socket:
                self.master.reading.wait(PATIENCE)
                if isinstance(text, bytes):
                    self.frames += 1
                    self.streams[struct.unpack_from("!BI", text)[1]].hear(text)
                    continue
                self.said.append(text)
                message = json.loads(text)
                if message.get("type") == "PING" and self.master.answers_pings:
                    self.send(
                        {
                            "type": "PONG",
                            "timestamp": message["timestamp"],
                            "serverTime": self.master.clock(),
                        }
                    )
                self.messages.put(message)
        except ConnectionClosed:
            pass
        finally:
            self.over.set()


DATA, WINDOW, END, RESET = range(4)
HEADER = struct.Struct("!BIQ")


class Stream:
    """The master's end of a stream. What came waits in `data`; with `reads` its room is given back at once."""

    def __init__(self, visit: Visit, number: int, window: int, reads: bool) -> None:
        self.visit = visit
        self.number = number
        self.command_id = ""
        self.data: dict = {}
        self.output = b""
        self.position = 0  # of the next byte
        self.reads = reads
        self.end: dict | None = None
        self.reset: dict | None = None
        self._window, self._granted = window, window
        self._sent, self._may_send = 0, 0
        self._changed = threading.Condition()

    def opened(self, data: dict) -> None:
        with self._changed:
            self.data = data
            self._may_send += data["window"]
            self._changed.notify_all()

    def hear(self, message: bytes) -> None:
        """Take a frame; in the thread that reads the socket."""
        kind, _, offset = HEADER.unpack_from(message)
        payload = message[HEADER.size :]
        with self._changed:
            if kind == DATA:
                assert offset == self.position
                assert offset + len(payload) <= self._granted, "the agent sent beyond its window"
                self.output += payload
                self.position += len(payload)
            elif kind == WINDOW:
                self._may_send = max(self._may_send, offset)
            elif kind == END:
                assert offset == self.position
                self.end = json.loads(payload) if payload else {}
            else:
                self.reset = json.loads(payload)
            self._changed.notify_all()
        if kind == DATA and self.reads and self.end is None:
            self.grant()

    def grant(self) -> None:
        """Let the agent send a whole window beyond what came."""
        if self.position + self._window >= self._granted + self._window // 2:
            self._granted = self.position + self._window
            self.frame(WINDOW, self._granted)

    def write(self, data: bytes) -> None:
        """Send bytes as the window allows."""
        while data:
            with self._changed:
                assert self._changed.wait_for(lambda: self._sent < self._may_send or self.reset, PATIENCE)
                assert self.reset is None
                count = min(len(data), self._may_send - self._sent, 64 * 1024)
                at, self._sent = self._sent, self._sent + count
            self.frame(DATA, at, data[:count])
            data = data[count:]

    def write_end(self) -> None:
        self.frame(END, self._sent)

    def leave(self, code: str = "cancelled") -> None:
        self.frame(RESET, self.position, json.dumps({"code": code, "error": "the test left"}).encode())

    def frame(self, kind: int, offset: int, payload: bytes = b"") -> None:
        self.visit.socket.send(HEADER.pack(kind, self.number, offset) + payload)

    def until(self, fact, patience: float = 3 * PATIENCE) -> None:
        with self._changed:
            assert self._changed.wait_for(fact, patience), (self.output[-300:], self.end, self.reset)

    def see(self, text: bytes) -> bytes:
        """Wait until `text` came, and return all that came since the last time."""
        self.until(lambda: text in self.output or self.reset)
        with self._changed:
            before, found, self.output = self.output.partition(text)
        assert found, self.reset
        return before

    def run(self, line: str) -> bytes:
        """Have a shell run a line, and return what that wrote; echoes hold neither mark as it is written."""
        self.write(f"printf '<%s' A; {line}; printf '%s>' B\r".encode())
        self.see(b"<A")
        return self.see(b"B>").replace(b"\r\n", b"\n")


class Master:
    """Listens on a free port of 127.0.0.1; `visit()` waits for the next agent."""

    def __init__(
        self, *, tls: "ssl.SSLContext | None" = None, greets: bool = True, **greeting: object
    ) -> None:
        self.answers_pings = True
        self.reading = threading.Event()  # cleared: nothing more is taken from any socket
        self.reading.set()
        self.clock = time.time
        self.refusal: tuple[int, dict[str, str]] | None = None
        self.tries = threading.Semaphore(0)
        self._visits: queue.Queue[Visit] = queue.Queue()
        self._greeting = greeting if greets else None
        self._server = serve(
            self._handle,
            "127.0.0.1",
            0,
            ssl=tls,
            process_request=self._judge,
            subprotocols=["yumna.tunnel.v1"],
            select_subprotocol=lambda _socket, offered: next(iter(offered), None),
            compression=None,
            ping_interval=None,
            max_size=None,
        )
        self.port = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="master")
        self._thread.start()

    def __enter__(self) -> "Master":
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._thread.join(PATIENCE)

    def visit(self, patience: float = PATIENCE) -> Visit:
        return self._visits.get(timeout=patience)

    def nobody_comes(self, seconds: float) -> bool:
        try:
            self._visits.get(timeout=seconds)
        except queue.Empty:
            return True
        return False

    def _judge(self, socket: ServerConnection, _request):
        self.tries.release()
        if self.refusal is None:
            return None
        status, headers = self.refusal
        response = socket.respond(HTTPStatus(status), "no\n")
        for name, value in headers.items():
            response.headers[name] = value
        return response

    def _handle(self, socket: ServerConnection) -> None:
        visit = Visit(socket, self)
        if self._greeting is not None:
            visit.greet(**self._greeting)
        self._visits.put(visit)
        visit.talk()
