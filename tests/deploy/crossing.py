"""An HTTP proxy of a network that nodes and people dial through: it takes CONNECT and dials out from an address of its own."""

import contextlib
import select
import socket
import socketserver
import threading

PATIENCE = 60.0  # seconds a quiet connection is kept; tests end sooner


class Crossing:
    """Every connection it makes goes to loopback and comes from `source`."""

    def __init__(self, source: str) -> None:
        self.source = source
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                outer._serve(self.request)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name=f"crossing {source}")

    @property
    def url(self) -> str:
        """Return the address of the proxy."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "Crossing":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _serve(self, near: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            part = near.recv(4096)
            if not part:
                return
            head += part
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        assert method == "CONNECT"
        address = ("127.0.0.1", int(target.rsplit(":")[-1]))
        with socket.create_connection(address, timeout=5, source_address=(self.source, 0)) as far:
            near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with contextlib.suppress(ConnectionError):  # either side may hang up on the other
                self._carry(near, far)

    @staticmethod
    def _carry(near: socket.socket, far: socket.socket) -> None:
        other = {near: far, far: near}
        while True:
            readable, _, _ = select.select(list(other), [], [], PATIENCE)
            for one in readable or list(other):
                data = one.recv(65536) if readable else b""
                if not data:
                    return
                other[one].sendall(data)
