"""Where agents dial, as it is shown to people and programs; here, for a panel may have no admin."""

from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest

_SCHEMES = {"https": "wss", "http": "ws"}


def master_url(request: HttpRequest) -> str:
    """Return where agents dial: TUNNEL_PUBLIC_URL, else the address under which this page was opened."""
    public = getattr(settings, "TUNNEL_PUBLIC_URL", "") or request.build_absolute_uri("/")
    parts = urlsplit(public)
    return parts._replace(scheme=_SCHEMES.get(parts.scheme, parts.scheme)).geturl().rstrip("/")
