"""The transport of servers whose type is `tunnel`, behind the one door `servers.nodes`."""

from typing import Any

from servers.models import Server
from servers.transports import ByteStream
from tunnel import dispatch
from tunnel.requests import Request


class TunnelTransport:
    """Runs commands through the agent's tunnel."""

    name = "tunnel"

    def run(
        self,
        server: Server,
        service: str,
        action: str,
        params: dict[str, Any],
        *,
        timeout: float,
        command_id: str,
    ) -> Any:
        """Run a command from a thread; see `dispatch.send_command` for what it returns and raises."""
        return dispatch.run(server.agent_id, Request(service, action, params, timeout, id=command_id))

    async def arun(
        self,
        server: Server,
        service: str,
        action: str,
        params: dict[str, Any],
        *,
        timeout: float,
        command_id: str,
    ) -> Any:
        """Run a command on an event loop."""
        return await dispatch.arun(server.agent_id, Request(service, action, params, timeout, id=command_id))

    async def open_stream(
        self,
        server: Server,
        service: str,
        action: str,
        params: dict[str, Any],
        *,
        timeout: float,
        command_id: str,
        window: int,
    ) -> ByteStream:
        """Open a stream on an event loop."""
        params = params | {"window": window}
        request = Request(service, action, params, timeout, streamed=True, id=command_id)
        return await dispatch.open_stream(server.agent_id, request)

    def capabilities(self, server: Server) -> list[str]:
        """The services the agent told of when it last connected."""
        return list(server.capabilities)
