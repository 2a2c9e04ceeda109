"""How a command ended, in a form that travels between workers."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from agent_client.protocol.codes import Code
from agent_client.protocol.events import ReplyReceived
from servers import errors


@dataclass(frozen=True)
class Opened:
    """A stream that a success has opened: its number, and the windows of both sides in bytes.

    `grants` is what the agent may send at first and `most` what that may grow to, `may_send` what it takes.
    """

    number: int
    may_send: int
    grants: int
    most: int


@dataclass(frozen=True)
class Outcome:
    """Data, or a code with a sentence; an empty sentence means the usual one of that code."""

    data: Any = None
    code: Code | None = None
    error: str = ""
    opened: Opened | None = None

    def result(self) -> Any:
        """Return the data.

        Raises:
            servers.errors.CommandError: the command did not succeed.
        """
        if self.code is None:
            return self.data
        raise errors.from_code(self.code.value, self.error)

    def to_members(self) -> dict[str, Any]:
        """Encode for a letter."""
        if self.code is not None:
            return {"code": self.code.value, "error": self.error}
        return {"data": self.data} | ({"opened": asdict(self.opened)} if self.opened else {})

    @classmethod
    def from_members(cls, members: dict[str, Any]) -> "Outcome":
        """Decode from a letter, whose seal was checked."""
        if "code" in members:
            return cls(code=Code(members["code"]), error=members["error"])
        opened = members.get("opened")
        return cls(data=members["data"], opened=Opened(**opened) if opened else None)

    @classmethod
    def from_reply(cls, event: ReplyReceived) -> "Outcome":
        """What an agent answered."""
        reply, opened = event.reply, None
        if event.stream is not None:
            opened = Opened(event.stream, event.may_send, event.grants, event.most)
        return cls(reply.data, reply.code, reply.error or "", opened)


OnOutcome = Callable[[Outcome], None]
