"""The terminal page of one node: a shell in the browser. The shell itself comes through the page's socket."""

from typing import Any, Final
from urllib.parse import quote

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.templatetags.static import static
from django.urls import get_script_prefix, reverse
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from servers import access, panels, second_factor
from servers.models import Server
from servers.tabs import history_url
from servers.text import visible
from tunnel.models import Shell
from tunnel.pages import server as server_page
from tunnel.pages import shells, terminal_words
from tunnel.shells import standing

TAB: Final = "terminal"
SILENCE: Final = 12  # seconds without a word after which the page gives its socket up; one comes each 5
_VENDOR: Final = "tunnel/vendor"
# Fetched when they are needed: most people never search, and not every machine has a GPU.
_LATER: Final = {
    "search": f"{_VENDOR}/xterm-addon-search-0.16.0/addon-search.js",
    "webgl": f"{_VENDOR}/xterm-addon-webgl-0.19.0/addon-webgl.js",
}


@require_safe
def terminal(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the page; who may see the server but open no shell on it gets 403."""
    found = server_page.find(request, pk)
    if not access.allowed(request.user, found, standing.RIGHT):
        raise PermissionDenied(gettext("You may not open shells on this server."))
    if not request.accepts("text/html"):
        return _standing(request, found)
    if not second_factor.recent(request):
        return HttpResponseRedirect(second_factor.page(back=request.get_full_path()))
    site = admin.site
    request.current_app = site.name
    live = shells.read(request, found)
    context = {
        **site.each_context(request),
        "title": visible(found.name),
        "server": found,
        "tabs": panels.tabs(request, found),
        "history": history_url(request, Shell, found),
        "config": {**_config(request, found), "shells": live},
    }
    return TemplateResponse(request, "tunnel/terminal.html", context)


def _standing(request: HttpRequest, found: Server) -> JsonResponse:
    """Tell a page whose socket is refused why that is, if it is by what the panel knows of this person and server."""
    why = ""
    if found.status == Server.Status.SUSPENDED:
        why = "suspended"
    elif not second_factor.recent(request):
        why = "second_factor"
    return JsonResponse({"why": why}, status=403 if why else 200)


def _config(request: HttpRequest, found: Server) -> dict[str, Any]:
    page = reverse("tunnel:terminal", args=(found.pk,))
    return {
        "socket": f"{get_script_prefix()}tunnel/ws/{quote(found.agent_id)}/shell/",
        "page": page,
        "list": reverse("tunnel:shells_data", args=(found.pk,)),
        "confirm": second_factor.page(back=request.get_full_path()),
        "name": visible(found.name),
        "mayChange": access.allowed(request.user, found, standing.OTHERS_RIGHT),
        "poll": shells.POLL,
        "silence": SILENCE,
        "later": {name: static(path) for name, path in _LATER.items()},
        "words": terminal_words.of_script(),
    }
