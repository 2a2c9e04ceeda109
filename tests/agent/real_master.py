"""A small master for the agent's tests, written with `websockets` from docs/protocol.md §1–3 only."""

import json
import queue
import ssl
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
