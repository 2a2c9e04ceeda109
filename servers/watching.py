"""Open streams live only as long as those who opened them may have them: looked at again and again."""

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

from django.contrib.auth import get_user_model
from django.db import Error as DatabaseError

from agent_client.protocol.codes import Code
from servers import access, tokens
from servers.models import Server
from servers.threads import in_thread
from servers.transports import ByteStream

log = logging.getLogger("servers.nodes")

RECHECK = 8.0  # seconds between two looks; a lost right ends a stream within 15, the look's own time included


@dataclass(frozen=True, eq=False)
class Watched:
    """A stream by what it needs: all of `perms` on a server, and the server itself not suspended."""

    stream: ByteStream
    server: int
    actor: access.Actor | None
    perms: tuple[str, ...]


class Watch:
    """The streams that were opened on one event loop; one task looks at all of them at once."""

    def __init__(self) -> None:
        self._watched: set[Watched] = set()
        self._task: asyncio.Task[None] | None = None

    def add(self, watched: Watched) -> None:
        """Look at a stream from now on, until it is over."""
        self._watched.add(watched)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._look_for_ever(), name="servers streams")

    async def look(self) -> None:
        """End the streams of those who lost their right."""
        self._watched = {one for one in self._watched if not one.stream.over}
        if not self._watched:
            return
        for one in await in_thread(_unwelcome, list(self._watched)):
            log.warning("a stream of %s is ended, the right to it is gone server=%d", one.actor, one.server)
            await one.stream.reset(Code.REVOKED.value)

    async def _look_for_ever(self) -> None:
        while self._watched:
            await asyncio.sleep(RECHECK)
            try:
                await self.look()
            except DatabaseError as exc:
                log.warning("who may keep a stream could not be read: %s", exc)
            except Exception:
                log.exception("the look at open streams failed")


def here() -> Watch:
    """Return the watch of the running event loop."""
    return _watches.setdefault(asyncio.get_running_loop(), Watch())


_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, Watch] = WeakKeyDictionary()


def _unwelcome(watched: Collection[Watched]) -> list[Watched]:
    """Return those that may not go on; asks once for all servers, and a few times for each actor and right."""
    reached = Server.objects.filter(pk__in={one.server for one in watched})
    there = set(reached.exclude(status=Server.Status.SUSPENDED).values_list("pk", flat=True))
    fresh = _loaded_again(watched)
    may: dict[tuple[Any, str], set[int]] = {}
    for key, perm in {(_key(one.actor), perm) for one in watched if one.actor for perm in one.perms}:
        actor = fresh.get(key)
        allowed = access.permitting(actor, perm).filter(pk__in=there) if actor else Server.objects.none()
        may[key, perm] = set(allowed.values_list("pk", flat=True))
    return [
        one
        for one in watched
        if one.server not in there
        or (one.actor and any(one.server not in may[_key(one.actor), perm] for perm in one.perms))
    ]


def _loaded_again(watched: Collection[Watched]) -> dict[Any, access.Actor]:
    """Return the actors as they are now: a user object keeps the permissions it has read."""
    actors = {_key(one.actor): one.actor for one in watched if one.actor is not None}
    people = {person.pk for actor in actors.values() if (person := access.person(actor)) is not None}
    users = {user.pk: user for user in get_user_model()._default_manager.filter(pk__in=people)}
    shown = {one.token for one in actors.values() if isinstance(one, access.Narrowed) and one.token}
    good = set(tokens.live().filter(pk__in=shown).values_list("pk", flat=True))
    fresh: dict[Any, access.Actor] = {}
    for key, actor in actors.items():
        person = access.person(actor)
        if person is None:
            fresh[key] = actor  # nobody with an account: the console
        elif person.pk not in users:
            continue
        elif not isinstance(actor, access.Narrowed):
            fresh[key] = users[person.pk]
        elif actor.token is None or actor.token in good:
            fresh[key] = replace(actor, user=users[person.pk])
    return fresh


def _key(actor: access.Actor) -> Any:
    """Name an actor whatever object stands for it."""
    person = access.person(actor)
    if isinstance(actor, access.Narrowed):
        return (None if person is None else person.pk, actor.permissions, actor.groups, actor.token)
    return ("console",) if person is None else (person.pk,)
