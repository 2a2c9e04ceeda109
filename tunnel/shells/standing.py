"""Whether a person may have a terminal on a node now: asked when it opens, and every few seconds while it lives."""

from dataclasses import dataclass
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.http import HttpRequest

from servers import access, second_factor, tokens
from servers.access import Actor, Console
from servers.models import Server
from tunnel import viewers
from tunnel.models import Shell
from tunnel.viewers import Viewer

RIGHT: Final = "open_shell"
OTHERS_RIGHT: Final = access.OTHERS_SHELLS  # to type into a shell that somebody else opened, and to end it


@dataclass(frozen=True)
class Login:
    """A browser at which somebody is logged in; `session` is what Django keeps of it."""

    viewer: Viewer
    session: Any

    @property
    def user(self) -> str:
        """The primary key of who it is, as text."""
        return self.viewer.user

    def actor(self) -> Actor | None:
        """Return who acts, None when nobody is logged in any more; a second factor shown lately is vouched for."""
        if not viewers.rights({self.viewer}):
            return None
        user = get_user_model()._default_manager.get(pk=self.viewer.user)
        _vouch(user, self.session)
        return user


@dataclass(frozen=True)
class TokenLogin:
    """A program that showed an API token: its primary key, and that of its user as text."""

    token: int
    user: str

    def actor(self) -> Actor | None:
        """Return who acts, None when the token is worth nothing any more."""
        token = tokens.live().filter(pk=self.token, user__is_active=True).select_related("user").first()
        return None if token is None else tokens.actor(token)


@dataclass(frozen=True)
class HostLogin:
    """Somebody with a shell on the panel's host."""

    console: Console
    user: str = "-"  # nobody with an account

    def actor(self) -> Actor | None:
        """Return who acts."""
        return self.console


AnyLogin = Login | TokenLogin | HostLogin


@dataclass(frozen=True)
class Standing:
    """Somebody who may have terminals on a server: both read anew."""

    actor: Actor
    server: Server

    def opened(self, shell: Shell) -> bool:
        """Tell whether it was this person who opened a shell."""
        user = access.person(self.actor)
        return user is not None and shell.opened_by_id == user.pk

    def may_type(self, shell: Shell) -> bool:
        """Tell whether this person may type into a shell, and end it."""
        return self.opened(shell) or access.allowed(self.actor, self.server, OTHERS_RIGHT)


@dataclass(frozen=True)
class ShownOut:
    """Somebody who may have no terminal here; `why` is logged_out, not_allowed, suspended or deleted."""

    why: str


def read(login: AnyLogin, server_pk: int) -> Standing | ShownOut:
    """Return how a person stands now."""
    actor = login.actor()
    if actor is None:
        return ShownOut("logged_out")
    server = Server.objects.filter(pk=server_pk).first()
    if server is None:
        return ShownOut("deleted")
    if not access.allowed(actor, server, RIGHT):
        # Who is switched off loses his rights too: the login may have ended since it was read.
        return ShownOut("not_allowed" if login.actor() is not None else "logged_out")
    if server.status == Server.Status.SUSPENDED:
        return ShownOut("suspended")
    return Standing(actor, server)


def _vouch(user: Any, session: Any) -> None:
    request = HttpRequest()
    request.user, request.session = user, session
    second_factor.vouch(request)
