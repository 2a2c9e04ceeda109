"""Who asks: a browser's session with its CSRF token, or a program's API token. Agents' secrets open nothing here."""

from dataclasses import dataclass
from typing import Any, Final

from django.views.decorators.debug import sensitive_variables
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed

from servers import second_factor, tokens
from servers.access import Actor, Narrowed
from servers.models import ApiToken

KEYWORD: Final = "Token"


@dataclass(frozen=True)
class TokenLogin:
    """What `request.auth` holds after a login by token."""

    token: ApiToken
    actor: Narrowed


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Token yta_…`. Unknown, expired, revoked, and whose user is switched off: all answered alike."""

    @sensitive_variables()
    def authenticate(self, request: Any) -> tuple[Any, TokenLogin] | None:
        """Return the user and the login; None when no token is shown.

        Raises:
            AuthenticationFailed: one is shown, and it is worth nothing.
        """
        keyword, _, shown = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if keyword.lower() != KEYWORD.lower():
            return None
        token = tokens.find(shown.strip())
        if token is None:
            raise AuthenticationFailed
        return token.user, TokenLogin(token, tokens.actor(token))

    def authenticate_header(self, request: Any) -> str:  # noqa: ARG002 - DRF's signature
        """Say how to log in, which also makes it 401."""
        return f'{KEYWORD} realm="api"'


class BrowserAuthentication(SessionAuthentication):
    """A login in a browser; every method but GET needs the CSRF token."""


def actor_of(request: Any) -> Actor:
    """Return who acts, as `servers.access` takes it."""
    login = request.auth
    if isinstance(login, TokenLogin):
        return login.actor
    second_factor.vouch(request)  # where it is not recent, `servers.nodes` says so
    user: Actor = request.user
    return user


def owner_of(request: Any) -> str:
    """Return a word for the login, under which its requests are counted and its idempotency keys kept."""
    login = request.auth
    return f"token:{login.token.pk}" if isinstance(login, TokenLogin) else f"user:{request.user.pk}"
