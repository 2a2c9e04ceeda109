"""A shell without a terminal, for a program at the other end: its input as it is sent, its outputs as records.

    program -> typed.MOST bytes kept -> stream -> agent -> pipes of the shell
    program <- acknowledged window <- stream <- agent <- pipes of the shell

The shell ends with the stream, and a stream that broke is not opened again: nobody knows what the shell had read.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from django.db import Error as DatabaseError

from servers import nodes, transports
from servers.errors import CommandError, StreamLost
from servers.models import Server
from servers.text import visible
from servers.threads import in_thread
from tunnel.shells import standing
from tunnel.shells.answers import exit_code
from tunnel.shells.company import LOOK
from tunnel.shells.joining import MAX_OF_ONE_PERSON, OPEN_TIMEOUT, WINDOW
from tunnel.shells.messages import Pipe
from tunnel.shells.refused import Refused
from tunnel.shells.standing import AnyLogin, ShownOut, Standing
from tunnel.shells.state import State
from tunnel.shells.typed import Typed
from tunnel.shells.visit import Page

log = logging.getLogger("tunnel.shells")

EXITED: Final = "exited"  # as of shells that have a terminal

_running: Counter[str] = Counter()  # in this worker, of each person


class Piped:
    """One such shell, on one event loop. `run` is its life; the other methods are what the program says meanwhile."""

    def __init__(self, login: AnyLogin, server: Server, page: Page) -> None:
        self._login = login
        self._server = server
        self._page = page
        self._stream: transports.ByteStream | None = None
        self._typed = Typed()
        self._position = 0  # of the records: passed on
        self._shown = 0  # of them, what the program has written

    def typed(self, data: bytes) -> bool:
        """Take input of the shell; False for more than the program was told it may send."""
        return self._typed.add(data, time.monotonic())

    def end_input(self) -> None:
        """Note that this is all of the input."""
        self._typed.end()

    def shown(self, position: int) -> None:
        """Note that the program has written all up to this position, so that more may come."""
        count = min(position, self._position) - self._shown
        if count > 0 and self._stream is not None:
            self._shown += count
            self._stream.consumed(count)

    async def run(self, wish: Pipe) -> ShownOut | None:
        """Live until the shell ended or there is none to be had; return why this person was shown out, if that is why."""
        stood = await in_thread(standing.read, self._login, self._server.pk)
        if isinstance(stood, ShownOut):
            return stood
        tasks: list[asyncio.Task[ShownOut | None]] = [
            asyncio.create_task(self._live(wish, stood), name="tunnel pipe"),
            asyncio.create_task(self._looks(), name="tunnel pipe looks"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return next((shown_out for task in done if (shown_out := task.result())), None)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _looks(self) -> ShownOut:
        """Look again and again, until this person may be here no more; a lost right to run commands ends the stream."""
        while True:
            await asyncio.sleep(LOOK)
            try:
                stood = await in_thread(standing.read, self._login, self._server.pk)
            except DatabaseError as exc:
                log.warning("the database is away, a shell at pipes cannot be judged: %s", exc)
                continue
            if isinstance(stood, ShownOut):
                return stood

    async def _live(self, wish: Pipe, stood: Standing) -> None:
        params = {"lang": wish.lang} | ({} if wish.line is None else {"line": wish.line})
        try:
            with _place(self._login.user):
                self._stream = await nodes.open_stream(
                    stood.server,
                    "shell",
                    "pipe",
                    params,
                    actor=stood.actor,
                    timeout=OPEN_TIMEOUT,
                    window=WINDOW,
                )
                detail = await self._carry(self._stream)
        except StreamLost as exc:
            await self._end(exc.code)  # its sentence is for who could open it again
        except CommandError as exc:
            why = Refused.by(exc)
            await self._end(why.why, text=why.text or visible(str(exc)))
        else:
            await self._end(EXITED, exit=exit_code(detail))

    async def _carry(self, stream: transports.ByteStream) -> dict[str, Any]:
        """Carry both directions until the shell's end, and return what it said with that."""
        async with stream:  # from the first moment on: whoever leaves takes the shell along
            await self._page.tell("opened")
            typist = asyncio.create_task(self._send_typed(stream), name="tunnel pipe typist")
            try:
                while data := await stream.read():
                    self._position += len(data)
                    await self._page.write(data)
                return stream.end_detail or {}
            finally:
                typist.cancel()
                await asyncio.wait([typist])

    async def _send_typed(self, stream: transports.ByteStream) -> None:
        with suppress(StreamLost):  # who reads hears of it too
            while data := await self._typed.next():
                await stream.write(data)
                self._typed.passed_on()
                await self._page.tell("taken", count=len(data))
            await stream.write_end()

    async def _end(self, why: str, **members: Any) -> None:
        log.info(
            "a shell at pipes ended: %s user=%s",
            why,
            self._login.user,
            extra={"agent": self._server.agent_id},
        )
        await self._page.tell("state", state=State.ENDED.value, why=why, **members)


@contextmanager
def _place(user: str) -> Iterator[None]:
    """Take one of a person's places.

    Raises:
        CommandError: they have all of them.
    """
    if _running[user] >= MAX_OF_ONE_PERSON:
        raise CommandError("too_many_terminals", "you have too many shells at pipes running, end one", "no")
    _running[user] += 1
    try:
        yield
    finally:
        _running[user] -= 1
        if not _running[user]:
            del _running[user]
