"""Recordings of shells: the page that plays one, and its file. Whoever gets the file is written into the history."""

import logging
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any, Final

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseGone,
    StreamingHttpResponse,
)
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.text import slugify
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from servers import access, panels, records
from servers.models import Server
from servers.records import Outcome, State
from servers.text import visible
from servers.threads import in_thread
from tunnel.models import Recording
from tunnel.pages import recording_words
from tunnel.recordings import rows, shelf

RIGHT: Final = "view_recording"
SERVICE: Final = "recording"  # in the history of commands
CONTENT_TYPE: Final = "application/x-asciicast"
# The player is WebAssembly. Where a panel's policy comes from elsewhere and refuses it, the plain player plays.
PLAYER_POLICY: Final = {"script-src": ["'self'", "'wasm-unsafe-eval'"]}

log = logging.getLogger("tunnel.recordings")


@require_safe
async def recording_cast(request: HttpRequest, recording: uuid.UUID) -> HttpResponseBase:
    """Answer with the file, as far as it is written; with `?download` as one to keep."""
    keep = "download" in request.GET
    found, names = await in_thread(_opened, request, recording, "download" if keep else "watch")
    if found.removed_at is not None:
        return HttpResponseGone(gettext("This recording was removed because of its age."))
    if not shelf.is_there():
        return HttpResponse(recording_words.nowhere(), status=503)
    response = StreamingHttpResponse(_joined(found, names), content_type=CONTENT_TYPE)
    if keep:
        response.headers["Content-Disposition"] = f'attachment; filename="{_file_name(found)}"'
    response.headers["Cache-Control"] = "private, no-store"
    return response


@require_safe
def recording(request: HttpRequest, recording: uuid.UUID) -> HttpResponse:
    """Show the page; the file is fetched by its player."""
    found = find(request, recording)
    site = admin.site
    request.current_app = site.name
    cast = reverse("tunnel:recording_cast", args=(found.pk,))
    context = {
        **site.each_context(request),
        "title": visible(found.server.name),
        "server": found.server,
        "recording": found,
        "facts": recording_words.facts(found),
        "out_of_reach": recording_words.out_of_reach(found),
        "tabs": panels.tabs(request, found.server),
        "download": f"{cast}?download=1",
        "config": _config(cast),
    }
    response = TemplateResponse(request, "tunnel/recording.html", context)
    response._csp_update = PLAYER_POLICY  # type: ignore[attr-defined] # what django-csp's own decorator sets
    return response


def find(request: HttpRequest, pk: uuid.UUID) -> Recording:
    """Return a recording that this person may watch.

    Raises:
        Http404: there is none, or not on a server that this person sees.
        PermissionDenied: its server may be seen, and its recordings not.
    """
    found = Recording.objects.select_related("server").filter(pk=pk).first()
    if found is None or not access.allowed(request.user, found.server, "view"):
        raise Http404
    if not access.allowed(request.user, found.server, RIGHT):
        raise PermissionDenied(gettext("You may not watch recordings of this server."))
    return found


def _opened(request: HttpRequest, pk: uuid.UUID, action: str) -> tuple[Recording, list[str]]:
    found = find(request, pk)
    if found.removed_at is None and shelf.is_there() and request.method != "HEAD":
        _note(request, found.server, found, action)
    return found, rows.part_names(found)


def _note(request: HttpRequest, server: Server, found: Recording, action: str) -> None:
    """Write into the history who got which recording, before anything of it is sent."""
    began, number = time.monotonic(), uuid.uuid4()
    params: dict[str, object] = {"recording": str(found.pk), "opened_by": found.opener}
    records.begin(number, server, SERVICE, action, params, request.user, handed_over=True)
    records.end(number, Outcome(State.SUCCEEDED), time.monotonic() - began)


async def _joined(found: Recording, names: list[str]) -> AsyncIterator[bytes]:
    """Yield the parts in their order, as far as they can be read: what stands there plays."""
    if not names:
        yield rows.opening(found)
    for name in names:
        try:
            part = await in_thread(shelf.read, name)
        except Exception:
            log.exception("a part of a recording cannot be read, it ends there recording=%s", found.pk)
            return
        yield part


def _file_name(found: Recording) -> str:
    return f"{slugify(found.server.name) or 'shell'}-{found.started_at:%Y%m%d-%H%M%S}.cast"


def _config(cast: str) -> dict[str, Any]:
    return {
        "cast": cast,
        "words": recording_words.of_script(),
    }
