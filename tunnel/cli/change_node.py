"""`tunnel suspend`, `reactivate` and `rotate-secret`: change a server's standing, and say what its live tunnel felt."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from django.core.management.base import CommandParser
from django.views.decorators.debug import sensitive_variables

from servers import identity
from servers.models import Server
from tunnel import presence
from tunnel.cli import agent_env, targets
from tunnel.cli.call import Call
from tunnel.cli.exits import Exit

CUT_DEADLINE = 12.0  # seconds; a worker that missed the announcement looks by itself within 10
LOOK = 0.05  # seconds between two looks at the session; it ends within some tenths of a second


@dataclass(frozen=True)
class Change:
    """One of the three commands."""

    NAME: str
    HELP: str
    _run: Callable[[Call, Server], int]
    _env: bool = False

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("node", metavar="NODE", help="name or agent id")
        if self._env:
            parser.add_argument(
                "--env", action="store_true", help="print the agent's .env instead of the secret alone"
            )

    def run(self, call: Call) -> int:
        """Make the change."""
        return self._run(call, targets.one(call.options.node, call.actor))


def _suspend(call: Call, server: Server) -> int:
    session = _live_session(server)
    changed = identity.suspend(server, by=call.actor)
    _report(call, server, "suspended" if changed else "was suspended already", session if changed else None)
    return Exit.DONE


def _reactivate(call: Call, server: Server) -> int:
    changed = identity.reactivate(server, by=call.actor)
    words = "reactivated; its agent is welcome at its next try" if changed else "was not suspended"
    _report(call, server, words, None)
    return Exit.DONE


@sensitive_variables()
def _rotate(call: Call, server: Server) -> int:
    session = _live_session(server)
    secret = identity.rotate_secret(server, by=call.actor)
    if call.options.env:
        agent_env.tell(call.out, server, secret)
    elif call.out.as_json:
        call.out.record({"name": server.name, "agent_id": server.agent_id, "secret": secret})
    else:
        call.out.line(secret)
        call.out.note(
            "the secret is shown this once; put it into AGENT_SECRET on the node and restart the agent"
        )
    if session is not None:
        call.out.note(f"{server.name}: {_felt(session)}")
    return Exit.DONE


def _report(call: Call, server: Server, words: str, session: UUID | None) -> None:
    felt = _felt(session) if session is not None else ""
    if call.out.as_json:
        record = {"name": server.name, "agent_id": server.agent_id, "status": server.status}
        call.out.record({**record, "done": words, "tunnel": felt})
    else:
        call.out.line(f"{server.name} {words}" + (f": {felt}" if felt else ""))


def _live_session(server: Server) -> UUID | None:
    return presence.live_sessions().filter(server=server).values_list("pk", flat=True).first()


def _felt(session: UUID) -> str:
    """Wait until the tunnel is cut: this process announces the change, and must not end before that is out."""
    deadline = time.monotonic() + CUT_DEADLINE
    while presence.live_sessions().filter(pk=session).exists():
        if time.monotonic() > deadline:
            return "its live tunnel has not been cut, look at the log of the worker that holds it"
        time.sleep(LOOK)
    return "its live tunnel was cut"


SUSPEND = Change("suspend", "refuse a server's agent and cut its tunnel", _suspend)
REACTIVATE = Change("reactivate", "let a suspended server back in", _reactivate)
ROTATE_SECRET = Change("rotate-secret", "give a server a new secret and cut its tunnel", _rotate, _env=True)
