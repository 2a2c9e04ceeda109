"""What wakes the terminals of this worker: a node that is back, somebody who came to a shell or left it.

News only make it quick: each terminal looks by itself every few seconds. Everything here runs on the event loop.
"""

import asyncio
from collections import defaultdict
from typing import Any

_of_servers: dict[int, set[asyncio.Event]] = defaultdict(set)
_of_shells: dict[str, set[asyncio.Event]] = defaultdict(set)


def listen_to_server(server: int, bell: asyncio.Event) -> None:
    """Have `bell` rung when the state of a server changes."""
    _of_servers[server].add(bell)


def listen_to_shell(shell: str, bell: asyncio.Event) -> None:
    """Have `bell` rung when somebody comes to a shell, leaves it, or has another size."""
    _of_shells[shell].add(bell)


def forget(bell: asyncio.Event) -> None:
    """Ring it no more."""
    _drop(_of_servers, bell)
    _drop(_of_shells, bell)


def server_changed(server: int) -> None:
    """Wake the terminals of a server."""
    for bell in _of_servers.get(server, ()):
        bell.set()


def shell_changed(shell: str) -> None:
    """Wake the terminals of a shell."""
    for bell in _of_shells.get(shell, ()):
        bell.set()


def _drop(listening: dict[Any, set[asyncio.Event]], bell: asyncio.Event) -> None:
    for key, bells in list(listening.items()):
        bells.discard(bell)
        if not bells:
            del listening[key]
