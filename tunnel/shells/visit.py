"""One page's visit to one shell: what those who serve it know together, and what the page is told of its state."""

import asyncio
import time
import uuid
from contextlib import suppress
from typing import Any, Final, Protocol

from servers import transports
from servers.models import Server
from servers.threads import in_thread
from tunnel.models import Shell
from tunnel.shells import standing
from tunnel.shells.refused import Out
from tunnel.shells.rows import Size
from tunnel.shells.standing import AnyLogin, ShownOut, Standing
from tunnel.shells.state import State, stepped
from tunnel.shells.typed import Typed

SHOWN_WITHIN: Final = 2.0  # seconds a page gets to show what it has before it is sent more of another stream


class Page(Protocol):
    """The browser at the other end."""

    async def tell(self, kind: str, **members: Any) -> None:
        """Send a message."""

    async def write(self, data: bytes) -> None:
        """Send bytes of the terminal."""

    async def taken(self, count: int) -> None:
        """Note that so many more bytes of what was typed are on their way to the node."""


class Visit:
    """The facts of one visit, on one event loop."""

    def __init__(self, login: AnyLogin, server: Server, page: Page) -> None:
        self.login, self.server, self.page = login, server, page
        self.state = State.OPENING
        self.size = Size(80, 24)  # of the page's window
        self.shell: Shell | None = None
        self.viewer: uuid.UUID | None = None  # the row that says that this page looks
        self.wants_to_type = True
        self.types = False  # as the node has it
        self.changes = False  # the stream is given up for one with another right to type
        self.typed = Typed()
        self.stream: transports.ByteStream | None = None
        self.position = 0  # of the shell's output: passed on to the page
        self._shown = 0  # what the page has shown
        self._shown_more = asyncio.Event()

    @property
    def agent(self) -> dict[str, str]:
        """The fields of a line in the log."""
        return {"agent": self.server.agent_id}

    async def standing(self) -> Standing:
        """Return how this person stands now.

        Raises:
            Out: he may be here no more.
        """
        stood = await in_thread(standing.read, self.login, self.server.pk)
        if isinstance(stood, ShownOut):
            raise Out(stood)
        return stood

    # -- how far the output is ------------------------------------------------------------------------

    def begin_at(self, position: int) -> None:
        """Note that the output goes on at this position, and that all before it is shown."""
        self.position = self._shown = position

    def shown(self, position: int) -> None:
        """Note that the page has shown all up to this position, so that more may come."""
        count = min(position, self.position) - self._shown
        if count > 0:
            self._shown += count
            self._shown_more.set()
            if self.stream is not None:
                self.stream.consumed(count)

    async def until_shown(self) -> None:
        """Let the page show what it has: the window of the next stream must not come on top of it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SHOWN_WITHIN):
                while self._shown < self.position:
                    self._shown_more.clear()
                    await self._shown_more.wait()

    # -- its state -----------------------------------------------------------------------------------

    def live(self, stream: transports.ByteStream) -> None:
        """Note that there is a stream."""
        self.stream = stream
        self.state = stepped(self.state, State.LIVE)

    async def lost(self, why: str) -> None:
        """Say that the tunnel is lost, if the page believes that it is not."""
        if self.state is State.LIVE:
            await self.step(State.LOST, why=why, typed=self.typed.forget(time.monotonic()))

    async def step(self, to: State, **members: Any) -> None:
        """Take a step and say it."""
        self.state = stepped(self.state, to)
        await self.page.tell("state", state=to.value, **members)
