"""How a command ended, in a form that travels between workers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agent_client.protocol.codes import Code
from agent_client.protocol.messages import Reply
from servers import errors


@dataclass(frozen=True)
class Outcome:
    """Data, or a code with a sentence; an empty sentence means the usual one of that code."""

    data: Any = None
    code: Code | None = None
    error: str = ""

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
        if self.code is None:
            return {"data": self.data}
        return {"code": self.code.value, "error": self.error}

    @classmethod
    def from_members(cls, members: dict[str, Any]) -> "Outcome":
        """Decode from a letter, whose seal was checked."""
        if "code" in members:
            return cls(code=Code(members["code"]), error=members["error"])
        return cls(data=members["data"])

    @classmethod
    def from_reply(cls, reply: Reply) -> "Outcome":
        """What an agent answered."""
        return cls(reply.data, reply.code, reply.error or "")


OnOutcome = Callable[[Outcome], None]
