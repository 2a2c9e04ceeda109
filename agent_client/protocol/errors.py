"""Errors of the protocol.

TunnelError
├── ProtocolError            the peer broke a rule
│   ├── MalformedMessage     not JSON, not an object, a member of the wrong type
│   │   └── RejectedCommand  the same, in a command whose id is known and can be answered
│   ├── MessageTooLarge
│   ├── MessageTooDeep
│   ├── MalformedFrame
│   └── StreamBroken         a frame against the rules of its stream, which is RESET with `code`
├── InvalidState             we broke a rule: a bug
└── NotSendable              a session that is whole cannot take the command
    ├── TooManyPending       more commands await a reply than one session may hold
    ├── TooManyStreams       more streams are open than one session may hold
    └── NoStreams            a basic agent opens none
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


class StreamBroken(ProtocolError):
    """A frame against the rules of its stream; only this stream ends, with RESET and `code`."""

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class InvalidState(TunnelError):
    """Our own code asked for a step that is not legal now: a bug, never the peer's doing."""


class NotSendable(TunnelError):
    """The session cannot take the command, which was not sent."""


class TooManyPending(NotSendable):
    """A session holds as many unanswered commands as it may."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.limit} commands already await a reply from this agent, wait for some of them"


class TooManyStreams(NotSendable):
    """A session holds as many streams as it may."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.limit} streams are open to this agent already, wait for some of them to end"


class NoStreams(NotSendable):
    """The agent is a basic one."""

    def __str__(self) -> str:
        return "a basic agent opens no streams"
