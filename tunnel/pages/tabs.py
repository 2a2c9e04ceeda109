"""The tabs the tunnel adds to the pages of a server: its link, its terminal, and its sessions in the history."""

from collections.abc import Iterator
from typing import Final

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext_lazy as _

from servers import access
from servers.models import Server
from servers.panels import FIRST, Tab
from servers.tabs import history_url
from tunnel.models import Recording, Session

OVERVIEW: Final = "overview"
TERMINAL: Final = "terminal"
SESSIONS: Final = "sessions"
RECORDINGS: Final = "recordings"
_PLACE_OF_TERMINAL: Final = 10
_PLACE_OF_SESSIONS: Final = 70
_PLACE_OF_RECORDINGS: Final = 75


def of_server(request: HttpRequest, server: Server) -> Iterator[Tab]:
    """Return the tabs of the tunnel that lead somewhere for this person."""
    if access.allowed(request.user, server, "view"):
        try:
            yield Tab(OVERVIEW, _("Overview"), reverse("tunnel:server", args=(server.pk,)), FIRST)
        except NoReverseMatch:  # the panel does not include the tunnel's pages
            return
        if access.allowed(request.user, server, "open_shell"):
            terminal = reverse("tunnel:terminal", args=(server.pk,))
            yield Tab(TERMINAL, _("Terminal"), terminal, _PLACE_OF_TERMINAL)
    if sessions := history_url(request, Session, server):
        yield Tab(SESSIONS, _("Sessions"), sessions, _PLACE_OF_SESSIONS)
    if access.allowed(request.user, server, "view_recording") and (
        recordings := history_url(request, Recording, server)
    ):
        yield Tab(RECORDINGS, _("Recordings"), recordings, _PLACE_OF_RECORDINGS)
