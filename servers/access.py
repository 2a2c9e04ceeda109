"""Who may do what on which server: the one place that decides."""

from typing import Final

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import QuerySet

from servers.models import Server

PERMISSIONS: Final = (
    "view",
    "change",
    "run_command",
    "open_shell",
    "read_files",
    "write_files",
    "forward_port",
    "view_recording",
    "rotate_secret",
)
_OF_MODEL: Final = {"view": "view_server", "change": "change_server"}  # Django's own names for these two


class Console:
    """Somebody with a shell on the panel's host: whoever has that could read the database anyway."""

    def __str__(self) -> str:
        return "console"


CONSOLE: Final = Console()

Actor = AbstractBaseUser | AnonymousUser | Console


def allowed(actor: Actor, server: Server | None, perm: str) -> bool:  # noqa: ARG001 - groups of servers will ask
    """Tell whether `actor` may do `perm` on `server`; None asks about servers in general.

    Denied is what nothing here allows: being staff allows nothing. Changing includes viewing, as in Django's admin.
    A user object keeps the permissions it has read; who holds one for long (a socket) loads it again before asking.

    Raises:
        ValueError: `perm` is none of PERMISSIONS.
    """
    if perm not in PERMISSIONS:
        raise ValueError(f"no such permission: {perm!r}")
    if isinstance(actor, Console):
        return True
    if not actor.is_authenticated or not actor.is_active:
        return False
    if getattr(actor, "is_superuser", False):
        return True
    return _granted(actor, perm) or (perm == "view" and _granted(actor, "change"))


def visible(actor: Actor) -> QuerySet[Server]:
    """Return the servers `actor` may see."""
    servers = Server._default_manager.all()
    return servers if allowed(actor, None, "view") else servers.none()


def _granted(actor: AbstractBaseUser | AnonymousUser, perm: str) -> bool:
    has_perm = getattr(actor, "has_perm", None)  # a host panel's user model may come without permissions
    return has_perm is not None and bool(has_perm(f"servers.{_OF_MODEL.get(perm, perm)}"))
