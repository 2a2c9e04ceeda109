"""A mail server and a web server on 127.0.0.1 that keep what they are given, and misbehave when told to."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Mails:
    """What a mail server took; `refuse` so many messages are refused first."""

    port: int = 0
    refuse: int = 0
    taken: list[tuple[list[str], Message]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak as much of SMTP (RFC 5321) as a client needs."""

        def say(line: str) -> None:
            writer.write(f"{line}\r\n".encode())

        say("220 mail.test ESMTP")
        recipients: list[str] = []
        while line := (await reader.readline()).decode():
            verb = line.split(" ")[0].strip().upper()
            if verb == "RCPT":
                recipients.append(line.partition(":")[2].split(">")[0].strip("< "))
                say("250 ok")
            elif verb == "DATA" and self.refuse:
                self.refuse -= 1
                say("451 not now")
            elif verb == "DATA":
                say("354 go on")
                data = (await reader.readuntil(b"\r\n.\r\n"))[:-5].replace(b"\r\n..", b"\r\n.")
                self.taken.append((recipients, message_from_bytes(data)))
                recipients = []
                say("250 taken")
            elif verb == "QUIT":
                say("221 bye")
                break
            else:
                say("250 ok")
        with contextlib.suppress(OSError):
            await writer.drain()
            writer.close()


@contextlib.contextmanager
def mail_server() -> Iterator[Mails]:
    """Run a mail server until the block ends."""
    mails, ready, loop = Mails(), threading.Event(), asyncio.new_event_loop()

    async def run() -> None:
        server = await asyncio.start_server(mails.serve, "127.0.0.1", 0)
        mails.port = server.sockets[0].getsockname()[1]
        ready.set()
        async with server:
            await stopped.wait()

    stopped = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=[run()], name="mail server")
    thread.start()
    assert ready.wait(10)
    try:
        yield mails
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(10)
        loop.close()


@dataclass
class Posts:
    """What a web server was given; `answer` says what it answers, by status or by doing it itself."""

    port: int = 0
    answer: Callable[[BaseHTTPRequestHandler], int | None] = lambda _: 204
    taken: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?for=us"


@contextlib.contextmanager
def web_server() -> Iterator[Posts]:
    """Run a web server until the block ends."""
    posts = Posts()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            posts.taken.append((self.path, dict(self.headers.items()), body))
            status = posts.answer(self)
            if status is not None:
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", f"http://127.0.0.1:{posts.port}/elsewhere")
                self.end_headers()

        do_GET = do_POST  # noqa: N815 - the server calls it so

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    posts.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=[0.05], name="web server")
    thread.start()
    try:
        yield posts
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
