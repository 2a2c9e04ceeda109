"""One terminal of one page: passes the bytes of its shell on, and what is typed, as often as the tunnel is lost.

    browser <- acknowledged window -> this <- stream -> the worker that holds the socket <-> agent <-> pty

The page says which bytes it has shown, and only then more may come: what is under way is bounded from the program to
the screen. What was passed on is counted in positions of the shell's whole output, so that joining again, here or at
another worker, loses nothing and shows nothing twice.
"""

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any, Final

from django.db import Error as DatabaseError

from agent_client.protocol.codes import Code
from servers import nodes, transports
from servers.errors import CommandError, StreamLost
from servers.models import Server
from servers.text import visible
from servers.threads import in_thread
from tunnel.models import Shell, ShellEnd
from tunnel.shells import news, rows
from tunnel.shells.answers import exit_code
from tunnel.shells.company import Company
from tunnel.shells.joining import Joining
from tunnel.shells.messages import Attach, Open
from tunnel.shells.refused import Out, Refused
from tunnel.shells.rows import Size
from tunnel.shells.standing import AnyLogin, ShownOut
from tunnel.shells.state import State
from tunnel.shells.visit import Page, Visit

log = logging.getLogger("tunnel.shells")

CLOSE_TIMEOUT: Final = 5.0  # seconds


class Terminal:
    """One page's terminal, on one event loop. `run` is its life; the other methods are what the page says meanwhile."""

    def __init__(self, login: AnyLogin, server: Server, page: Page) -> None:
        self._visit = Visit(login, server, page)
        self._company = Company(self._visit)
        self._joining = Joining(self._visit, self._company)
        self._ending: asyncio.Task[None] | None = None

    # -- what the page says --------------------------------------------------------------------------

    def typed(self, data: bytes) -> bool:
        """Take what was typed; False when the program reads so little of it that no more is kept."""
        if self._visit.state is not State.LIVE or not self._visit.types or not data:
            return True
        return self._visit.typed.add(data, time.monotonic())

    def answered(self, data: bytes) -> None:
        """Take the terminal's answer to a program."""
        if self._company.answers():
            self.typed(data)

    def shown(self, position: int) -> None:
        """Note that the page has shown all up to this position, so that more may come."""
        self._visit.shown(position)

    def resize(self, size: Size) -> None:
        """Note the size of the page's window."""
        self._visit.size = size
        self._company.resized()

    def end_shell(self) -> None:
        """End the shell, if this person may."""
        shell = self._visit.shell
        if shell is not None and self._visit.types and (self._ending is None or self._ending.done()):
            self._ending = asyncio.create_task(self._close(shell), name="tunnel shell close")

    # -- its life ------------------------------------------------------------------------------------

    async def run(self, wish: Open | Attach) -> ShownOut | None:
        """Live until the shell ended or there is none to be had; return why this person was shown out, if that is why."""
        self._visit.size = wish.size
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._live(wish), name="tunnel terminal"),
            asyncio.create_task(self._company.looks(), name="tunnel terminal looks"),
            asyncio.create_task(self._company.tells(), name="tunnel terminal tells"),
            asyncio.create_task(self._company.sizes(), name="tunnel terminal size"),
        ]
        news.listen_to_server(self._visit.server.pk, self._joining.bell)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return next((task.result() for task in done if isinstance(task.result(), ShownOut)), None)
        finally:
            news.forget(self._joining.bell)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self._company.leave()

    async def _live(self, wish: Open | Attach) -> ShownOut | None:
        visit = self._visit
        try:
            stream = await self._joining.begin(wish)
            while True:
                lost = await self._pass_on(stream)
                if lost is None:
                    return None
                if not visit.changes:
                    await visit.lost(lost.code)
                visit.changes = False
                stream = await self._joining.again()
        except Refused as exc:
            await visit.step(State.ENDED, why=exc.why, text=exc.text, exit=exc.exit_code)
        except Out as exc:
            return exc.shown_out
        return None

    async def _pass_on(self, stream: transports.ByteStream) -> StreamLost | None:
        """Pass on what the program writes and what is typed, until its end; return how the stream broke, if it did."""
        visit = self._visit
        visit.stream = stream
        typist = asyncio.create_task(self._send_typed(stream), name="tunnel terminal typist")
        try:
            async with stream:
                while data := await stream.read():
                    visit.position += len(data)
                    await visit.page.write(data)
                await self._ended(exit_code(stream.end_detail))
                return None
        except StreamLost as exc:
            if exc.code == Code.REVOKED.value:
                raise Refused(exc.code) from exc
            return exc
        finally:
            visit.stream = None
            typist.cancel()
            await asyncio.wait([typist])

    async def _send_typed(self, stream: transports.ByteStream) -> None:
        typed = self._visit.typed
        with suppress(StreamLost):  # who reads hears of it too
            while True:
                data = await typed.next()
                await stream.write(data)
                typed.passed_on()
                await self._visit.page.taken(len(data))

    async def _ended(self, code: int | None) -> None:
        if self._visit.shell is not None:
            with suppress(DatabaseError):  # the node's own list says so later
                await in_thread(rows.ended, self._visit.shell.pk, ShellEnd.EXITED, code)
        await self._visit.step(State.ENDED, why=ShellEnd.EXITED.value, exit=code)

    async def _close(self, shell: Shell) -> None:
        visit = self._visit
        try:
            stood = await visit.standing()
            await in_thread(rows.ended, shell.pk, ShellEnd.CLOSED)
            await nodes.arun(
                stood.server,
                "shell",
                "close",
                {"handle": shell.handle},
                actor=stood.actor,
                timeout=CLOSE_TIMEOUT,
                own=True,  # only who may type here gets here
            )
        except CommandError as exc:
            text = visible(str(exc))
            log.info("a shell could not be ended: %s", text, extra=visit.agent)
            await visit.page.tell("notice", notice="not_ended", text=text)
            with suppress(DatabaseError):  # it may live: else nobody would find it again
                await in_thread(rows.not_closed, shell.pk)
        except (Out, DatabaseError) as exc:
            log.info("a shell was not ended: %r", exc, extra=visit.agent)
