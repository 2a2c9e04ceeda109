"""How servers are reached: the interface of a transport, and which transport serves which connection type."""

from typing import Any, Protocol

from agent_client.protocol.codes import Code
from servers.errors import CommandFailed
from servers.models import Server

Params = dict[str, Any]


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
    ) -> Any:
        """Refuse the command."""
        raise CommandFailed(Code.UNKNOWN_ACTION.value, f"{service}.{action} was not run: {self.reason}")

    async def arun(self, server: Server, service: str, action: str, params: Params, **_: Any) -> Any:
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
