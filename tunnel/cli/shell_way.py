"""What `tunnel shell` and its panel say to each other, in the words of the terminal page's socket (docs/terminal.md)."""

from typing import Any, Protocol

Said = dict[str, Any]


class WayLost(Exception):
    """The panel is gone in mid-word; the shell is not, and can be attached to again."""


class Screenful(Protocol):
    """Who sits in front: `tunnel.cli.shell_session.Session` or `tunnel.cli.shell_piped.PipedSession`."""

    def told(self, said: Said) -> None:
        """Take a message of the panel."""

    def came(self, data: bytes) -> None:
        """Take output of the shell."""


class ShellWay(Protocol):
    """The way to one shell; `tunnel.cli.shell_here` and `tunnel.cli.shell_socket` are the two."""

    async def run(self, wish: Said, front: Screenful) -> None:
        """Live until the shell is ended or not to be had; `wish` is an `open`, `attach` or `pipe`.

        Raises:
            WayLost: it broke; it may be run again with an `attach`.
            Failure: it cannot be had.
        """

    def typed(self, data: bytes) -> None:
        """Type."""

    def say(self, said: Said) -> None:
        """Say `resize`, `ack`, `eof` or `end`."""
