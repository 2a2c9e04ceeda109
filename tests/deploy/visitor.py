"""A person and an agent as a front sees them: TLS with the panel's name, from an address of their own."""

import contextlib
import http.cookiejar
import json
import re
import socket
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http.client import HTTPMessage

from websockets.sync.client import ClientConnection, connect

from tests.deploy.fronts import Front
from tests.deploy.panel import PASSWORD
from tests.deploy.shipped import HOST

TIMEOUT = 20.0  # seconds


@dataclass(frozen=True)
class Answer:
    """What came back, after redirects."""

    status: int
    url: str
    headers: HTTPMessage
    body: str


class Visitor:
    """Just enough of a browser; `proxy` is the way out of the network it sits in."""

    def __init__(self, front: Front, proxy: str) -> None:
        self.front = front
        self.cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({"https": proxy}),
            urllib.request.HTTPSHandler(context=front.trust()),
            urllib.request.HTTPCookieProcessor(self.cookies),
        )

    def open(self, path: str, data: dict[str, str] | bytes | None = None, **headers: str) -> Answer:
        """Get a page, or post to it."""
        body = urllib.parse.urlencode(data).encode() if isinstance(data, dict) else data
        headers["Referer"] = f"{self.front.url}/"
        request = urllib.request.Request(f"{self.front.url}{path}", body, headers)
        try:
            with self._opener.open(request, timeout=TIMEOUT) as answer:
                return Answer(answer.status, answer.url, answer.headers, answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.url, error.headers, error.read().decode())

    def log_in(self, password: str = PASSWORD, **headers: str) -> Answer:
        """Fill in the log-in form, as on the first visit."""
        form = self.open("/admin/")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form.body)[1]
        fields = {"username": "admin", "password": password, "csrfmiddlewaretoken": token}
        fields["next"] = "/admin/tunnel/nodes/"
        return self.open(urllib.parse.urlsplit(form.url).path, fields, **headers)

    def live(self, **headers: str) -> ClientConnection:
        """Open the live socket with the cookies and these headers."""
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self.cookies)
        return dial(self.front, "/tunnel/ws/events/", {"Cookie": cookies, **headers})


class Leaving(ClientConnection):
    """A client that leaves at once, even while its reader waits for the rest of a TLS record.

    The library's `close_socket` closes the descriptor, which wakes no `recv`, and then waits for the reader: over
    TLS 1.3 a session ticket makes the socket readable with nothing to read, and a refused handshake hangs for ever.
    """

    def close_socket(self) -> None:
        """Shut the connection down, which ends every `recv`, then close it."""
        with contextlib.suppress(OSError):  # the other side was first
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)
        super().close_socket()


def dial(front: Front, path: str, headers: dict[str, str], source: str = "127.0.0.1") -> ClientConnection:
    """Open a WebSocket through the front, from this address."""
    raw = socket.create_connection(("127.0.0.1", front.https), TIMEOUT, source_address=(source, 0))
    return connect(
        f"wss://{HOST}:{front.https}{path}",
        sock=raw,
        ssl=front.trust(),
        server_hostname=HOST,
        additional_headers=headers,
        proxy=None,
        open_timeout=TIMEOUT,
        create_connection=Leaving,
    )


def state_of(live: ClientConnection, agent_id: str, wanted: str) -> None:
    """Read what the live page is told until this server has this state."""
    pk = None
    while True:
        message = json.loads(live.recv(timeout=TIMEOUT))
        for card in message.get("cards", []):
            if card.get("agent_id") == agent_id:
                pk = card["id"]
            if pk is not None and card["id"] == pk and card.get("state") == wanted:
                return
