"""The socket of a terminal page, `/tunnel/ws/<agent_id>/shell/`: what is said on it is in `tunnel.shells.messages`."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final

from channels.auth import AuthMiddlewareStack
from channels.exceptions import StopConsumer
from django.db import Error as DatabaseError

from servers import tokens
from servers.models import ApiToken, Server
from servers.text import visible
from servers.threads import in_thread
from tunnel import origins, viewers, worker
from tunnel.page_sockets import Message, PageSocket, refuse
from tunnel.shells import messages, standing
from tunnel.shells.messages import Ack, Answer, Attach, BadMessage, End, Eof, Open, Ping, Pipe, Resize
from tunnel.shells.piped import Piped
from tunnel.shells.standing import AnyLogin, Login, ShownOut, Standing, TokenLogin
from tunnel.shells.terminal import Terminal
from tunnel.subscriptions import NO_LONGER_WELCOME, NORMAL, TRY_AGAIN

log = logging.getLogger("tunnel.shells")

RUBBISH: Final = 4008  # no page of ours talks so
WISH_WITHIN: Final = 10.0  # seconds in which a page says what it wants
MAX_BINARY: Final = 64 * 1024  # bytes typed in one message; a paste comes in pieces

_TOKEN: Final = "tunnel.token"  # noqa: S105 - where the scope holds the token that was shown


class ShellConsumer(PageSocket):
    """One terminal page. When its socket is gone the terminal goes too, and the shell stays."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._terminal: Terminal | None = None
        self._piped: Piped | None = None  # instead of a terminal
        self._life: asyncio.Task[None] | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._sending = asyncio.Lock()
        self._login: AnyLogin | None = None
        self._server: Server | None = None

    # -- the page's side -----------------------------------------------------------------------------

    async def connect(self) -> None:
        """Let in who may have a terminal here."""
        found = await self._admit()
        if found is None:
            await refuse(self.send)
            raise StopConsumer
        login, stood = found
        self._login, self._server = login, stood.server
        await self.send({"type": "websocket.accept"})
        await worker.current()  # what happens at other workers is heard by a worker only
        self._patience = asyncio.get_running_loop().call_later(WISH_WITHIN, self._give_up)
        await self.tell("hello", node=visible(stood.server.name))

    async def _admit(self) -> tuple[AnyLogin, Standing] | None:
        """Return who opens this socket; None for who may not have a terminal on this node, there or not."""
        login = _login_of(self.scope)
        if login is None:
            return None
        agent_id = self.scope["url_route"]["kwargs"]["agent_id"]
        stood = await in_thread(_stand, login, agent_id)
        return (login, stood) if isinstance(stood, Standing) else None

    async def receive(self, message: Message) -> None:
        """Take what was typed or said."""
        data = message.get("bytes")
        if data is not None:
            await self._typed(data)
            return
        try:
            said = messages.parse(message.get("text") or "")
        except BadMessage as exc:
            log.warning("a terminal page said something strange: %s", exc)
            await self._close(RUBBISH)
            raise StopConsumer from exc
        await self._hear(said)

    async def _hear(self, said: messages.Message) -> None:
        if isinstance(said, Ping):
            await self.tell("pong", n=said.n)
        elif isinstance(said, Open | Attach | Pipe):
            self._begin(said)
        elif self._piped is not None:
            await self._hear_of_pipes(self._piped, said)
        elif self._terminal is None:
            return
        elif isinstance(said, Ack):
            self._terminal.shown(said.position)
        elif isinstance(said, Resize):
            self._terminal.resize(said.size)
        elif isinstance(said, Answer):
            self._terminal.answered(said.data)
        elif isinstance(said, End):
            self._terminal.end_shell()

    async def _hear_of_pipes(self, piped: Piped, said: messages.Message) -> None:
        if isinstance(said, Ack):
            piped.shown(said.position)
        elif isinstance(said, Eof):
            piped.end_input()
        elif isinstance(said, End):
            await self._close(NORMAL)
            raise StopConsumer

    async def _typed(self, data: bytes) -> None:
        untold = self._piped is not None and not self._piped.typed(data)
        if len(data) > MAX_BINARY or untold:
            await self._close(RUBBISH)
            raise StopConsumer
        if self._terminal is not None and not self._terminal.typed(data):
            await self.tell("notice", notice="not_read")

    def _begin(self, wish: Open | Attach | Pipe) -> None:
        """Start the terminal, or a shell without one; a page says once what it wants."""
        if self._terminal is not None or self._piped is not None:
            return
        if self._login is None or self._server is None:
            return
        if self._patience is not None:
            self._patience.cancel()
        life: Coroutine[Any, Any, ShownOut | None]
        if isinstance(wish, Pipe):
            self._piped = Piped(self._login, self._server, self)
            life = self._piped.run(wish)
        else:
            self._terminal = Terminal(self._login, self._server, self)
            life = self._terminal.run(wish)
        self._life = asyncio.create_task(self._run(life), name="tunnel terminal page")

    async def _run(self, life: Coroutine[Any, Any, ShownOut | None]) -> None:
        """Let the terminal live, and tell the page if it is not by its own doing that it ends."""
        try:
            shown_out = await life
            if shown_out is not None:
                log.info("a terminal is closed: %s user=%s", shown_out.why, self._who())
                await self.tell("state", state="ended", why=shown_out.why)
                await self._close(NO_LONGER_WELCOME)
        except DatabaseError as exc:
            log.warning("a terminal is closed, the database is away: %s", exc)
            await self._close(TRY_AGAIN)
        except Exception:
            log.exception("a terminal failed")
            await self._close(TRY_AGAIN)

    def _who(self) -> str:
        return self._login.user if self._login is not None else "-"

    def _give_up(self) -> None:
        self._life = asyncio.create_task(self._close(NORMAL), name="tunnel terminal page")

    async def leave(self) -> None:
        """End the terminal."""
        if self._patience is not None:
            self._patience.cancel()
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait([self._life])

    # -- the terminal's side -------------------------------------------------------------------------

    async def tell(self, kind: str, **members: Any) -> None:
        """Send the page a message."""
        await self._send({"type": "websocket.send", "text": messages.said(kind, **members)})

    async def write(self, data: bytes) -> None:
        """Send the page bytes of the terminal."""
        await self._send({"type": "websocket.send", "bytes": data})

    async def taken(self, count: int) -> None:
        """Tell a program how much of what it typed is under way, so that it types no more than is kept."""
        if isinstance(self._login, TokenLogin):
            await self.tell("taken", count=count)

    async def _close(self, code: int) -> None:
        await self._send({"type": "websocket.close", "code": code})

    async def _send(self, message: Message) -> None:
        async with self._sending:
            try:
                await self.send(message)
            except Exception as exc:  # noqa: BLE001 - every server has its own error for a socket that is gone
                log.debug("a terminal page is gone: %r", exc)


def _login_of(scope: Any) -> AnyLogin | None:
    token: ApiToken | None = scope.get(_TOKEN)
    if token is not None:
        return TokenLogin(token.pk, str(token.user_id))
    viewer = viewers.of_scope(scope)
    return None if viewer is None else Login(viewer, scope["session"])


def _stand(login: AnyLogin, agent_id: str) -> standing.Standing | standing.ShownOut:
    pk = Server.objects.filter(agent_id=agent_id).values_list("pk", flat=True).first()
    return standing.ShownOut("deleted") if pk is None else standing.read(login, pk)


_plain = ShellConsumer.as_asgi()
_authenticated = AuthMiddlewareStack(_plain)


async def shell_application(scope: Message, receive: Any, send: Any) -> None:
    """Let only our own pages and programs with a token in, find out who it is, and serve the terminal.

    A page of another site cannot show a token, so who shows one needs no Origin; and its cookies count for nothing.
    """
    shown = origins.token_shown(scope)
    if shown is None and not origins.ours(scope):
        log.warning("a terminal from another site was refused origin=%s", origins.claimed(scope))
        await refuse(send)
        return
    try:
        if shown is None:
            await _authenticated(scope, receive, send)
            return
        token = await in_thread(tokens.find, shown)
        if token is None:
            log.warning("a terminal was refused: the token is worth nothing")
            await refuse(send)
            return
        await _plain({**scope, _TOKEN: token}, receive, send)
    except DatabaseError as exc:
        log.warning("a terminal could not be opened, the database is away: %s", exc)
        await send({"type": "websocket.close", "code": TRY_AGAIN})
