"""Errors of the protocol.

TunnelError
├── ProtocolError            the peer broke a rule
│   ├── MalformedMessage     not JSON, not an object, a member of the wrong type
│   │   └── RejectedCommand  the same, in a command whose id is known and can be answered
│   ├── MessageTooLarge
│   ├── MessageTooDeep
│   └── MalformedFrame
├── InvalidState             we broke a rule: a bug
└── TooManyPending           more commands await a reply than one session may hold
"""

from agent_client.protocol.codes import Code


class TunnelError(Exception):
    """Root of every error of the tunnel."""


class ProtocolError(TunnelError):
    """The peer broke a rule of the protocol."""


class MalformedMessage(ProtocolError):
    """A message that is not what the protocol describes."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RejectedCommand(MalformedMessage):
    """A command that can be answered, but not run."""

    def __init__(self, command_id: str, code: Code, reason: str) -> None:
        super().__init__(reason)
        self.command_id = command_id
        self.code = code


class MessageTooLarge(ProtocolError):
    """A message beyond the size both sides agreed on."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(size, limit)
        self.size = size
        self.limit = limit

    def __str__(self) -> str:
        return f"message of {self.size} bytes exceeds the limit of {self.limit} bytes"


class MessageTooDeep(ProtocolError):
    """JSON nested deeper than any message of the protocol."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"message is nested deeper than {self.limit} levels"


class MalformedFrame(ProtocolError):
    """A binary message that is no stream frame."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class InvalidState(TunnelError):
    """Our own code asked for a step that is not legal now: a bug, never the peer's doing."""


class TooManyPending(TunnelError):
    """A session holds as many unanswered commands as it may."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.limit} commands already await a reply from this agent, wait for some of them"
