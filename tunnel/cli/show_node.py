"""`tunnel show NODE`: everything the panel knows of one server."""

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from tunnel.cli import words
from tunnel.cli.call import Call
from tunnel.cli.exits import Exit
from tunnel.cli.facts import Node
from tunnel.cli.output import Cell, ago, milliseconds

NAME = "show"
HELP = "show what is known of one server"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("node", metavar="NODE", help="name or agent id")


def run(call: Call) -> int:
    """Print the facts, one a line."""
    node = call.panel.find(call.options.node)
    if call.out.as_json:
        call.out.record(_record(node))
    else:
        call.out.table(("FACT", "VALUE"), _rows(node))
    return Exit.DONE


def _record(node: Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "agent_id": node.agent_id,
        "connection_type": node.connection_type,
        "status": node.status,
        "state": node.state,
        "since": node.since,
        "address": node.address,
        "session": node.session,
        "worker": node.worker,
        "lease_until": node.lease_until,
        "last_close_reason": node.close_reason,
        "last_close_detail": node.close_detail,
        "rtt_seconds": node.rtt_seconds,
        "version": node.version,
        "capabilities": list(node.capabilities),
        "policy": node.policy,
        "host": node.host,
        "usage": node.usage,
        "usage_at": node.usage_at,
        "tags": list(node.tags),
        "notes": node.notes,
        "first_seen": node.first_seen,
        "last_seen": node.last_seen,
    }


def _rows(node: Node) -> list[tuple[Cell, Cell]]:
    now, usage = datetime.now(UTC), node.usage or {}
    reason = words.of_close(node)
    return [
        ("name", node.name),
        ("agent id", node.agent_id),
        ("type, status", f"{node.connection_type}, {node.status}"),
        ("state", words.of_state(node)),
        ("since", ago(node.since, now)),
        ("dialled from", node.address),
        ("worker", node.worker if node.active else ""),
        ("its lease ends in", ago(now, node.lease_until) if node.active and node.lease_until else ""),
        ("last close", f"{reason} ({node.close_detail})" if node.close_detail else reason),
        ("round trip", milliseconds(node.rtt_seconds) if node.active else ""),
        ("agent version", node.version),
        ("services", ", ".join(map(str, node.capabilities))),
        ("host", ", ".join(f"{key} {value}" for key, value in node.host.items() if value)),
        (
            "usage",
            ", ".join(f"{key} {usage[key]} %" for key in ("cpu", "ramPercent", "disk") if key in usage),
        ),
        ("usage is from", f"{ago(node.usage_at, now)} ago" if node.usage_at else ""),
        ("tags", ", ".join(node.tags)),
        ("first seen", f"{ago(node.first_seen, now)} ago" if node.first_seen else ""),
        ("last seen", f"{ago(node.last_seen, now)} ago" if node.last_seen else ""),
    ]
