"""The servers in Django's admin."""

from servers.admin.commands import CommandRecordAdmin
from servers.admin.servers import ServerAdmin
from servers.admin.tags import TagAdmin

__all__ = ["CommandRecordAdmin", "ServerAdmin", "TagAdmin"]
