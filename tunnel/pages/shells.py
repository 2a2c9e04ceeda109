"""The live shells of one node: who opened them, and who looks at them now."""

from typing import Any, Final, TypedDict
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, JsonResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from servers import access
from servers.models import Server
from servers.text import visible
from servers.threads import in_thread
from tunnel import presence
from tunnel.models import Shell
from tunnel.pages import terminal_words
from tunnel.shells import rows, standing
from tunnel.shells.comparing import compare

SHOWN: Final = 50  # a node has at most 16 of its own; strays of a node that is away come on top
SERVICE: Final = "shell"
POLL: Final = 15  # seconds between two looks of a page


class Row(TypedDict):
    """One live shell."""

    id: str
    who: str  # in words, like viewers
    at: float
    program: str
    viewers: str
    open: str  # where it is joined to type, empty for who may not
    watch: str  # where it is watched, empty for who may not


@require_safe
async def shells_data(request: HttpRequest, pk: int) -> JsonResponse:
    """Answer with the live shells of a node, asked of the node itself where it can be."""
    found, there = await in_thread(_find, request, pk)
    if there:
        await compare(found)
    return JsonResponse({"shells": await in_thread(read, request, found)})


def read(request: HttpRequest, found: Server) -> list[Row]:
    """Return the live shells of a server as this person may join them, the newest first."""
    live = list(Shell.objects.filter(server=found, ended_at=None).order_by("-opened_at")[:SHOWN])
    if not live:
        return []
    viewing = rows.viewing(shell.pk for shell in live)
    may_open = access.allowed(request.user, found, standing.RIGHT)
    person = standing.Standing(request.user, found)
    return [
        _row(
            shell, viewing.get(shell.pk, []), person, joins=may_open and person.may_type(shell), may=may_open
        )
        for shell in live
    ]


def _row(
    shell: Shell, viewing: list[rows.Viewing], person: standing.Standing, *, joins: bool, may: bool
) -> Row:
    page = reverse("tunnel:terminal", args=(shell.server_id,))
    return {
        "id": str(shell.pk),
        "who": terminal_words.who(visible(shell.opener), mine=person.opened(shell)),
        "at": round(shell.opened_at.timestamp(), 3),
        "program": visible(shell.program),
        "viewers": terminal_words.looking([visible(one.name) for one in viewing]),
        "open": f"{page}?{urlencode({'shell': shell.pk})}" if joins else "",
        "watch": f"{page}?{urlencode({'shell': shell.pk, 'watch': 1})}" if may else "",
    }


def _find(request: HttpRequest, pk: int) -> tuple[Server, bool]:
    found = access.visible(request.user).filter(pk=pk).first()
    if found is None:
        raise Http404
    there: Any = presence.live_sessions().filter(server=found)
    return found, SERVICE in (found.capabilities or []) and there.exists()
