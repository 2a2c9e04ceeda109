"""The last commands of one server, as one would type them."""

import shlex
from typing import Any, Final, TypedDict

from django.http import HttpRequest

from servers import tabs
from servers.models import CommandRecord, Server
from servers.text import visible
from tunnel.pages import replies

SHOWN: Final = 10
MAX_LINE: Final = 160  # characters of a command line in the list; its own page has the rest


class Row(TypedDict):
    """One command of the history."""

    id: str
    at: float
    who: str
    what: str
    line: str
    state: str
    state_words: str
    code: str
    error: str
    took: str
    url: str


def read(request: HttpRequest, server: Server) -> list[Row]:
    """Return the newest commands of a server this person may see; who may see the server may see its history."""
    linked = tabs.may_see(request, CommandRecord)
    newest = CommandRecord.objects.filter(server=server).order_by("-created_at")[:SHOWN]
    return [_row(record, linked=linked) for record in newest]


def _row(record: CommandRecord, *, linked: bool) -> Row:
    seconds = record.duration_seconds
    return {
        "id": str(record.pk),
        "at": round(record.created_at.timestamp(), 3),
        "who": visible(record.actor),
        "what": visible(record),
        "line": visible(_line(record.params))[:MAX_LINE],
        "state": record.state,
        "state_words": str(CommandRecord.State(record.state).label),
        "code": visible(record.code),
        "error": visible(record.error),
        "took": "" if seconds is None else replies.duration(seconds),
        "url": tabs.record_url(record) if linked else "",
    }


def _line(params: Any) -> str:
    """Return what was to be run, as one would type it; empty for other commands."""
    if not isinstance(params, dict):
        return ""
    shell, argv = params.get("shell"), params.get("argv")
    if isinstance(shell, str):
        return shell
    if isinstance(argv, list):
        return shlex.join(str(word) for word in argv)
    return ""
