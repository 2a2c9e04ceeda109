"""`tunnel list`: all servers and the state of their tunnels."""

from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from servers.models import Server
from tunnel import presence
from tunnel.cli import targets
from tunnel.cli.call import Call
from tunnel.cli.exits import Exit
from tunnel.cli.output import Cell, ago, milliseconds
from tunnel.presence import Presence, State

NAME = "list"
HELP = "list the servers and the state of their tunnels"

COLOURS = {
    State.ACTIVE: "green",
    State.RECONNECTING: "blue",
    State.OFFLINE: "red",
    State.NEVER: "grey",
    State.SUSPENDED: "yellow",
    State.DIRECT: "grey",
}
HEADS = ("NAME", "STATE", "SINCE", "RTT", "VERSION", "WORKER", "TAGS")


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    parser.add_argument("--tag", action="append", default=[], metavar="T", help="only servers with this tag")
    parser.add_argument(
        "--state", choices=[state.value for state in State], help="only servers in this state"
    )


def run(call: Call) -> int:
    """Print one line a server, and how many tunnels are active."""
    servers = list(targets.tagged(call.options.tag, call.actor).prefetch_related("tags"))
    known = presence.of(servers)
    rows = [(server, known[server.pk]) for server in servers if server.pk in known]
    wanted = [row for row in rows if call.options.state in (None, row[1].state.value)]
    if call.out.as_json:
        for server, there in wanted:
            call.out.record(_facts(server, there))
        return Exit.DONE
    call.out.table(HEADS, [_row(server, there) for server, there in wanted])
    active = sum(there.state is State.ACTIVE for _, there in rows)
    tunnels = sum(there.state is not State.DIRECT for _, there in rows)
    call.out.line(f"{active} of {tunnels} tunnels active")
    return Exit.DONE


def shown_state(there: Presence) -> tuple[str, str]:
    """Return the words of a state and their colour."""
    return str(there.state.label), COLOURS[there.state]


def _row(server: Server, there: Presence) -> list[Cell]:
    active = there.state is State.ACTIVE
    return [
        server.name,
        shown_state(there),
        ago(there.since, timezone.now()),
        milliseconds(server.rtt_seconds) if active else "-",
        server.agent_version,
        there.worker if active else "-",
        ",".join(_tags(server)),
    ]


def _facts(server: Server, there: Presence) -> dict[str, Any]:
    active = there.state is State.ACTIVE
    return {
        "name": server.name,
        "agent_id": server.agent_id,
        "state": there.state.value,
        "since": there.since,
        "rtt_seconds": server.rtt_seconds if active else None,
        "version": server.agent_version,
        "worker": there.worker if active else "",
        "tags": _tags(server),
    }


def _tags(server: Server) -> list[str]:
    return [tag.name for tag in server.tags.all()]
