"""The tables of this app."""

from servers.models.command import CommandRecord
from servers.models.group import Grant, ServerGroup
from servers.models.server import AGENT_ID_LENGTHS, AGENT_ID_PATTERN, IDENTITY_FIELDS, Server, Tag
from servers.models.token import ApiToken

__all__ = [
    "AGENT_ID_LENGTHS",
    "AGENT_ID_PATTERN",
    "IDENTITY_FIELDS",
    "ApiToken",
    "CommandRecord",
    "Grant",
    "Server",
    "ServerGroup",
    "Tag",
]
