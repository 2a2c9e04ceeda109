"""One who looks at a shell, and perhaps types in it: the node's end of one stream."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

from agent_client.protocol.codes import Code
from agent_client.protocol.text import JsonObject
from agent_client.streams import Broken, Done, Line, Taken

if TYPE_CHECKING:
    from agent_client.shells.shell import Shell


@dataclass(frozen=True)
class Size:
    """Columns and rows of a screen."""

    cols: int
    rows: int


class Viewer:
    """Passes on to the shell what the link says. Its fields belong to the shell, which guards them."""

    interactive = True

    def __init__(
        self, shell: "Shell", position: int, size: Size, *, writes: bool, records: bool = False
    ) -> None:
        self.position = position  # of the next byte it gets
        self.size = size
        self.writes = writes
        self.records = records  # nobody who looks: it has no size, and the shell is not kept for it
        self.line: Optional[Line] = None
        self.verdict: Optional[Taken] = None  # how its stream ends, once that is decided
        self._shell = shell

    def attach(self, line: Line) -> None:
        """The stream is open."""
        self.line = line
        line.wake()  # there may be output already

    def take(self, most: int) -> Taken:
        """Give the output that comes next for this viewer."""
        return self._shell.take(self, most)

    def received(self, data: bytes) -> None:
        """Type."""
        self._shell.type(self, data)

    def ended(self, detail: Optional[JsonObject]) -> None:  # noqa: ARG002 - the seam's signature
        """A viewer that will never type again leaves; our END answers."""
        self._shell.leave(self, Done())
        self.wake()

    def lost(self, code: Code, error: str) -> None:
        """The stream is gone, the shell stays."""
        self._shell.leave(self, Broken(code, error))

    def wake(self) -> None:
        """Have the link ask for what comes next."""
        if self.line is not None:
            self.line.wake()
