"""What a command knows of a node and of a change, whichever end told it: plain values, without Django."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Tunnel = Literal["cut", "none", "still open"]


@dataclass(frozen=True)
class Node:
    """One server and its tunnel; `state` is a value of `tunnel.presence.State`, times are aware."""

    name: str
    agent_id: str
    connection_type: str
    status: str
    state: str
    since: datetime | None = None
    address: str = ""
    session: str | None = None
    worker: str = ""
    lease_until: datetime | None = None
    close_reason: str = ""
    close_detail: str = ""
    rtt_seconds: float | None = None
    version: str = ""
    capabilities: tuple[Any, ...] = ()
    policy: Any = None
    host: dict[str, Any] = field(default_factory=dict)
    usage: dict[str, Any] | None = None
    usage_at: datetime | None = None
    tags: tuple[str, ...] = ()
    notes: str = ""
    first_seen: datetime | None = None
    last_seen: datetime | None = None

    @property
    def active(self) -> bool:
        """Whether its tunnel is there now."""
        return self.state == "active"


@dataclass(frozen=True)
class Refused:
    """Handshakes in a server's name that were refused since its last session; `reason` is a `RefusalReason`."""

    reason: str
    address: str
    times: int
    at: datetime


@dataclass(frozen=True)
class Change:
    """What a command changed of a server, and what its live tunnel felt of it."""

    name: str
    agent_id: str
    status: str
    changed: bool
    tunnel: Tunnel


@dataclass(frozen=True)
class Secret:
    """A secret that is shown this once; `master_url` is empty when the panel does not know its own address."""

    name: str
    agent_id: str
    secret: str = field(repr=False)
    master_url: str = ""
    tunnel: Tunnel = "none"
