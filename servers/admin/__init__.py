"""The servers in Django's admin."""

from servers.admin.commands import CommandRecordAdmin
from servers.admin.groups import ServerGroupAdmin
from servers.admin.servers import ServerAdmin
from servers.admin.tags import TagAdmin

__all__ = ["CommandRecordAdmin", "ServerAdmin", "ServerGroupAdmin", "TagAdmin"]
