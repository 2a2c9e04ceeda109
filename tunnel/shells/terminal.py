"""One terminal of one page: opens a shell or joins one, passes its bytes on, and joins again when the tunnel was lost.

    browser <- acknowledged window -> this <- stream -> the worker that holds the socket <-> agent <-> pty

The page says which bytes it has shown, and only then more may come: what is under way is bounded from the program to
the screen. What was passed on is counted in positions of the shell's whole output, so that joining again, here or at
another worker, loses nothing and shows nothing twice.
"""

import asyncio
import logging
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Protocol

from django.db import Error as DatabaseError

from agent_client.protocol.codes import Code
from servers import nodes, transports
from servers.access import person
from servers.errors import CommandError, CommandFailed, NotAllowed, SecondFactorNeeded, StreamLost
from servers.models import Server
from servers.text import visible
from servers.threads import in_thread
from tunnel import dispatch, figures, presence, worker
from tunnel.models import Shell, ShellEnd
from tunnel.recordings import rows as recorded
from tunnel.shells import news, rows, standing
from tunnel.shells.messages import Attach, Open
from tunnel.shells.rows import Size, Viewing
from tunnel.shells.standing import AnyLogin, ShownOut, Standing
from tunnel.shells.typed import Typed

log = logging.getLogger("tunnel.shells")

WINDOW: Final = (
    256 * 1024
)  # bytes a page may have that it has not shown; more makes Ctrl-C slow (UI, not memory)
TERM: Final = "xterm-256color"
OPEN_TIMEOUT: Final = 15.0  # seconds the node may take to open a shell or to let one join
ASIDE_TIMEOUT: Final = 5.0  # seconds for a resize or an end
LOOK: Final = 5.0  # seconds between two looks at who may still be here, and who is
SETTLE: Final = 0.2  # seconds over which news of others are gathered
RETRY_LEAST: Final = 0.1  # seconds between two tries to join again
RETRY_MOST: Final = 1.0
# Seconds in which a node may be too busy to let one join: those who looked through a worker that died hold their places
# until its silence is noticed.
BUSY_WITHIN: Final = 15.0
REJOIN_GAP: Final = 0.5  # seconds between two joinings, however fast the streams break
SHOWN_WITHIN: Final = 2.0  # seconds a page gets to show what it has before it is sent more of another stream
MAX_OF_ONE_PERSON: Final = 32  # terminals a person has open in browsers
MAX_SHELLS_OF_ONE_PERSON: Final = 8  # shells of a person on one node, of the 16 it allows

# The node is away, or the way to it: joining again is worth a try.
_AWAY: Final = frozenset(
    code.value
    for code in (
        Code.NOT_CONNECTED,
        Code.NOT_SENT,
        Code.BUS_UNAVAILABLE,
        Code.DISCONNECTED,
        Code.NO_REPLY,
        Code.RELAY_LOST,
        Code.TIMEOUT,
        Code.EXPIRED,
        Code.CANCELLED,
    )
)


class State(Enum):
    """Where a terminal is; the page says it in words."""

    OPENING = "opening"
    LIVE = "live"
    LOST = "lost"  # the tunnel; the shell runs on
    ENDED = "ended"  # the shell, or this terminal before it had one


STEPS: Final = {
    State.OPENING: frozenset({State.LIVE, State.ENDED}),
    State.LIVE: frozenset({State.LIVE, State.LOST, State.ENDED}),  # joined again with another right to type
    State.LOST: frozenset({State.LIVE, State.ENDED}),
    State.ENDED: frozenset[State](),
}


class Page(Protocol):
    """The browser at the other end."""

    async def tell(self, kind: str, **members: Any) -> None:
        """Send a message."""

    async def write(self, data: bytes) -> None:
        """Send bytes of the terminal."""

    async def taken(self, count: int) -> None:
        """Note that so many more bytes of what was typed are on their way to the node."""


class Refused(Exception):
    """There is no terminal to be had; `why` is the code of an error, or a word of the page."""

    def __init__(self, why: str, text: str = "", exit_code: int | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.text = text
        self.exit_code = exit_code


@dataclass(frozen=True)
class Joined:
    """What the agent answers to shell.open and shell.attach."""

    handle: str
    offset: int
    end: int  # up to here it is output of before, which answers to nothing
    size: Size
    program: str

    @classmethod
    def of(cls, data: Any, size: Size) -> "Joined":
        """Read it.

        Raises:
            CommandFailed: this is no such answer.
        """
        said = data if isinstance(data, dict) else {}
        handle, program = said.get("handle", ""), said.get("shell", "")
        offset = _count(said.get("offset", 0))
        end = _count(said.get("end", offset))
        joined = Size(_count(said.get("cols", size.cols)), _count(said.get("rows", size.rows)))
        if not isinstance(handle, str):
            raise _nonsense()
        return cls(handle, offset, end, joined, str(program))


class Terminal:
    """One page's terminal, on one event loop. `run` is its life; the other methods are what the page says meanwhile."""

    def __init__(self, login: AnyLogin, server: Server, page: Page) -> None:
        self.state = State.OPENING
        self._login = login
        self._server = server
        self._page = page
        self._size = Size(80, 24)
        self._told_size: Size | None = None
        self._shell: Shell | None = None
        self._viewer: uuid.UUID | None = None
        self._told: tuple[list[Viewing], bool] = ([], False)  # who is here, and whether this page may type
        self._wants_to_type = True
        self._types = False  # as the node has it
        self._changes = False  # the stream is given up for one with another right to type
        self._position = 0  # of the shell's output: passed on to the page
        self._shown = 0  # what the page has shown
        self._shown_more = asyncio.Event()
        self._stream: transports.ByteStream | None = None
        self._typed = Typed()
        self._node_bell = asyncio.Event()
        self._shell_bell = asyncio.Event()
        self._resized = asyncio.Event()
        self._seen = _Seen([], None, types=False)
        self._seen_more = asyncio.Event()
        self._joined_at = 0.0
        self._busy_since: float | None = None
        self._ending: asyncio.Task[None] | None = None

    # -- what the page says --------------------------------------------------------------------------

    def typed(self, data: bytes) -> bool:
        """Take what was typed; False when the program reads so little of it that no more is kept."""
        if self.state is not State.LIVE or not self._types or not data:
            return True
        return self._typed.add(data, time.monotonic())

    def answered(self, data: bytes) -> None:
        """Take the terminal's answer to a program; of several pages that show it, the first one's counts."""
        first = next((one.id for one in self._told[0] if one.writes), None)
        if first is None or first == str(self._viewer):
            self.typed(data)

    def shown(self, position: int) -> None:
        """Note that the page has shown all up to this position, so that more may come."""
        count = min(position, self._position) - self._shown
        if count > 0:
            self._shown += count
            self._shown_more.set()
            if self._stream is not None:
                self._stream.consumed(count)

    def resize(self, size: Size) -> None:
        """Note the size of the page's window."""
        self._size = size
        self._resized.set()

    def end_shell(self) -> None:
        """End the shell, if this person may."""
        if self._shell is not None and self._types and (self._ending is None or self._ending.done()):
            self._ending = asyncio.create_task(self._close_shell(self._shell), name="tunnel shell close")

    # -- its life ------------------------------------------------------------------------------------

    async def run(self, wish: Open | Attach) -> ShownOut | None:
        """Live until the shell ended or there is none to be had; return why this person was shown out, if that is why."""
        self._size = wish.size
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._live(wish), name="tunnel terminal"),
            asyncio.create_task(self._look_again_and_again(), name="tunnel terminal looks"),
            asyncio.create_task(self._tell_what_is_seen(), name="tunnel terminal tells"),
            asyncio.create_task(self._follow_the_window(), name="tunnel terminal size"),
        ]
        news.listen_to_server(self._server.pk, self._node_bell)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return next((task.result() for task in done if isinstance(task.result(), ShownOut)), None)
        finally:
            await self._stop(tasks)

    async def _stop(self, tasks: list[asyncio.Task[Any]]) -> None:
        news.forget(self._node_bell)
        news.forget(self._shell_bell)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        if self._viewer is not None:
            with suppress(DatabaseError):  # it runs out by itself
                await asyncio.shield(in_thread(rows.leave, self._viewer))
            await self._announce()

    async def _live(self, wish: Open | Attach) -> ShownOut | None:
        try:
            stream = await self._begin(wish)
            while True:
                lost = await self._pass_on(stream)
                if lost is None:
                    return None
                if not self._changes:
                    await self._say_lost(lost.code)
                self._changes = False
                stream = await self._join_again()
        except Refused as exc:
            await self._step(State.ENDED, why=exc.why, text=exc.text, exit=exc.exit_code)
        except _Out as exc:
            return exc.shown_out
        return None

    async def _begin(self, wish: Open | Attach) -> transports.ByteStream:
        """Open a shell or join one, as soon as the node is there."""
        pause = RETRY_LEAST
        while True:
            self._node_bell.clear()
            stood = await self._standing()
            try:
                if isinstance(wish, Open):
                    return await self._open(stood, wish)
                return await self._attach(stood, wish)
            except CommandError as exc:
                fresh = isinstance(wish, Open) and (exc.ran != "no" or exc.code == Code.BUSY.value)
                if fresh or not self._worth_another_try(exc):
                    raise _refusal(exc) from exc
                await self._page.tell("state", state=self.state.value, why=exc.code)
            await _rung(self._node_bell, pause)  # each try has a line in the history
            pause = min(RETRY_MOST, 2 * pause)
            await self._until_the_node_is_there()

    async def _open(self, stood: Standing, wish: Open) -> transports.ByteStream:
        await self._keep_within_limits(stood)
        params = {
            "cols": self._size.cols,
            "rows": self._size.rows,
            "term": wish.term or TERM,
            "lang": wish.lang,
        }
        stream = await nodes.open_stream(
            stood.server, "shell", "open", params, actor=stood.actor, timeout=OPEN_TIMEOUT, window=WINDOW
        )
        try:
            joined = Joined.of(stream.data, self._size)
            if not rows.is_handle(joined.handle):
                raise _nonsense()
            shell = await in_thread(rows.opened, stood.server, joined.handle, joined.program, stood.actor)
            here = worker.running()
            if here is not None:  # else a worker finds it: one process of a command line does not outlive it
                await here.recorders.begin(shell.pk, joined.size)
            self._types = True
            await self._enter(stood, shell)
        except BaseException:
            await stream.reset()
            raise
        log.info("a shell was opened user=%s", self._login.user, extra={"agent": self._server.agent_id})
        await self._say_opened(joined, stream)
        return stream

    async def _attach(self, stood: Standing, wish: Attach) -> transports.ByteStream:
        shell = await in_thread(rows.find, stood.server, wish.shell)
        if shell is None:
            raise Refused(Code.NOT_FOUND.value)
        if shell.ended_at is not None:
            raise Refused(shell.end, exit_code=shell.exit_code)
        self._shell, self._position, self._shown = shell, wish.offset, wish.offset
        self._wants_to_type = wish.write
        stream = await self._join(stood, actor=stood.actor)
        try:
            await self._enter(stood, shell)
        except BaseException:
            await stream.reset()
            raise
        return stream

    async def _join(self, stood: Standing, actor: Any) -> transports.ByteStream:
        """Join the shell at the position up to which the page has its output."""
        assert self._shell is not None  # noqa: S101 - every way here has one
        types = self._wants_to_type and await in_thread(stood.may_type, self._shell)
        params = {
            "handle": self._shell.handle,
            "offset": self._position,
            "cols": self._size.cols,
            "rows": self._size.rows,
            "write": types,
        }
        try:
            stream = await nodes.open_stream(
                stood.server, "shell", "attach", params, actor=actor, timeout=OPEN_TIMEOUT, window=WINDOW
            )
        except CommandFailed as exc:
            if exc.code == Code.NOT_FOUND.value:
                await in_thread(rows.ended, self._shell.pk, ShellEnd.GONE)
                raise Refused(ShellEnd.GONE.value) from exc
            raise
        self._types = types
        await self._say_opened(Joined.of(stream.data, self._size), stream)
        return stream

    async def _join_again(self) -> transports.ByteStream:
        """Join the shell anew, as soon as the node is there; the same visit of the same person is not recorded twice."""
        pause = RETRY_LEAST
        await self._until_shown()
        await asyncio.sleep(max(0.0, self._joined_at + REJOIN_GAP - time.monotonic()))
        while True:
            await self._until_the_node_is_there()
            try:
                return await self._join(await self._standing(), actor=None)
            except CommandError as exc:
                if not self._worth_another_try(exc):
                    raise _refusal(exc) from exc
                await self._say_lost(exc.code)
                log.debug("a shell could not be joined again yet: %r", exc)
            self._node_bell.clear()
            await _rung(self._node_bell, pause)
            pause = min(RETRY_MOST, 2 * pause)

    def _worth_another_try(self, exc: CommandError) -> bool:
        """Tell whether joining may go well soon: the node is away, or for a while all places at the shell are taken."""
        if exc.code != Code.BUSY.value:
            self._busy_since = None
            return exc.code in _AWAY
        now = time.monotonic()
        self._busy_since = self._busy_since or now
        return now - self._busy_since < BUSY_WITHIN

    async def _until_the_node_is_there(self) -> None:
        while True:
            self._node_bell.clear()
            with suppress(DatabaseError):
                if await in_thread(_is_there, self._server.pk):
                    return
            await self._say_lost(Code.NOT_CONNECTED.value)
            await _rung(self._node_bell, RETRY_MOST)

    async def _until_shown(self) -> None:
        """Let the page show what it has: the window of the next stream must not come on top of it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SHOWN_WITHIN):
                while self._shown < self._position:
                    self._shown_more.clear()
                    await self._shown_more.wait()

    async def _pass_on(self, stream: transports.ByteStream) -> StreamLost | None:
        """Pass on what the program writes and what is typed, until its end; return how the stream broke, if it did."""
        self._stream = stream
        typist = asyncio.create_task(self._send_typed(stream), name="tunnel terminal typist")
        try:
            async with stream:
                while data := await stream.read():
                    self._position += len(data)
                    await self._page.write(data)
                await self._ended(stream.end_detail or {})
                return None
        except StreamLost as exc:
            if exc.code == Code.REVOKED.value:
                raise Refused(exc.code) from exc
            return exc
        finally:
            self._stream = None
            typist.cancel()
            await asyncio.wait([typist])

    async def _send_typed(self, stream: transports.ByteStream) -> None:
        with suppress(StreamLost):  # who reads hears of it too
            while True:
                data = await self._typed.next()
                await stream.write(data)
                self._typed.passed_on()
                await self._page.taken(len(data))

    async def _ended(self, detail: dict[str, Any]) -> None:
        code = detail.get("exitCode")
        exit_code = code if isinstance(code, int) and abs(code) < 2**31 else None
        if self._shell is not None:
            with suppress(DatabaseError):  # the node's own list says so later
                await in_thread(rows.ended, self._shell.pk, ShellEnd.EXITED, exit_code)
        await self._step(State.ENDED, why=ShellEnd.EXITED.value, exit=exit_code)

    async def _close_shell(self, shell: Shell) -> None:
        try:
            stood = await self._standing()
            await in_thread(rows.ended, shell.pk, ShellEnd.CLOSED)
            await nodes.arun(
                stood.server,
                "shell",
                "close",
                {"handle": shell.handle},
                actor=stood.actor,
                timeout=ASIDE_TIMEOUT,
                own=True,  # only who may type here gets here
            )
        except CommandError as exc:
            text = visible(str(exc))
            log.info("a shell could not be ended: %s", text, extra={"agent": self._server.agent_id})
            await self._page.tell("notice", notice="not_ended", text=text)
            with suppress(DatabaseError):  # it may live: else nobody would find it again
                await in_thread(rows.not_closed, shell.pk)
        except (_Out, DatabaseError) as exc:
            log.info("a shell was not ended: %r", exc, extra={"agent": self._server.agent_id})

    # -- who is here ---------------------------------------------------------------------------------

    async def _standing(self) -> Standing:
        stood = await in_thread(standing.read, self._login, self._server.pk)
        if isinstance(stood, ShownOut):
            raise _Out(stood)
        return stood

    async def _keep_within_limits(self, stood: Standing) -> None:
        if person(stood.actor) is None:
            return  # the panel's own host: the node's limits hold there too
        if await in_thread(rows.viewers_of_person, stood.actor) >= MAX_OF_ONE_PERSON:
            raise Refused("too_many_terminals")
        if await in_thread(rows.open_of, stood.server, stood.actor) >= MAX_SHELLS_OF_ONE_PERSON:
            await compare(stood.server)
            if await in_thread(rows.open_of, stood.server, stood.actor) >= MAX_SHELLS_OF_ONE_PERSON:
                raise Refused("too_many_shells")

    async def _enter(self, stood: Standing, shell: Shell) -> None:
        self._shell = shell
        self._viewer = await in_thread(rows.enter, shell.pk, stood.actor, self._size, writes=self._types)
        news.listen_to_shell(str(shell.pk), self._shell_bell)
        self._shell_bell.set()
        await self._announce()

    async def _announce(self) -> None:
        """Tell the other terminals of this shell that somebody came, left, or has another size."""
        if self._shell is None:
            return
        key = str(self._shell.pk)
        news.shell_changed(key)
        await dispatch.announce("shell", shell=key)

    async def _look_again_and_again(self) -> ShownOut:
        while True:
            await _rung(self._shell_bell, LOOK)
            await asyncio.sleep(SETTLE)
            self._shell_bell.clear()
            try:
                seen = await in_thread(self._look)
            except DatabaseError as exc:
                log.warning("the database is away, a terminal cannot be judged: %s", exc)
                continue
            if isinstance(seen, ShownOut):
                return seen
            if seen.types != self._types:
                await self._change_right()
            self._seen = seen
            self._seen_more.set()

    async def _tell_what_is_seen(self) -> None:
        """Tell the page what the last look found; a browser that takes nothing holds up this and no look."""
        while True:
            await self._seen_more.wait()
            self._seen_more.clear()
            await self._tell(self._seen)

    async def _change_right(self) -> None:
        """Join the shell anew: the node waits for who may type, and hears nobody else."""
        stream = self._stream
        if stream is None or stream.over:
            return  # the next joining says it
        self._types, self._changes = False, True
        self._typed.forget(time.monotonic())
        await stream.reset()
        await self._announce()

    def _look(self) -> "ShownOut | _Seen":
        """Ask whether this person may stay, who else is here, and how far the node is; in a thread."""
        stood = standing.read(self._login, self._server.pk)
        if isinstance(stood, ShownOut):
            return stood
        trip = figures.clean_rtt(stood.server.rtt_seconds)
        if self._shell is None or self._viewer is None:
            return _Seen([], trip, types=self._types)
        types = self._wants_to_type and stood.may_type(self._shell)
        if not rows.stay(self._viewer, self._size, writes=types):
            self._viewer = rows.enter(self._shell.pk, stood.actor, self._size, writes=types)
        return _Seen(rows.viewing([self._shell.pk]).get(self._shell.pk, []), trip, types=types)

    async def _tell(self, seen: "_Seen") -> None:
        if (seen.viewers, self._types) != self._told:
            self._told = (seen.viewers, self._types)
            people = [
                {"name": visible(one.name), "writes": one.writes, "you": one.id == str(self._viewer)}
                for one in seen.viewers
            ]
            await self._page.tell("viewers", viewers=people, write=self._types)
        if self.state is State.LIVE and (size := rows.smallest(seen.viewers)) is not None:
            await self._tell_size(size)
        await self._page.tell("rtt", seconds=seen.trip)

    # -- its size ------------------------------------------------------------------------------------

    async def _follow_the_window(self) -> None:
        """Have the node's terminal follow the page's window; of sizes that come quickly the last one counts."""
        while True:
            await self._resized.wait()
            self._resized.clear()
            size, stream = self._size, self._stream
            if stream is None or self._viewer is None:
                continue  # the next joining says it
            params = {"stream": stream.number, "cols": size.cols, "rows": size.rows}
            try:
                await in_thread(rows.stay, self._viewer, size, writes=self._types)
                told = await nodes.arun(
                    self._server, "shell", "resize", params, actor=None, timeout=ASIDE_TIMEOUT
                )
                await self._tell_size(Joined.of(told, size).size)
            except (CommandError, DatabaseError) as exc:
                log.debug("a terminal could not be resized: %r", exc)
            await self._announce()

    async def _tell_size(self, size: Size) -> None:
        if size != self._told_size:
            self._told_size = size
            await self._page.tell("size", cols=size.cols, rows=size.rows)

    # -- its state -----------------------------------------------------------------------------------

    async def _say_opened(self, joined: Joined, stream: transports.ByteStream) -> None:
        """Tell the page where the output goes on; more of it comes than is asked for when some is not kept any more."""
        gap = joined.offset - self._position
        assert self._shell is not None  # noqa: S101 - every way here has one
        self._position = self._shown = joined.offset
        self._joined_at, self._busy_since = time.monotonic(), None
        self._told_size = joined.size
        self._stream = stream
        self.state = _stepped(self.state, State.LIVE)
        await self._page.tell(
            "opened",
            shell=str(self._shell.pk),
            offset=joined.offset,
            end=joined.end,
            gap=max(0, gap),
            cols=joined.size.cols,
            rows=joined.size.rows,
            write=self._types,
            mine=str(self._shell.opened_by_id) == self._login.user,
            opener=visible(self._shell.opener),
            recorded=await in_thread(recorded.is_recorded, self._shell.pk),
        )

    async def _say_lost(self, why: str) -> None:
        """Say that the tunnel is lost, if the page believes that it is not."""
        if self.state is State.LIVE:
            await self._step(State.LOST, why=why, typed=self._typed.forget(time.monotonic()))

    async def _step(self, to: State, **members: Any) -> None:
        self.state = _stepped(self.state, to)
        await self._page.tell("state", state=to.value, **members)


@dataclass(frozen=True)
class _Seen:
    """What a look found."""

    viewers: list[Viewing]
    trip: float | None
    types: bool


class _Out(Exception):
    """This person may be here no more."""

    def __init__(self, shown_out: ShownOut) -> None:
        super().__init__(shown_out.why)
        self.shown_out = shown_out


async def compare(server: Server) -> bool:
    """Take a node's own list of its shells; False when it could not be asked."""
    try:
        told = await nodes.arun(server, "shell", "list", actor=None, timeout=ASIDE_TIMEOUT)
        if not isinstance(told["shells"], list):
            raise _nonsense()
        await in_thread(rows.compare, server, told["shells"])
    except (CommandError, DatabaseError, KeyError, TypeError) as exc:
        log.debug("a node's shells could not be read: %r", exc, extra={"agent": server.agent_id})
        return False
    return True


def _is_there(server: int) -> bool:
    return presence.live_sessions().filter(server=server).exists()


def _stepped(state: State, to: State) -> State:
    if to not in STEPS[state]:
        raise RuntimeError(f"a terminal goes from {state.value} to {to.value}")
    return to


def _refusal(exc: CommandError) -> Refused:
    if isinstance(exc, SecondFactorNeeded):
        return Refused("second_factor")
    if isinstance(exc, NotAllowed):
        return Refused("not_allowed")
    return Refused(exc.code, visible(str(exc)))


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _nonsense()
    return value


def _nonsense() -> CommandFailed:
    return CommandFailed(Code.INTERNAL.value, "the node's answer made no sense")


async def _rung(bell: asyncio.Event, seconds: float) -> None:
    """Wait for a bell, or that long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await bell.wait()
