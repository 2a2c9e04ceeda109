"""The REST interface's JSON as the values that commands know; what has a wrong type is refused, unknown members are not."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar, get_args

from tunnel.cli.facts import Change, Node, Refused, Secret, Tunnel
from tunnel.cli.rest_errors import NotThePanel

T = TypeVar("T")


class _Members:
    """One JSON object, read member by member."""

    def __init__(self, values: Any) -> None:
        if not isinstance(values, dict):
            raise _wrong("an object", values)
        self._values = values

    def text(self, name: str, default: str | None = None) -> str:
        """Return a text; null counts as the default, and without one the member must be there."""
        value = self._values.get(name)
        value = default if value is None else value
        if not isinstance(value, str):
            raise _wrong(name, value)
        return value

    def moment(self, name: str) -> datetime | None:
        """Return a time with its zone."""
        text = self.text(name, "")
        try:
            made = datetime.fromisoformat(text) if text else None
        except ValueError:
            raise _wrong(name, text) from None
        return made and (made if made.tzinfo else made.replace(tzinfo=UTC))

    def number(self, name: str) -> float | None:
        """Return a number."""
        value = self._values.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise _wrong(name, value)
        return value

    def list(self, name: str, each: Callable[[Any], T]) -> tuple[T, ...]:
        """Return a list, each member read by `each`."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, list):
            raise _wrong(name, value)
        return tuple(each(member) for member in value or ())

    def object(self, name: str) -> dict[str, Any] | None:
        """Return an object."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, dict):
            raise _wrong(name, value)
        return value

    def word(self, name: str, words: tuple[Any, ...]) -> Any:
        """Return one of the words."""
        value = self._values.get(name)
        if value not in words:
            raise _wrong(name, value)
        return value


def node(values: Any) -> Node:
    """Return a server object.

    Raises:
        NotThePanel: a member is missing or has a wrong type.
    """
    told = _Members(values)
    return Node(
        name=told.text("name"),
        agent_id=told.text("agent_id"),
        connection_type=told.text("connection_type"),
        status=told.text("status"),
        state=told.text("state"),
        since=told.moment("since"),
        address=told.text("address", ""),
        session=told.text("session", "") or None,
        worker=told.text("worker", ""),
        lease_until=told.moment("lease_until"),
        close_reason=told.text("reason", ""),
        close_detail=told.text("reason_detail", ""),
        rtt_seconds=told.number("rtt_seconds"),
        version=told.text("agent_version", ""),
        capabilities=told.list("capabilities", str),
        policy=told.object("policy"),
        host=told.object("host_facts") or {},
        usage=told.object("usage"),
        usage_at=told.moment("usage_at"),
        tags=told.list("tags", str),
        notes=told.text("notes", ""),
        first_seen=told.moment("first_seen"),
        last_seen=told.moment("last_seen"),
    )


def page(values: Any) -> list[Node]:
    """Return the servers of one page of a list."""
    return list(_Members(values).list("results", node))


def refused(values: Any) -> Refused | None:
    """Return the newest refusal of a page of events of one server, newest first, None when it got in since."""
    for told in _Members(values).list("results", _Members):
        kind, at = told.text("kind"), told.moment("at")
        if kind == "opened":
            return None
        if kind == "refused" and at is not None:
            times = int(told.number("times") or 1)
            return Refused(told.text("reason", ""), told.text("address", ""), times, at)
    return None


def change(values: Any, of: Node) -> Change:
    """Return the answer to a change of a server's standing."""
    told = _Members(values)
    changed = bool(told.word("changed", (True, False)))
    return Change(of.name, of.agent_id, told.text("status"), changed, told.word("tunnel", get_args(Tunnel)))


def secret(values: Any, reached_at: str, of: Node | None = None) -> Secret:
    """Return the answer that holds a secret: to a new server, or to a rotation `of` a known one.

    A panel that does not say where its agents dial is dialled at `reached_at`, where it was reached from here.
    """
    told = _Members(values)
    name = of.name if of else told.text("name")
    tunnel: Tunnel = told.word("tunnel", get_args(Tunnel)) if of else "none"
    master_url = told.text("master_url", "") or reached_at
    return Secret(name, told.text("agent_id"), told.text("secret"), master_url, tunnel)


def _wrong(name: str, value: object) -> NotThePanel:
    return NotThePanel(
        f"the panel's answer is not what this program expects: {name} is {type(value).__name__}"
    )
