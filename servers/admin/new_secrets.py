"""The page that shows new secrets: rendered into the answer of the request that made them, and nowhere kept."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest
from django.template.response import TemplateResponse

from servers.models import Server

TEMPLATE = "admin/servers/server/secret.html"
_SCHEMES = {"https": "wss", "http": "ws"}


@dataclass(frozen=True, repr=False)  # no repr: an error page or a log would print the secret
class NewSecret:
    """A server and its secret in clear, for as long as one answer is made."""

    server: Server
    secret: str


def secret_page(
    request: HttpRequest, context: dict[str, Any], new_secrets: list[NewSecret]
) -> TemplateResponse:
    """Return the page with the agent's settings to copy, once."""
    url = master_url(request)
    context |= {
        "insecure": url.startswith("ws://"),
        "agents": [{"server": new.server, "lines": env_lines(url, new)} for new in new_secrets],
    }
    response = TemplateResponse(request, TEMPLATE, context)
    response.headers["Cache-Control"] = "no-store"
    return response


def env_lines(url: str, new: NewSecret) -> list[str]:
    """Return the lines of the agent's `.env`."""
    return [
        "CONNECTION_MODE=tunnel",
        f"MASTER_URL={url}",
        f"AGENT_ID={new.server.agent_id}",
        f"AGENT_SECRET={new.secret}",
    ]


def master_url(request: HttpRequest) -> str:
    """Return where agents dial: TUNNEL_PUBLIC_URL, else the address under which this page was opened."""
    public = getattr(settings, "TUNNEL_PUBLIC_URL", "") or request.build_absolute_uri("/")
    parts = urlsplit(public)
    return parts._replace(scheme=_SCHEMES.get(parts.scheme, parts.scheme)).geturl().rstrip("/")
