"""The way of `tunnel shell` on the panel's own host: a terminal as a web worker has one for each page."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import Error as DatabaseError

from servers.access import Console
from servers.models import Server
from tunnel.cli.shell_way import Said, Screenful, WayLost
from tunnel.shells import messages
from tunnel.shells.messages import Ack, Attach, End, Eof, Open, Pipe, Resize
from tunnel.shells.piped import Piped
from tunnel.shells.standing import HostLogin
from tunnel.shells.terminal import Terminal


class HostWay:
    """A `tunnel.cli.shell_way.ShellWay`; `tunnel.shells.visit.Page` towards the terminal."""

    def __init__(self, console: Console, server: Server) -> None:
        self._login = HostLogin(console)
        self._server = server
        self._terminal: Terminal | None = None
        self._piped: Piped | None = None  # instead of a terminal
        self._front: Screenful | None = None

    async def run(self, wish: Said, front: Screenful) -> None:
        """Live until the shell is ended or not to be had."""
        said = messages.parse(json.dumps(wish))
        assert isinstance(said, Open | Attach | Pipe)  # noqa: S101 - a session asks for nothing else at first
        self._front = front
        try:
            with _quiet():
                if isinstance(said, Pipe):
                    self._piped = Piped(self._login, self._server, self)
                    shown_out = await self._piped.run(said)
                else:
                    self._terminal = Terminal(self._login, self._server, self)
                    shown_out = await self._terminal.run(said)
        except DatabaseError as exc:
            raise WayLost("the database is away") from exc
        if shown_out is not None:
            await self.tell("state", state="ended", why=shown_out.why)

    def typed(self, data: bytes) -> None:
        """Type."""
        if self._piped is not None:
            self._piped.typed(data)  # a session sends no more than it was told it may
        elif self._terminal is not None and not self._terminal.typed(data) and self._front is not None:
            self._front.told({"t": "notice", "notice": "not_read"})

    def say(self, said: Said) -> None:
        """Say `resize`, `ack`, `eof` or `end`."""
        heard = messages.parse(json.dumps(said))
        if self._piped is not None:
            if isinstance(heard, Ack):
                self._piped.shown(heard.position)
            elif isinstance(heard, Eof):
                self._piped.end_input()
            return
        if self._terminal is None:
            return
        if isinstance(heard, Resize):
            self._terminal.resize(heard.size)
        elif isinstance(heard, Ack):
            self._terminal.shown(heard.position)
        elif isinstance(heard, End):
            self._terminal.end_shell()

    async def tell(self, kind: str, **members: object) -> None:
        """Pass a message of the terminal on."""
        if self._front is not None:
            self._front.told({"t": kind, **members})

    async def write(self, data: bytes) -> None:
        """Pass output on."""
        if self._front is not None:
            self._front.came(data)

    async def taken(self, count: int) -> None:
        """Pass on how much of what was typed is under way."""
        await self.tell("taken", count=count)


@contextmanager
def _quiet() -> Iterator[None]:
    """Log nothing meanwhile: it would stand in the middle of somebody's vim. The person is told in words."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
