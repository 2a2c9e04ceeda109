"""The page that shows new secrets: rendered into the answer of the request that made them, and nowhere kept."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.template.response import TemplateResponse

from servers import access, panels
from servers.master_address import master_url
from servers.models import Server

TEMPLATE = "admin/servers/server/secret.html"


@dataclass(frozen=True, repr=False)  # no repr: an error page or a log would print the secret
class NewSecret:
    """A server and its secret in clear, for as long as one answer is made."""

    server: Server
    secret: str


def secret_page(
    request: HttpRequest, context: dict[str, Any], new_secrets: list[NewSecret]
) -> TemplateResponse:
    """Return the page with the agent's settings to copy, once; for one server it then waits for the agent.

    The page takes the address of `connect_page` for itself, so that loading it again neither repeats what made the
    secret nor shows it.
    """
    agents = [_agent(request, new.server, new.secret) for new in new_secrets]
    return _page(request, context, agents)


def connect_page(request: HttpRequest, context: dict[str, Any], server: Server) -> TemplateResponse:
    """Return the same page without the secret, for as often as one likes."""
    return _page(request, context, [_agent(request, server, "")])


def _page(request: HttpRequest, context: dict[str, Any], agents: list[dict[str, Any]]) -> TemplateResponse:
    one = agents[0]["server"] if len(agents) == 1 else None
    context |= {
        "insecure": master_url(request).startswith("ws://"),
        "agents": agents,
        "fresh": any(agent["secret"] for agent in agents),
        "one": one,
        "waiting": panels.waiting(request, one) if one is not None else [],
    }
    response = TemplateResponse(request, TEMPLATE, context)
    response.headers["Cache-Control"] = "no-store"
    return response


def _agent(request: HttpRequest, server: Server, secret: str) -> dict[str, Any]:
    url = master_url(request)
    return {
        "server": server,
        "secret": secret,
        "url": url,
        "lines": env_lines(url, NewSecret(server, secret)),
        "may_rotate": access.allowed(request.user, server, "rotate_secret"),
    }


def env_lines(url: str, new: NewSecret) -> list[str]:
    """Return the lines of the agent's `.env`."""
    return [
        "CONNECTION_MODE=tunnel",
        f"MASTER_URL={url}",
        f"AGENT_ID={new.server.agent_id}",
        f"AGENT_SECRET={new.secret}",
    ]
