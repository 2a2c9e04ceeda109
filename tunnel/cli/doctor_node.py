"""The doctor's steps on the way to one node: is it there, and does it answer."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from servers.errors import CommandError
from tunnel.cli import words
from tunnel.cli.exits import Exit, of_error
from tunnel.cli.facts import Node, Refused
from tunnel.cli.finding import Finding
from tunnel.cli.output import ago
from tunnel.cli.panel import Panel

PING_TIMEOUT = 10.0  # seconds
STILL_DIALS = 1_200.0  # seconds since a refusal; a refused agent tries again within 900
LOG = "look at the agent's log on the node, or run `yumna-agent doctor` there"
# Of each value of `tunnel.models.RefusalReason`; of `suspended` while the server is active again.
REFUSED_FIXES = {
    "wrong_secret": "{program} rotate-secret {node} --env, and put that into the agent's settings on the node",
    "suspended": "it is active again: wait, the agent dials within 15 minutes, or restart it on the node",
    "no_tunnel": "set the connection type of {node} to tunnel in the panel, or stop the agent",
    "not_secure": "let the agent dial wss://, and name the proxy before the panel in TUNNEL_TRUSTED_PROXIES",
    "too_many": "put the right secret into the agent's settings on the node; it is let in a minute later",
    "changed": "wait, the agent dials again by itself",
}


def steps(panel: Panel, node: Node, program: str) -> Iterator[Finding]:
    """Judge the state of the tunnel, then ask the agent."""
    refused = None if node.state == "suspended" else _of_now(panel.refused(node))
    found = _refused(node, refused, program) if refused and not node.active else _presence(node, program)
    yield found
    if refused and node.active:
        detail = f"somebody else dials with its agent id and is refused: {words.of_refusal(refused)}"
        yield Finding(node.name, None, detail, "give every machine an id and a secret of its own")
    if found.ok is not False:
        yield _ping(panel, node)


def _of_now(refused: Refused | None) -> Refused | None:
    """Drop a refusal that is too old for an agent that still dials."""
    if refused is None or (datetime.now(UTC) - refused.at).total_seconds() > STILL_DIALS:
        return None
    return refused


def _refused(node: Node, refused: Refused, program: str) -> Finding:
    ago_words = ago(refused.at, datetime.now(UTC))
    detail = f"its agent is refused: {words.of_refusal(refused)}, the last {ago_words} ago"
    fix = REFUSED_FIXES.get(refused.reason, "look at the log of the panel").format(
        program=program, node=node.agent_id
    )
    return Finding(node.name, False, detail, fix, Exit.REFUSED)


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
