"""What an agent says of itself, cleaned before it is kept: an agent is hostile input."""

from typing import Any
from uuid import UUID

from agent_client.protocol.messages import Hello, Last
from servers.models import Server
from tunnel.models import Session

HOST_FACTS = ("hostname", "platform", "arch", "python")
MAX_FACT = 200  # characters; a distribution's pretty name has 40
MAX_POLICY = 20  # entries of the policy summary
MAX_AWAY = 10 * 366 * 86_400.0  # seconds; nobody waits longer for a node


def keep(server: int, session: UUID, hello: Hello) -> None:
    """Write the facts of a HELLO to the server's row, and what it says of the session before to this one's."""
    Server.objects.filter(pk=server).update(
        agent_version=clean(hello.version)[:32],
        capabilities=[clean(word) for word in hello.capabilities],
        policy={clean(key): _value(value) for key, value in list(hello.policy.items())[:MAX_POLICY]},
        machine_id=clean(hello.machine_id)[:128],
        host_facts={name: clean(str(hello.host.get(name, ""))) for name in HOST_FACTS},
    )
    if hello.last is not None:
        _keep_last(session, hello.last)


def _keep_last(session: UUID, last: Last) -> None:
    Session.objects.filter(pk=session).update(
        agent_reason=clean(last.reason), agent_away_seconds=min(last.away, MAX_AWAY)
    )


def clean(text: str) -> str:
    """Return the text without control characters, at most `MAX_FACT` characters long."""
    return "".join(sign for sign in text[: 2 * MAX_FACT] if sign.isprintable())[:MAX_FACT]


def _value(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list):
        return [clean(str(word)) for word in value[:MAX_POLICY]]
    return clean(str(value))
