"""The doctor's steps on the way to one node: is it there, and does it answer."""

import time
from collections.abc import Iterator

from django.utils import timezone

from servers import nodes
from servers.access import Actor
from servers.errors import CommandError
from servers.models import Server
from tunnel import presence
from tunnel.cli.exits import Exit, of_error
from tunnel.cli.finding import Finding
from tunnel.cli.output import ago
from tunnel.presence import Presence, State

PING_TIMEOUT = 10.0  # seconds


def steps(server: Server, actor: Actor) -> Iterator[Finding]:
    """Judge the state of the tunnel, then ask the agent."""
    there = presence.of([server])[server.pk]
    found = _presence(server, there)
    yield found
    if found.ok is not False:
        yield _ping(server, actor)


def _presence(server: Server, there: Presence) -> Finding:
    step = server.name
    if there.state is State.ACTIVE:
        return Finding(
            step, True, f"connected for {ago(there.since, timezone.now())} from {there.address or 'here'}"
        )
    if there.state is State.DIRECT:
        return Finding(step, None, f"reached by {server.connection_type}, without a tunnel")
    if there.state is State.SUSPENDED:
        fix = f"manage.py tunnel reactivate {server.agent_id}"
        return Finding(step, False, "suspended: its agent is refused", fix, Exit.REFUSED)
    if there.state is State.NEVER:
        fix = (
            f"manage.py tunnel rotate-secret {server.agent_id} --env, and start the agent on the node with it"
        )
        return Finding(step, False, "never connected", fix, Exit.OFFLINE)
    reason = f": {there.reason}" if there.reason else ""
    detail = f"{there.state.label} since {ago(there.since, timezone.now())}{reason}"
    return Finding(step, False, detail, "look at the agent's log on the node", Exit.OFFLINE)


def _ping(server: Server, actor: Actor) -> Finding:
    began = time.monotonic()
    try:
        nodes.run(server, "agent", "ping", actor=actor, timeout=PING_TIMEOUT)
    except CommandError as exc:
        return Finding(
            f"{server.name} answers", False, str(exc), "look at the agent's log on the node", of_error(exc)
        )
    return Finding(
        f"{server.name} answers", True, f"in {(time.monotonic() - began) * 1000:.0f} ms, by way of Redis"
    )
