"""The seam between a service that opens a stream and the link's thread that carries it (docs/protocol.md §4).

Bytes are pulled: nothing is queued before the line has room, so that a program nobody reads from is held back
by the operating system and not by our memory.
"""

from dataclasses import dataclass
from typing import Any, Optional, Protocol, Union

from agent_client.protocol.codes import Code
from agent_client.protocol.text import JsonObject


@dataclass(frozen=True)
class Done:
    """All was sent; `detail` goes along with END."""

    detail: Optional[JsonObject] = None


@dataclass(frozen=True)
class Broken:
    """The stream cannot go on in either direction; `error` is a sentence for people."""

    code: Code
    error: str


Taken = Union[bytes, Done, Broken, None]


class Line(Protocol):
    """What an endpoint may do with its stream; from any thread."""

    number: int

    def wake(self) -> None:
        """Have `take` called soon."""

    def consumed(self, count: int) -> None:
        """Say that `count` received bytes are used up, so that the master may send as many more."""


class Endpoint(Protocol):
    """The node's end of a stream. All is called in the link's thread, so that nothing may wait here.

    `attach` comes first, or `lost` alone when the session was gone before the stream opened. After `lost`, and
    after `take` gave `Broken`, nothing more is called.
    """

    interactive: bool

    def attach(self, line: Line) -> None:
        """The stream is open."""

    def take(self, most: int) -> Taken:
        """Give the next bytes, `most` of them or less; None when there are none now.

        With 0 the window is closed: only `Done` and `Broken`, which need no room, may be given.
        """

    def received(self, data: bytes) -> None:
        """The master sent bytes; `Line.consumed` gives their room back."""

    def ended(self, detail: Optional[JsonObject]) -> None:
        """The master sends no more bytes."""

    def lost(self, code: Code, error: str) -> None:
        """The stream is over: reset by the master, cancelled, or gone with its session."""


@dataclass(frozen=True)
class Opened:
    """What an action that opens a stream returns: the data of its reply, and who is at our end.

    `window` is how many bytes the master may send at first.
    """

    data: Any
    endpoint: Endpoint
    window: int
