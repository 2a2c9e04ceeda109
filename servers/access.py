"""Who may do what on which server: the one place that decides.

A right comes from one of three places: being a superuser; a permission of Django on the model, which counts for all
servers; a `Grant` on a group of servers. Being staff allows nothing.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import Exists, OuterRef, Q, QuerySet

from servers.models import Grant, Server, ServerGroup
from servers.rights import PERMISSIONS

# What a service of a server asks for; each that does not stand here, known or not, asks for RUN_COMMAND.
RUN_COMMAND: Final = "run_command"
SERVICES: Final = {
    "shell": "open_shell",
    "forward": "forward_port",
}

# What some actions ask for besides the right of their service. Who reaches every shell of a node, whoever opened it,
# may change the server; a shell at pipes is recorded no more than a command is, so who may only open shells, all of
# which are recorded, must not get around that by one.
OTHERS_SHELLS: Final = "change"
_BESIDES: Final = {
    ("shell", "list"): OTHERS_SHELLS,
    ("shell", "resize"): OTHERS_SHELLS,
    ("shell", "close"): OTHERS_SHELLS,
    ("shell", "pipe"): RUN_COMMAND,
}

_OF_MODEL: Final = {"view": "view_server", "change": "change_server"}  # Django's own names for these two
_CACHE: Final = "_servers_grants"


class Console:
    """Somebody with a shell on the panel's host: whoever has that could read the database anyway."""

    def __str__(self) -> str:
        return "console"


CONSOLE: Final = Console()


@dataclass(frozen=True)
class Narrowed:
    """A user as a token lets them act: never more than the user may, and only so much.

    `permissions` are words of PERMISSIONS, `groups` primary keys of server groups, None for no limit. `name` tells
    the history which token it was; `token` is its primary key, by which a stream finds out that it was revoked.
    """

    user: AbstractBaseUser
    permissions: frozenset[str]
    groups: frozenset[int] | None = None
    name: str = ""
    token: int | None = None

    def __str__(self) -> str:
        return f"{self.user} (token {self.name})" if self.name else str(self.user)


Actor = AbstractBaseUser | AnonymousUser | Console | Narrowed


def person(actor: Actor | None) -> AbstractBaseUser | None:
    """Return the user behind an actor, for the history; None when it is nobody with an account."""
    user = actor.user if isinstance(actor, Narrowed) else actor
    return user if isinstance(user, AbstractBaseUser) else None


def allowed(actor: Actor, server: Server | None, perm: str) -> bool:
    """Tell whether `actor` may do `perm` on `server`; None asks whether there may be any such server.

    Denied is what nothing here allows. Every right includes viewing, as changing does in Django's admin. A user object
    keeps the permissions it has read; who holds one for long (a socket) loads it again before asking.

    Raises:
        ValueError: `perm` is none of PERMISSIONS.
    """
    _check(perm)
    if isinstance(actor, Narrowed):
        return (
            perm in actor.permissions
            and (server is None or actor.groups is None or _in_groups(server, actor.groups))
            and allowed(actor.user, server, perm)
        )
    if _everywhere(actor, perm):
        return True
    groups = _granted_groups(actor, perm)
    return bool(groups) if server is None else _in_groups(server, groups)


def asked_for(service: str) -> str:
    """Return the permission that every action of a service asks for."""
    return SERVICES.get(service, RUN_COMMAND)


def asked_besides(service: str, action: str) -> str | None:
    """Return the permission that an action asks for besides the one of its service, if any."""
    return _BESIDES.get((service, action))


def visible(actor: Actor) -> QuerySet[Server]:
    """Return the servers `actor` may see."""
    return permitting(actor, "view")


def permitting(actor: Actor, perm: str) -> QuerySet[Server]:
    """Return the servers on which `actor` may do `perm`, as `allowed` would say of each.

    Raises:
        ValueError: `perm` is none of PERMISSIONS.
    """
    _check(perm)
    servers = Server._default_manager.all()
    if isinstance(actor, Narrowed):
        if perm not in actor.permissions:
            return servers.none()
        own = permitting(actor.user, perm)
        return own if actor.groups is None else _of_groups(own, actor.groups)
    if _everywhere(actor, perm):
        return servers
    return _of_groups(servers, _granted_groups(actor, perm))


def everywhere(actor: Actor, perm: str) -> bool:
    """Tell whether `actor` may do `perm` on all servers, those that are gone and those to come included.

    Raises:
        ValueError: `perm` is none of PERMISSIONS.
    """
    _check(perm)
    if isinstance(actor, Narrowed):
        return perm in actor.permissions and actor.groups is None and everywhere(actor.user, perm)
    return _everywhere(actor, perm)


def lacking(actor: Actor, perms: Iterable[str], servers: Collection[int]) -> list[str]:
    """Return which of `perms` the actor does not hold on every one of `servers`, given by primary key.

    Nobody hands on what he does not hold himself: whoever gives rights asks this first.

    Raises:
        ValueError: a word of `perms` is none of PERMISSIONS.
    """
    wanted = set(servers)
    return [
        perm
        for perm in perms
        if not everywhere(actor, perm) and permitting(actor, perm).filter(pk__in=wanted).count() < len(wanted)
    ]


def may_add(actor: Actor) -> bool:
    """Tell whether `actor` may add servers: Django's own permission, which counts for all servers."""
    if isinstance(actor, Narrowed):
        return "change" in actor.permissions and actor.groups is None and may_add(actor.user)
    return isinstance(actor, Console) or (_live(actor) and _has_perm(actor, "servers.add_server"))


def may_delete(actor: Actor) -> bool:
    """Tell whether `actor` may delete servers: Django's own permission, which counts for all servers."""
    if isinstance(actor, Narrowed):
        return "change" in actor.permissions and actor.groups is None and may_delete(actor.user)
    return isinstance(actor, Console) or (_live(actor) and _has_perm(actor, "servers.delete_server"))


def _check(perm: str) -> None:
    if perm not in PERMISSIONS:
        raise ValueError(f"no such permission: {perm!r}")


def _live(actor: AbstractBaseUser | AnonymousUser) -> bool:
    return bool(actor.is_authenticated and actor.is_active)


def _everywhere(actor: AbstractBaseUser | AnonymousUser | Console, perm: str) -> bool:
    """Tell whether the right counts for all servers."""
    if isinstance(actor, Console):
        return True
    if not _live(actor):
        return False
    including = PERMISSIONS if perm == "view" else (perm,)
    return any(_has_perm(actor, f"servers.{_OF_MODEL.get(word, word)}") for word in including)


def _has_perm(actor: AbstractBaseUser | AnonymousUser, permission: str) -> bool:
    if getattr(actor, "is_superuser", False):
        return True
    has_perm = getattr(actor, "has_perm", None)  # a host panel's user model may come without permissions
    return has_perm is not None and bool(has_perm(permission))


def _granted_groups(actor: AbstractBaseUser | AnonymousUser | Console, perm: str) -> frozenset[int]:
    """Return the groups of servers on which grants give this right; read once for each user object."""
    if not isinstance(actor, get_user_model()) or not _live(actor):
        return frozenset()
    if not hasattr(actor, _CACHE):
        setattr(actor, _CACHE, list(_grants(actor).values_list("server_group", "permissions")))
    rows: list[tuple[int, list[str]]] = getattr(actor, _CACHE)
    return frozenset(group for group, words in rows if perm in words or (perm == "view" and words))


def _grants(user: AbstractBaseUser) -> QuerySet[Grant]:
    mine = Q(user=user.pk)
    if hasattr(user, "groups"):
        mine |= Q(user_group__in=user.groups.values("pk"))
    return Grant.objects.filter(mine)


def _in_groups(server: Server, groups: Collection[int]) -> bool:
    return bool(groups) and _membership(groups).filter(server=server.pk).exists()


def _of_groups(servers: QuerySet[Server], groups: Collection[int]) -> QuerySet[Server]:
    if not groups:
        return servers.none()
    return servers.filter(Exists(_membership(groups).filter(server=OuterRef("pk"))))


def _membership(groups: Collection[int]) -> QuerySet[Any]:
    return ServerGroup.servers.through._default_manager.filter(servergroup__in=groups)
