"""Which servers a command is for: NODE is a name or an agent id."""

import difflib
from collections.abc import Iterable

from django.db.models import QuerySet

from servers import access
from servers.access import Actor
from servers.models import Server
from tunnel import layers, worker
from tunnel.cli.exits import Exit, Failure
from tunnel.layers import Kind

NEAREST = 3  # names offered for one that is not there

IN_MEMORY = (
    "tunnels live in the server process; set REDIS_URL to the Redis of the panel (and CHANNEL_LAYERS to it in an "
    "own panel), so that this process can reach them"
)


def one(node: str, actor: Actor) -> Server:
    """Return the server of that name, else of that agent id.

    Raises:
        Failure: there is none; the sentence offers the nearest names.
    """
    servers = access.visible(actor)
    server = servers.filter(name=node).first() or servers.filter(agent_id=node).first()
    if server is None:
        raise Failure(f"no such server: {node}{_nearest(node, servers)}", Exit.NO_SUCH_SERVER)
    return server


def tagged(tags: Iterable[str], actor: Actor) -> QuerySet[Server]:
    """Return the servers that carry any of the tags, by name; all when there are no tags."""
    servers = access.visible(actor).order_by("name")
    names = list(tags)
    return servers.filter(tags__name__in=names).distinct() if names else servers


def require_layer(servers: Iterable[Server]) -> None:
    """See that this process can reach the tunnels of these servers at all.

    Raises:
        Failure: the channel layer lives in memory, and the tunnels in another process.
    """
    tunnels = any(server.connection_type == Server.ConnectionType.TUNNEL for server in servers)
    if tunnels and layers.kind(layers.DEFAULT) is Kind.IN_MEMORY and worker.running() is None:
        raise Failure(IN_MEMORY, Exit.NO_LAYER)


def _nearest(node: str, servers: QuerySet[Server]) -> str:
    known = {word.casefold(): word for pair in servers.values_list("agent_id", "name") for word in pair}
    nearest = difflib.get_close_matches(node.casefold(), known, n=NEAREST, cutoff=0.5)
    if nearest:
        return f"; did you mean {' or '.join(known[word] for word in nearest)}"
    return (
        "; `manage.py tunnel list` shows those there are"
        if known
        else "; none was added yet: `manage.py tunnel add`"
    )
