"""What an agent answers about its shells, read with the distrust that a node deserves."""

from dataclasses import dataclass
from typing import Any

from agent_client.protocol.codes import Code
from servers.errors import CommandFailed
from tunnel.shells.rows import Size, is_code


@dataclass(frozen=True)
class Joined:
    """What the agent answers to shell.open, shell.attach and shell.resize."""

    handle: str
    offset: int
    end: int  # up to here it is output of before, which answers to nothing
    size: Size
    program: str

    @classmethod
    def of(cls, data: Any, size: Size) -> "Joined":
        """Read it; what it does not say is as it was asked for.

        Raises:
            CommandFailed: this is no such answer.
        """
        said = data if isinstance(data, dict) else {}
        handle, program = said.get("handle", ""), said.get("shell", "")
        offset = _count(said.get("offset", 0))
        end = _count(said.get("end", offset))
        joined = Size(_count(said.get("cols", size.cols)), _count(said.get("rows", size.rows)))
        if not isinstance(handle, str):
            raise nonsense()
        return cls(handle, offset, end, joined, str(program))


def exit_code(detail: dict[str, Any] | None) -> int | None:
    """Return the exit code that came with the end of a stream, if that is one."""
    code = (detail or {}).get("exitCode")
    return code if isinstance(code, int) and is_code(code) else None


def nonsense() -> CommandFailed:
    """Return the error of an answer that is none."""
    return CommandFailed(Code.INTERNAL.value, "the node's answer made no sense")


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise nonsense()
    return value
