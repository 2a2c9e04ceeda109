"""The servers in Django's admin."""

from servers.admin.commands import CommandRecordAdmin
from servers.admin.groups import ServerGroupAdmin
from servers.admin.servers import ServerAdmin
from servers.admin.tags import TagAdmin
from servers.admin.tokens import ApiTokenAdmin

__all__ = ["ApiTokenAdmin", "CommandRecordAdmin", "ServerAdmin", "ServerGroupAdmin", "TagAdmin"]
