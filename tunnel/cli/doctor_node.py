"""The doctor's steps on the way to one node: is it there, and does it answer."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from servers.errors import CommandError
from tunnel.cli import words
from tunnel.cli.exits import Exit, of_error
from tunnel.cli.facts import Node
from tunnel.cli.finding import Finding
from tunnel.cli.output import ago
from tunnel.cli.panel import Panel

PING_TIMEOUT = 10.0  # seconds
LOG = "look at the agent's log on the node"


def steps(panel: Panel, node: Node, program: str) -> Iterator[Finding]:
    """Judge the state of the tunnel, then ask the agent."""
    found = _presence(node, program)
    yield found
    if found.ok is not False:
        yield _ping(panel, node)


def _presence(node: Node, program: str) -> Finding:
    step, now = node.name, datetime.now(UTC)
    if node.active:
        return Finding(step, True, f"connected for {ago(node.since, now)} from {node.address or 'here'}")
    if node.state == "direct":
        return Finding(step, None, f"reached by {node.connection_type}, without a tunnel")
    if node.state == "suspended":
        fix = f"{program} reactivate {node.agent_id}"
        return Finding(step, False, "suspended: its agent is refused", fix, Exit.REFUSED)
    if node.state == "never":
        fix = f"{program} rotate-secret {node.agent_id} --env, and start the agent on the node with it"
        return Finding(step, False, "never connected", fix, Exit.OFFLINE)
    reason = words.of_close(node)
    detail = f"{words.of_state(node)[0]} since {ago(node.since, now)}" + (f": {reason}" if reason else "")
    return Finding(step, False, detail, LOG, Exit.OFFLINE)


def _ping(panel: Panel, node: Node) -> Finding:
    step, began = f"{node.name} answers", time.monotonic()
    try:
        asyncio.run(panel.ask(node, "agent", "ping", {}, PING_TIMEOUT))
    except CommandError as exc:
        return Finding(step, False, str(exc), LOG, of_error(exc))
    way = "the panel" if panel.remote else "Redis"
    return Finding(step, True, f"in {(time.monotonic() - began) * 1000:.0f} ms, by way of {way}")
