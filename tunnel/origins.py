"""Does a browser's socket come from a page of ours? A browser sends its cookies whatever page opens the socket.

`AllowedHostsOriginValidator` of Channels lets another scheme and any port of the host in; this does not.
"""

from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest

from tunnel import handshake
from tunnel.conf import settings as tunnel_settings

Scope = dict[str, Any]
Origin = tuple[str, str, int]  # scheme, host, port

MAX_ORIGIN: Final = 300  # characters; a host name has at most 253
_PORTS: Final = {"http": 80, "https": 443}
TOKEN_KEYWORD: Final = "token"  # noqa: S105 - what stands before one
_HEADERS: Final = ("host", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto")


def ours(scope: Scope) -> bool:
    """Tell whether the Origin is that of the address asked for, or one of CSRF_TRUSTED_ORIGINS."""
    given = _header(scope, "origin")
    origin = _origin(given[0]) if len(given) == 1 and len(given[0]) <= MAX_ORIGIN else None
    if origin is None:
        return False
    return origin == _asked(scope) or any(
        _matches(origin, trusted) for trusted in settings.CSRF_TRUSTED_ORIGINS
    )


def token_shown(scope: Scope) -> str | None:
    """Return the API token of the Authorization header; None when the header is not there, or speaks of another thing.

    Two such headers are no token, and no cookie's business either.
    """
    given = _header(scope, "authorization")
    if len(given) > 1:
        return ""
    keyword, _, shown = (given or [""])[0].partition(" ")
    return shown.strip() if keyword.lower() == TOKEN_KEYWORD else None


def claimed(scope: Scope) -> str:
    """Return the Origin for the log, bounded and escaped."""
    return ",".join(_header(scope, "origin")).encode("unicode_escape").decode()[:MAX_ORIGIN] or "-"


def _asked(scope: Scope) -> Origin | None:
    """Return the origin of the page that would dial this address; None when the host is not one of ours."""
    request = _request(scope)
    try:
        host = request.get_host()
    except DisallowedHost:
        return None
    return _origin(f"{'https' if _encrypted(scope, request) else 'http'}://{host}")


def _request(scope: Scope) -> HttpRequest:
    """Return a request with the headers that decide about host and scheme, so that Django's settings for it count."""
    server = scope.get("server") or ("unknown", 0)
    request = HttpRequest()
    request.META = {"SERVER_NAME": str(server[0]), "SERVER_PORT": str(server[1] or 0)}
    trusted: tuple[str, str] | None = getattr(settings, "SECURE_PROXY_SSL_HEADER", None)
    names = {*_HEADERS, trusted[0].removeprefix("HTTP_").replace("_", "-").lower()} if trusted else _HEADERS
    for name in names:
        values = _header(scope, name)
        if values:
            request.META[f"HTTP_{name.upper().replace('-', '_')}"] = ",".join(values)
    return request


def _encrypted(scope: Scope, request: HttpRequest) -> bool:
    """Tell whether the browser's side of the connection is TLS; Daphne does not tell, a proxy in front may."""
    if scope.get("scheme") == "wss" or tunnel_settings.TLS_ONLY or request.is_secure():
        return True
    return bool(_header(scope, "x-forwarded-proto")) and handshake.secure(scope)


def _origin(text: str) -> Origin | None:
    try:
        parts = urlsplit(text)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    bare = not (parts.path or parts.query or parts.fragment or parts.username)
    return (parts.scheme, parts.hostname, port) if bare and parts.hostname else None


def _matches(origin: Origin, trusted: str) -> bool:
    """Compare as Django's CSRF check does: `https://*.example.org` stands for every name below that one."""
    scheme, host, port = origin
    wanted = _origin(trusted.replace("://*.", "://", 1))
    if wanted is None or (wanted[0], wanted[2]) != (scheme, port):
        return False
    return host.endswith(f".{wanted[1]}") if "://*." in trusted else host == wanted[1]


def _header(scope: Scope, name: str) -> list[str]:
    wanted = name.encode()
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == wanted]
