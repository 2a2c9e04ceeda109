"""What other apps can hear about tunnels; `docs/existing-panel.md` says what each signal carries and when."""

from uuid import UUID

from django.dispatch import Signal

from servers import telling
from servers.models import Server
from servers.text import visible
from tunnel.models import CloseReason

agent_connected = Signal()  # server_id, agent_id, session, address, basic
agent_disconnected = Signal()  # server_id, agent_id, session, reason, detail


def connected(server_id: int, agent_id: str, session: UUID, *, address: str | None, basic: bool) -> None:
    """Tell that a session was opened, or taken back by a worker that was late."""
    facts = {
        "server_id": server_id,
        "agent_id": agent_id,
        "session": session,
        "address": address,
        "basic": basic,
    }
    telling.tell(agent_connected, Server, facts)


def disconnected(server_id: int, agent_id: str, session: UUID, reason: CloseReason, detail: str = "") -> None:
    """Tell that a session was ended; by whoever won the race to end it, so once."""
    facts = {
        "server_id": server_id,
        "agent_id": agent_id,
        "session": session,
        "reason": CloseReason(reason),
        "detail": visible(detail),
    }
    telling.tell(agent_disconnected, Server, facts)
