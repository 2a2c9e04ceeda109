"""`tunnel list`: all servers and the state of their tunnels."""

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from tunnel.cli import words
from tunnel.cli.call import Call
from tunnel.cli.exits import Exit
from tunnel.cli.facts import Node
from tunnel.cli.output import Cell, ago, milliseconds

NAME = "list"
HELP = "list the servers and the state of their tunnels"

HEADS = ("NAME", "STATE", "SINCE", "RTT", "VERSION", "WORKER", "TAGS")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--tag", action="append", default=[], metavar="T", help="only servers with this tag")
    parser.add_argument("--state", choices=list(words.STATES), help="only servers in this state")


def run(call: Call) -> int:
    """Print one line a server, and how many tunnels are active."""
    nodes = call.panel.nodes(call.options.tag)
    wanted = [node for node in nodes if call.options.state in (None, node.state)]
    if call.out.as_json:
        for node in wanted:
            call.out.record(record(node))
        return Exit.DONE
    now = datetime.now(UTC)
    call.out.table(HEADS, [row(node, now) for node in wanted])
    call.out.line(count(nodes))
    return Exit.DONE


def count(nodes: list[Node]) -> str:
    """Say how many tunnels are active, and of how many."""
    tunnels = [node for node in nodes if node.state != "direct"]
    return f"{sum(node.active for node in tunnels)} of {len(tunnels)} tunnels active"


def row(node: Node, now: datetime) -> list[Cell]:
    """Return the cells of a node under HEADS."""
    return [
        node.name,
        words.of_state(node),
        ago(node.since, now),
        milliseconds(node.rtt_seconds) if node.active else "-",
        node.version,
        node.worker if node.active else "-",
        ",".join(node.tags),
    ]


def record(node: Node) -> dict[str, Any]:
    """Return the object of a node."""
    return {
        "name": node.name,
        "agent_id": node.agent_id,
        "state": node.state,
        "since": node.since,
        "rtt_seconds": node.rtt_seconds if node.active else None,
        "version": node.version,
        "worker": node.worker if node.active else "",
        "tags": list(node.tags),
    }
