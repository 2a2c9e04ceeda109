"""A command before it is sent, and what both ends of a relayed one must agree on."""

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from agent_client.protocol.messages import Command
from tunnel.letters import Envelope

INTERACTIVE = frozenset({"shell"})  # services in whose streams a person waits for each byte
BULK = frozenset({("shell", "pipe")})  # and what nobody types into nevertheless
REPLY_GRACE = 1.0  # seconds a caller waits beyond the timeout, for the agent's own `timeout` answer


@dataclass(frozen=True)
class Request:
    """A command before it is sent; `id` is its command id, `timeout` the seconds it may take on the node.

    The success of a `streamed` one opens a stream.
    """

    service: str
    action: str
    params: dict[str, Any] = field(default_factory=dict)
    timeout: float = 10.0
    short: bool = False
    streamed: bool = False
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def interactive(self) -> bool:
        """Tell whether a person waits for each byte of its stream."""
        return self.service in INTERACTIVE and (self.service, self.action) not in BULK

    @property
    def patience(self) -> float:
        """Seconds its caller waits for the answer."""
        return self.timeout + REPLY_GRACE

    def command(self) -> Command:
        """The message for the agent, stamped now."""
        timeout = None if self.short else self.timeout
        return Command(
            self.id, self.service, self.action, time.time(), self.params, timeout=timeout, short=self.short
        )

    def to_envelope(self) -> Envelope:
        """Encode for a letter."""
        return {
            "id": self.id,
            "service": self.service,
            "action": self.action,
            "params": self.params,
            "short": self.short,
            "timeout": self.timeout,
            "streamed": self.streamed,
        }

    @classmethod
    def from_envelope(cls, envelope: Envelope) -> "Request":
        """Decode from a letter, whose seal was checked."""
        return cls(
            envelope["service"],
            envelope["action"],
            envelope["params"],
            timeout=envelope["timeout"],
            short=envelope["short"],
            id=envelope["id"],
            streamed=envelope["streamed"],
        )
