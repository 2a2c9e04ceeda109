"""Who guesses passwords is locked out by django-axes: whose address counts, and what the locked out see."""

import ipaddress
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from tunnel import handshake

IPV6_HOST = 64  # bits of prefix; an IPv6 host owns all addresses below, so they count as one


def address(request: HttpRequest) -> str | None:
    """Return whom failures are counted for: the last hop that is no proxy of TUNNEL_TRUSTED_PROXIES, as for agents."""
    peer = request.META.get("REMOTE_ADDR") or ""
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
    scope: dict[str, Any] = {
        "client": (peer, 0) if peer else None,
        "headers": [(b"x-forwarded-for", forwarded.encode("latin-1", "replace"))] if forwarded else [],
    }
    try:
        ip = ipaddress.ip_address(handshake.client_address(scope))
    except ValueError:  # a unix socket, or a proxy that forwards rubbish
        return None
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, IPV6_HOST), strict=False).network_address)
    return str(ip)


def locked_out(request: HttpRequest, response: HttpResponse, credentials: Any) -> HttpResponse:  # noqa: ARG001
    """Answer who is locked out: for how long, and who is not concerned."""
    minutes = int(settings.AXES_COOLOFF_TIME.total_seconds() // 60)
    context = {"minutes": minutes, "site_header": admin.site.site_header, "site_title": admin.site.site_title}
    answer = render(request, "yumna_panel/locked_out.html", context, status=429)
    answer.headers["Retry-After"] = str(60 * minutes)
    answer.headers["Cache-Control"] = "no-store"
    return answer
