"""A node's own list of its shells, compared with the panel's rows."""

import logging
from typing import Final

from django.db import Error as DatabaseError

from servers import nodes
from servers.errors import CommandError
from servers.models import Server
from servers.threads import in_thread
from tunnel.shells import rows
from tunnel.shells.answers import nonsense

log = logging.getLogger("tunnel.shells")

LIST_TIMEOUT: Final = 5.0  # seconds; who waits for it looks at a page


async def compare(server: Server) -> bool:
    """Take a node's own list of its shells; False when it could not be asked."""
    try:
        told = await nodes.arun(server, "shell", "list", actor=None, timeout=LIST_TIMEOUT)
        if not isinstance(told["shells"], list):
            raise nonsense()
        await in_thread(rows.compare, server, told["shells"])
    except (CommandError, DatabaseError, KeyError, TypeError) as exc:
        log.debug("a node's shells could not be read: %r", exc, extra={"agent": server.agent_id})
        return False
    return True
