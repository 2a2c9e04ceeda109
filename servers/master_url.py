"""Where agents dial this panel, as their setting MASTER_URL takes it."""

from typing import Final
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest

_SCHEMES: Final = {"https": "wss", "http": "ws"}


def master_url(request: HttpRequest) -> str:
    """Return TUNNEL_PUBLIC_URL as a WebSocket address, else the one under which this request came."""
    public = getattr(settings, "TUNNEL_PUBLIC_URL", "") or request.build_absolute_uri("/")
    parts = urlsplit(public)
    return parts._replace(scheme=_SCHEMES.get(parts.scheme, parts.scheme)).geturl().rstrip("/")
