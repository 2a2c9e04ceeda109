"""What other apps can hear about servers."""

from django.db import transaction
from django.dispatch import Signal

from servers.models import Server

# Sent with sender=Server, server_id: int, agent_id: str after the commit of a change to what makes an agent welcome
# (status, connection type, secret, agent id) or of a deletion. `agent_id` is the one from before: a live session
# dialled in under it. The first contact (unknown -> active) changes nobody's welcome and is not announced.
identity_changed = Signal()

# Sent with sender=Server, server_id, agent_id, command_id, service, action, state, code, duration_seconds and actor
# when a recorded command came to its end, in the thread of `servers.telling`.
command_finished = Signal()


def announce(server_id: int, agent_id: str, *, using: str | None = None) -> None:
    """Send `identity_changed` once the transaction under way is committed; a failing listener is logged by Django."""
    transaction.on_commit(
        lambda: identity_changed.send_robust(sender=Server, server_id=server_id, agent_id=agent_id),
        using=using,
    )
