"""`tunnel show NODE`: everything the panel knows of one server."""

from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from servers.models import Server
from tunnel import presence
from tunnel.cli import targets
from tunnel.cli.call import Call
from tunnel.cli.exits import Exit
from tunnel.cli.list_nodes import shown_state
from tunnel.cli.output import Cell, ago, milliseconds
from tunnel.models import Session
from tunnel.presence import Presence, State

NAME = "show"
HELP = "show what is known of one server"


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    parser.add_argument("node", metavar="NODE", help="name or agent id")


def run(call: Call) -> int:
    """Print the facts, one a line."""
    server = targets.one(call.options.node, call.actor)
    there = presence.of([server])[server.pk]
    if call.out.as_json:
        call.out.record(_facts(server, there))
    else:
        call.out.table(("FACT", "VALUE"), _rows(server, there))
    return Exit.DONE


def _facts(server: Server, there: Presence) -> dict[str, Any]:
    session = (
        Session.objects.select_related("worker").filter(pk=there.session).first() if there.session else None
    )
    return {
        "name": server.name,
        "agent_id": server.agent_id,
        "connection_type": server.connection_type,
        "status": server.status,
        "state": there.state.value,
        "since": there.since,
        "address": there.address,
        "session": there.session,
        "worker": there.worker,
        "lease_until": session.worker.lease_until if session else None,
        "last_close_reason": there.close_reason,
        "last_close_detail": there.close_detail,
        "rtt_seconds": server.rtt_seconds,
        "version": server.agent_version,
        "capabilities": server.capabilities,
        "policy": server.policy,
        "host": server.host_facts,
        "usage": server.last_usage,
        "usage_at": server.last_usage_at,
        "tags": [tag.name for tag in server.tags.all()],
        "notes": server.notes,
        "first_seen": server.first_seen,
        "last_seen": server.last_seen,
    }


def _rows(server: Server, there: Presence) -> list[tuple[Cell, Cell]]:
    facts, now = _facts(server, there), timezone.now()
    ended = f"{there.reason} ({there.close_detail})" if there.close_detail else there.reason
    usage = facts["usage"] or {}
    active = there.state is State.ACTIVE
    return [
        ("name", server.name),
        ("agent id", server.agent_id),
        ("type, status", f"{server.connection_type}, {server.status}"),
        ("state", shown_state(there)),
        ("since", ago(there.since, now)),
        ("dialled from", there.address),
        ("worker", there.worker if active else ""),
        ("its lease ends in", ago(now, facts["lease_until"]) if active and facts["lease_until"] else ""),
        ("last close", ended),
        ("round trip", milliseconds(server.rtt_seconds) if active else ""),
        ("agent version", server.agent_version),
        ("services", ", ".join(map(str, server.capabilities))),
        ("host", ", ".join(f"{key} {value}" for key, value in server.host_facts.items() if value)),
        (
            "usage",
            ", ".join(f"{key} {usage[key]} %" for key in ("cpu", "ramPercent", "disk") if key in usage),
        ),
        ("usage is from", f"{ago(server.last_usage_at, now)} ago" if server.last_usage_at else ""),
        ("tags", ", ".join(facts["tags"])),
        ("first seen", f"{ago(server.first_seen, now)} ago" if server.first_seen else ""),
        ("last seen", f"{ago(server.last_seen, now)} ago" if server.last_seen else ""),
    ]
