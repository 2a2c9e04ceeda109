"""Service `agent`: the agent about itself (docs/protocol.md §5)."""

from typing import Callable

from agent_client import __version__
from agent_client.calls import Call
from agent_client.commands import Action, Service
from agent_client.protocol.text import JsonObject
from agent_client.settings import Settings


def service(settings: Settings, services: Callable[[], "tuple[str, ...]"]) -> Service:
    """Return the service; `services` names those that are there."""

    def get_config(_call: Call) -> JsonObject:
        return {
            "agentId": settings.agent_id,
            "connectionMode": settings.connection_mode,
            "masters": [address.url for address in settings.masters],
            "caFile": settings.ca_file,
            "allowInsecure": settings.allow_insecure,
            "shellKeep": settings.shell_keep,
            "shellUser": settings.shell_user,
            "services": list(services()),
            "version": __version__,
        }

    return Service("agent", (Action("ping", _ping), Action("getConfig", get_config)))


def _ping(_call: Call) -> JsonObject:
    return {"pong": True, "version": __version__}
