"""What an agent answers about its shells, read with the distrust that a node deserves."""

from dataclasses import dataclass
from typing import Any, Final

from agent_client.protocol.codes import Code
from servers.errors import CommandFailed
from tunnel.shells.rows import Size, is_code

MOST_POSITION: Final = 2**53  # what JavaScript counts exactly; a terminal writes less in a thousand years
MOST_SIDE: Final = 1000  # characters, as an agent takes them: a browser makes room for every one


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
        offset = _number(said.get("offset", 0), 0, MOST_POSITION)
        end = _number(said.get("end", offset), 0, MOST_POSITION)
        joined = Size(
            _number(said.get("cols", size.cols), 1, MOST_SIDE),
            _number(said.get("rows", size.rows), 1, MOST_SIDE),
        )
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


def _number(value: Any, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise nonsense()
    return value
