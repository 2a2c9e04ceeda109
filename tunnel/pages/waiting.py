"""The panel that waits for a server's agent: what it did so far, each failed attempt with its reason, and when it is in."""

from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, JsonResponse
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, get_script_prefix, reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from servers import access
from servers.models import Server
from servers.text import visible
from tunnel import figures, history, presence
from tunnel.history import Kind, LinkEvent
from tunnel.models import Session
from tunnel.pages import words
from tunnel.pages.nodes import EVENTS_PATH

ATTEMPTS: Final = 8  # shown; an agent that is refused tries again and again
POLL: Final = 5  # seconds between two looks while the socket is down, or says nothing


def panel(request: HttpRequest, server: Server) -> SafeString:
    """Render the panel: right without its script, which then keeps it true."""
    if server.connection_type != Server.ConnectionType.TUNNEL:
        return SafeString("")
    config = {
        "events": f"{get_script_prefix()}{EVENTS_PATH}?ids={server.pk}",
        "data": reverse("tunnel:waiting_data", args=(server.pk,)),
        "id": server.pk,
        "poll": POLL,
        "trip": gettext("{number} ms"),
        "ended": gettext("Your login has ended: reload this page to log in again"),
        "shown": look(server),
    }
    context = {"config": config, "url": _server_url(server), "server": visible(server)}
    return render_to_string("tunnel/waiting.html", context, request)


def waiting_data(request: HttpRequest, pk: int) -> JsonResponse:
    """Answer with what the panel shows now; who may not see the server gets 403, there or not."""
    server = access.visible(request.user).filter(pk=pk).first()
    if server is None:
        raise PermissionDenied
    return JsonResponse(look(server))


def look(server: Server) -> dict[str, Any]:
    """Return the state of the wait in words, and the last events of the link, newest first."""
    session = _session(server)
    trip = words.round_trip(figures.clean_rtt(server.rtt_seconds)) if session is not None else ""
    return {
        "connected": session is not None,
        "state": _state(server, session),
        "trip": trip,
        "events": [_event(event) for event in history.link_events(server, ATTEMPTS)],
    }


def _session(server: Server) -> Session | None:
    """Return the open session, if it was made with the newest secret; one with an older is about to be cut."""
    return (
        presence.live_sessions().filter(server=server.pk, secret_version=server.secret_version).first()
        if server.status != Server.Status.SUSPENDED
        else None
    )


def _state(server: Server, session: Session | None) -> str:
    if session is not None:
        return str(presence.State.ACTIVE.label)
    if server.status == Server.Status.SUSPENDED:
        return gettext("The server is suspended: its agent is refused until it is reactivated.")
    return gettext("Waiting for the agent to connect…")


def _event(event: LinkEvent) -> dict[str, Any]:
    """Return one line: when, what happened, and what kind it was."""
    facts = {"address": visible(event.address) or "?", "reason": event.words, "times": event.times}
    if event.kind is Kind.OPENED:
        text = gettext("dialled from {address}").format(**facts)
    elif event.kind is Kind.REFUSED and event.times > 1:
        text = gettext("refused: {reason}, {times} times from {address}").format(**facts)
    elif event.kind is Kind.REFUSED:
        text = gettext("refused: {reason}, from {address}").format(**facts)
    else:
        text = gettext("disconnected: {reason}").format(**facts)
    at = event.at.timestamp()
    return {"kind": event.kind.value, "at": words.moment(at), "exact": words.exact(at), "text": text}


def _server_url(server: Server) -> str:
    """Return the server's page; empty in a panel that has taken it out."""
    for name in ("tunnel:server", "admin:servers_server_change"):
        try:
            return reverse(name, args=(server.pk,))
        except NoReverseMatch:
            continue
    return ""
