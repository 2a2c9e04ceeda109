"""The panel as seen from its own host: its database, and its channel layer for what concerns live tunnels."""

import asyncio
import getpass
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import transaction
from django.views.decorators.debug import sensitive_variables

from servers import access, identity
from servers import nodes as door
from servers.access import Console
from servers.models import Server, Tag
from tunnel import dispatch, history, layers, presence, worker
from tunnel.cli import doctor_node, doctor_panel
from tunnel.cli.exits import Exit, Failure
from tunnel.cli.facts import Change, Node, Refused, Secret, Tunnel
from tunnel.cli.finding import Finding
from tunnel.cli.nearest import no_such_server
from tunnel.cli.shell_here import HostWay
from tunnel.conf import settings
from tunnel.layers import Kind
from tunnel.presence import Presence

CUT_DEADLINE = 12.0  # seconds; a worker that missed the announcement looks by itself within 10
LOOK = 0.05  # seconds between two looks at the session; it ends within some tenths of a second

IN_MEMORY = (
    "tunnels live in the server process; set REDIS_URL to the Redis of the panel (CHANNEL_LAYERS in an own panel), "
    "or add --url http://127.0.0.1:8000 --token-file FILE to ask the running panel"
)


class HostUser(Console):
    """The person with a shell on the panel's host, by the name the system knows them under."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return f"console: {self.name}"


def host_user() -> HostUser:
    """Return who called; a container may run us under a number that has no name."""
    try:
        return HostUser(getpass.getuser())
    except (KeyError, OSError):
        return HostUser(f"uid {os.getuid()}")


class Local:
    """The end on the panel's own host (`tunnel.cli.panel.Panel`)."""

    remote: ClassVar[bool] = False
    max_timeout: ClassVar[float] = dispatch.MAX_TIMEOUT

    def __init__(self, actor: Console, program: str, *, ca_file: str | None = None) -> None:
        self._actor = actor
        self._program = program
        self._ca_file = ca_file
        self._rows: dict[str, Server] = {}  # by agent id; what was read is what is judged and changed

    def nodes(self, tags: Sequence[str] = ()) -> list[Node]:
        """Return the servers that carry any of the tags, by name; all when there are no tags."""
        rows = access.visible(self._actor).order_by("name").prefetch_related("tags")
        if tags:
            rows = rows.filter(tags__name__in=list(tags)).distinct()
        return self._read(rows)

    def find(self, node: str) -> Node:
        """Return the server of that name, else of that agent id."""
        rows = access.visible(self._actor)
        server = rows.filter(name=node).first() or rows.filter(agent_id=node).first()
        if server is None:
            raise no_such_server(node, rows.values_list("name", "agent_id"), self._program)
        return self._read([server])[0]

    def refused(self, node: Node) -> Refused | None:
        """Return how handshakes of its agent were refused last."""
        row = self._rows[node.agent_id].pk
        last = history.standing_refusals([row]).get(row)
        if last is None:
            return None
        return Refused(last.reason, last.address, last.times, last.last_at)

    def require_tunnels(self, nodes: Sequence[Node]) -> None:
        """See that the channel layer does not live in memory, and the tunnels in another process."""
        tunnels = any(node.connection_type == Server.ConnectionType.TUNNEL for node in nodes)
        if tunnels and layers.kind(layers.DEFAULT) is Kind.IN_MEMORY and worker.running() is None:
            raise Failure(IN_MEMORY, Exit.NO_LAYER)

    async def ask(self, node: Node, service: str, action: str, params: dict[str, Any], timeout: float) -> Any:
        """Run one action of one service and return its data."""
        row = self._rows[node.agent_id]
        return await door.arun(row, service, action, params, actor=self._actor, timeout=timeout)

    def shell(self, node: Node) -> HostWay:
        """Return the way to a shell of this node."""
        return HostWay(self._actor, self._rows[node.agent_id])

    @sensitive_variables()
    def add(self, name: str, agent_id: str | None, tags: Sequence[str]) -> Secret:
        """Add a server."""
        try:
            server, secret = self._create(name, agent_id, tags)
        except ValidationError as exc:
            raise Failure(f"{name} was not added: {_sentence(exc)}", Exit.USAGE) from exc
        return Secret(server.name, server.agent_id, secret, settings.PUBLIC_URL)

    def suspend(self, node: Node) -> Change:
        """Refuse the server's agent and cut its tunnel."""
        server, session = self._rows[node.agent_id], _live_session(node)
        changed = identity.suspend(server, by=self._actor)
        return _change(server, changed=changed, tunnel=_felt(session) if changed else "none")

    def reactivate(self, node: Node) -> Change:
        """Let a suspended server back in."""
        server = self._rows[node.agent_id]
        return _change(server, changed=identity.reactivate(server, by=self._actor), tunnel="none")

    def disconnect(self, node: Node) -> Change:
        """Cut the server's tunnel; its agent dials again by itself."""
        self.require_tunnels([node])
        server = self._rows[node.agent_id]
        session = presence.live_sessions().select_related("worker").filter(server=server).first()
        if session is None:
            return _change(server, changed=False, tunnel="none")
        asyncio.run(dispatch.disconnect(session.worker.inbox, str(session.pk)))
        return _change(server, changed=True, tunnel=_felt(session.pk))

    @sensitive_variables()
    def rotate_secret(self, node: Node) -> Secret:
        """Give the server a new secret and cut its tunnel."""
        server, session = self._rows[node.agent_id], _live_session(node)
        secret = identity.rotate_secret(server, by=self._actor)
        return Secret(server.name, server.agent_id, secret, settings.PUBLIC_URL, _felt(session))

    def findings(self, node: str | None) -> Iterator[Finding]:
        """Check the panel, and the way to a node."""
        able = True
        for finding in doctor_panel.steps(self._ca_file):
            able = able and not (finding.ok is False and finding.step in doctor_panel.NEEDED)
            yield finding
        if node and able:
            yield from doctor_node.steps(self, self.find(node), self._program)

    @sensitive_variables()
    @transaction.atomic
    def _create(self, name: str, agent_id: str | None, tags: Sequence[str]) -> tuple[Server, str]:
        rows = [_tag(tag) for tag in tags]
        server, secret = identity.create(name, agent_id=agent_id, by=self._actor)
        server.tags.set(rows)
        return server, secret

    def _read(self, servers: Iterable[Server]) -> list[Node]:
        rows = list(servers)
        there = presence.of(rows)
        self._rows |= {server.agent_id: server for server in rows}
        return [_node(server, there[server.pk]) for server in rows if server.pk in there]


def _node(server: Server, there: Presence) -> Node:
    return Node(
        name=server.name,
        agent_id=server.agent_id,
        connection_type=server.connection_type,
        status=server.status,
        state=there.state.value,
        since=there.since,
        address=there.address,
        session=str(there.session) if there.session else None,
        worker=there.worker,
        lease_until=there.lease_until,
        close_reason=there.close_reason,
        close_detail=there.close_detail,
        rtt_seconds=server.rtt_seconds,
        version=server.agent_version,
        capabilities=tuple(server.capabilities),
        policy=server.policy,
        host=server.host_facts if isinstance(server.host_facts, dict) else {},
        usage=server.last_usage if isinstance(server.last_usage, dict) else None,
        usage_at=server.last_usage_at,
        tags=tuple(tag.name for tag in server.tags.all()),
        notes=server.notes,
        first_seen=server.first_seen,
        last_seen=server.last_seen,
    )


def _change(server: Server, *, changed: bool, tunnel: Tunnel) -> Change:
    return Change(server.name, server.agent_id, server.status, changed, tunnel)


def _live_session(node: Node) -> UUID | None:
    return (
        presence.live_sessions().filter(server__agent_id=node.agent_id).values_list("pk", flat=True).first()
    )


def _felt(session: UUID | None) -> Tunnel:
    """Wait until the tunnel is cut: this process announces the change, and must not end before that is out."""
    if session is None:
        return "none"
    deadline = time.monotonic() + CUT_DEADLINE
    while presence.live_sessions().filter(pk=session).exists():
        if time.monotonic() > deadline:
            return "still open"
        time.sleep(LOOK)
    return "cut"


def _tag(name: str) -> Tag:
    tag = Tag.objects.filter(name=name).first() or Tag(name=name)
    if tag.pk is None:
        tag.full_clean()
        tag.save()
    return tag


def _sentence(error: ValidationError) -> str:
    if not hasattr(error, "error_dict"):
        return " ".join(error.messages)
    return "; ".join(f"{field}: {' '.join(words)}" for field, words in error.message_dict.items())
