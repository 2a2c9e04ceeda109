"""Whether a person may have a terminal on a node now: asked when it opens, and every few seconds while it lives."""

from dataclasses import dataclass
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.http import HttpRequest

from servers import access, second_factor
from servers.models import Server
from tunnel import viewers
from tunnel.models import Shell
from tunnel.viewers import Viewer

RIGHT: Final = "open_shell"
OTHERS_RIGHT: Final = "change"  # typing into a shell that somebody else opened, and ending it, needs this too


@dataclass(frozen=True)
class Login:
    """A browser at which somebody is logged in; `session` is what Django keeps of it."""

    viewer: Viewer
    session: Any


@dataclass(frozen=True)
class Standing:
    """A person who may have terminals on a server: both read anew."""

    user: Any
    server: Server

    def may_type(self, shell: Shell) -> bool:
        """Tell whether this person may type into a shell, and end it."""
        return shell.opened_by_id == self.user.pk or access.allowed(self.user, self.server, OTHERS_RIGHT)


@dataclass(frozen=True)
class ShownOut:
    """Somebody who may have no terminal here; `why` is logged_out, not_allowed, suspended or deleted."""

    why: str


def read(login: Login, server_pk: int) -> Standing | ShownOut:
    """Return how a person stands now; a second factor that was shown lately is vouched for."""
    if not viewers.rights({login.viewer}):
        return ShownOut("logged_out")
    server = Server.objects.filter(pk=server_pk).first()
    if server is None:
        return ShownOut("deleted")
    user = get_user_model()._default_manager.get(pk=login.viewer.user)
    if not access.allowed(user, server, RIGHT):
        return ShownOut("not_allowed")
    if server.status == Server.Status.SUSPENDED:
        return ShownOut("suspended")
    _vouch(user, login)
    return Standing(user, server)


def _vouch(user: Any, login: Login) -> None:
    request = HttpRequest()
    request.user, request.session = user, login.session
    second_factor.vouch(request)
