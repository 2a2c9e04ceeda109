"""What a command asks of a panel: answered from the database on the panel's own host, or over REST from anywhere."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Protocol

from tunnel.cli.facts import Change, Node, Refused, Secret
from tunnel.cli.finding import Finding
from tunnel.cli.shell_way import ShellWay


class Panel(Protocol):
    """One end; `tunnel.cli.local.Local` and `tunnel.cli.remote.Remote` are the two.

    Each call may raise `tunnel.cli.exits.Failure`, whose sentence says why.
    """

    remote: ClassVar[bool]
    max_timeout: ClassVar[float]  # seconds a command may take on the node

    def nodes(self, tags: Sequence[str] = ()) -> list[Node]:
        """Return the servers that carry any of the tags, by name; all when there are no tags."""

    def find(self, node: str) -> Node:
        """Return the server of that name, else of that agent id.

        Raises:
            Failure: there is none; the sentence offers the nearest names.
        """

    def refused(self, node: Node) -> Refused | None:
        """Return how handshakes of its agent were refused last, None when none was since its last session opened."""

    def require_tunnels(self, nodes: Sequence[Node]) -> None:
        """See that commands can get from here to these nodes at all."""

    async def ask(self, node: Node, service: str, action: str, params: dict[str, Any], timeout: float) -> Any:
        """Run one action of one service and return its data.

        Raises:
            CommandError: it did not end well; `ran` says "no", "yes" or "unknown".
        """

    def shell(self, node: Node) -> ShellWay:
        """Return the way to a shell of this node."""

    def add(self, name: str, agent_id: str | None, tags: Sequence[str]) -> Secret:
        """Add a server."""

    def suspend(self, node: Node) -> Change:
        """Refuse the server's agent and cut its tunnel."""

    def reactivate(self, node: Node) -> Change:
        """Let a suspended server back in."""

    def disconnect(self, node: Node) -> Change:
        """Cut the server's tunnel; its agent dials again by itself."""

    def rotate_secret(self, node: Node) -> Secret:
        """Give the server a new secret and cut its tunnel."""

    def findings(self, node: str | None) -> Iterator[Finding]:
        """Check what stands between here and working tunnels, step by step."""
