"""How servers are reached: the interface of a transport, and which transport serves which connection type."""

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, NoReturn, Protocol, Self

from agent_client.protocol.codes import Code
from servers.errors import CommandFailed
from servers.models import Server

Params = dict[str, Any]


WINDOW = 256 * 1024  # bytes of a stream that may be on their way to a reader that has not taken them


class ByteStream(Protocol):
    """A flow of bytes in both directions between the panel and something on a server; used on one event loop.

        async with await nodes.open_stream(server, "system", "exec", {"argv": ["dmesg", "-w"]}) as stream:
            async for piece in stream:
                ...

    One task reads and one writes at a time. Leaving the block ends what is not over.
    """

    number: int  # of this stream on its agent's socket; `shell.resize` wants it
    data: Any  # what the command that opened it was answered

    @property
    def end_detail(self) -> dict[str, Any] | None:
        """What the other side said with its end: an exit code, a digest."""

    @property
    def over(self) -> bool:
        """Tell whether both sides are done, or it broke."""

    async def read(self) -> bytes:
        """Return what has come, empty once the other side has said its end.

        The other side may send more only as `consumed` says that what came was used.

        Raises:
            StreamLost: it broke; what had come before was read before.
        """

    def consumed(self, count: int) -> None:
        """Say that so many bytes of what was read are used, so that as many more may come."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield what comes until the end; each piece counts as used when the next one is asked for."""

    async def read_all(self, most: int) -> bytes:
        """Return everything up to the end, which must be at most `most` bytes.

        Raises:
            StreamLost: it broke, or it was more, which ends it as `too_large`.
        """

    async def write(self, data: bytes) -> None:
        """Send bytes; waits while the other side takes none.

        Raises:
            StreamLost: it broke.
        """

    async def write_end(self, detail: dict[str, Any] | None = None) -> None:
        """Say that nothing more will be written; reading goes on."""

    async def reset(self, code: str = Code.CANCELLED.value, error: str = "") -> None:
        """End both directions at once, if it is not over; reads and writes under way raise StreamLost with `code`."""

    async def __aenter__(self) -> Self:
        """Return the stream."""

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the stream if it is not over."""


class Transport(Protocol):
    """Carries one command to one server and its answer back."""

    name: str

    def run(
        self, server: Server, service: str, action: str, params: Params, *, timeout: float, command_id: str
    ) -> Any:
        """Return the answer's data; `timeout` is in seconds, `command_id` names the command on the wire.

        Raises:
            CommandError: it did not end well; the error says whether it ran.
        """

    async def arun(
        self, server: Server, service: str, action: str, params: Params, *, timeout: float, command_id: str
    ) -> Any:
        """Do as `run` does, on an event loop. A cancelled caller cancels the command."""

    async def open_stream(
        self,
        server: Server,
        service: str,
        action: str,
        params: Params,
        *,
        timeout: float,
        command_id: str,
        window: int,
    ) -> ByteStream:
        """Run a command whose success opens a stream, in which at most `window` bytes come before they are used.

        `timeout` is for the answer; the stream lasts until it ends. A cancelled caller cancels the command.

        Raises:
            CommandError: it was not opened; the error says whether the command ran.
        """

    def capabilities(self, server: Server) -> list[str]:
        """Return the names of the services this server offers now."""


class Absent:
    """Stands where there is no transport, and says so in words."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason

    def run(
        self,
        server: Server,  # noqa: ARG002
        service: str,
        action: str,
        params: Params,  # noqa: ARG002
        **_: Any,
    ) -> NoReturn:
        """Refuse the command."""
        raise CommandFailed(Code.UNKNOWN_ACTION.value, f"{service}.{action} was not run: {self.reason}")

    async def arun(self, server: Server, service: str, action: str, params: Params, **_: Any) -> Any:
        """Refuse the command."""
        self.run(server, service, action, params)

    async def open_stream(
        self,
        server: Server,
        service: str,
        action: str,
        params: Params,
        **_: Any,
    ) -> ByteStream:
        """Refuse the command."""
        self.run(server, service, action, params)

    def capabilities(self, server: Server) -> list[str]:  # noqa: ARG002
        """Return that nothing is offered."""
        return []


_transports: dict[str, Transport] = {}


def register(connection_type: str, transport: Transport) -> None:
    """Serve `connection_type` by `transport` in this process, in place of the one before; call it in ready()."""
    _transports[connection_type] = transport


def is_registered(connection_type: str) -> bool:
    """Tell whether this process has a transport for `connection_type`."""
    return str(connection_type) in _transports


def for_server(server: Server) -> Transport:
    """Return the transport of a server; where there is none, one that refuses every command and says why."""
    kind = str(server.connection_type)
    registered = _transports.get(kind)
    return registered or Absent(kind, f"no app in INSTALLED_APPS reaches servers of type {kind}")


def register_absent() -> None:
    """Fill the places of the types this release cannot reach yet; a transport that stands there already stays."""
    for kind in (Server.ConnectionType.HTTP, Server.ConnectionType.SSH):
        reason = f"servers of type {kind.value} are listed but not reached yet, change the connection type to tunnel"
        _transports.setdefault(kind.value, Absent(kind.value, reason))
