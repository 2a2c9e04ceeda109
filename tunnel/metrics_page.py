"""`/tunnel/metrics`: the metrics of this worker, for who shows the token or asks from an allowed address."""

import hmac
import ipaddress
from pathlib import Path
from typing import Final

from django.http import HttpRequest, HttpResponse, HttpResponseForbidden
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_safe

from tunnel import handshake, metrics
from tunnel.conf import settings

MISSING: Final = "metrics need the package prometheus-client, install it beside the panel\n"
FORBIDDEN: Final = "forbidden\n"
MAX_TOKEN_FILE: Final = 4096  # bytes


@require_safe
async def page(request: HttpRequest) -> HttpResponse:
    """Answer with the metrics in Prometheus' text format."""
    if not _allowed(request):
        return HttpResponseForbidden(FORBIDDEN, "text/plain")
    text = metrics.exposition()
    if text is None:
        return HttpResponse(MISSING, "text/plain", 501)
    response = HttpResponse(text[0], text[1])
    response["Cache-Control"] = "no-store"
    return response


@sensitive_variables()
def _allowed(request: HttpRequest) -> bool:
    wanted = token()
    scheme, _, shown = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    if wanted and scheme.lower() == "bearer":
        return hmac.compare_digest(shown.strip().encode("utf-8", "replace"), wanted.encode())
    return _from_allowed_address(request)


@sensitive_variables()
def token() -> str:
    """Return the token, read anew so that it can be changed; empty when there is none, or its file cannot be read."""
    name = settings.METRICS_TOKEN_FILE
    if not name:
        return str(settings.METRICS_TOKEN)
    try:
        with Path(name).open("rb") as file:
            return file.read(MAX_TOKEN_FILE).decode().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _from_allowed_address(request: HttpRequest) -> bool:
    scope = {
        "client": (request.META.get("REMOTE_ADDR") or "", 0),
        "headers": [
            (
                name.removeprefix("HTTP_").replace("_", "-").lower().encode(),
                value.encode("latin-1", "replace"),
            )
            for name, value in request.META.items()
            if name.startswith("HTTP_X_FORWARDED_") or name == "HTTP_FORWARDED"
        ],
    }
    if scope["headers"] and not handshake.from_trusted_proxy(scope):
        return False  # who came through a proxy we do not know has its address, not his own
    address = handshake.client_address(scope)
    if address in settings.METRICS_ALLOW:
        return True
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(
        ip in ipaddress.ip_network(one, strict=False) for one in settings.METRICS_ALLOW if one != "unix"
    )
