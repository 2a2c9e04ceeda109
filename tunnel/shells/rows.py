"""The rows of shells and of who has them open: any worker finds there what another one began.

Everything here asks the database and is called from threads.
"""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from servers.access import Actor, person
from servers.models import Server
from servers.redaction import bounded
from tunnel.models import Recording, RecordingEnd, Shell, ShellEnd, ShellViewer

LEASE: Final = timedelta(seconds=20)  # a viewer whose worker died is shown so long; it is renewed each 5 s
MAX_HANDLE: Final = 128  # characters, as an agent names its shells
MAX_NAME: Final = 150  # characters of a person's name, as in Django's own user model
MAX_PROGRAM: Final = 200  # characters of a program's path
MOST_CODE: Final = 2**31  # what a column takes; a program ends with at most 255
MOST_TOLD: Final = 64  # shells a node may tell of; ours has 16, and as many that ended
YOUNG: Final = timedelta(seconds=30)  # a shell so new may not be in the list that was asked for before


@dataclass(frozen=True)
class Size:
    """A terminal in characters."""

    cols: int
    rows: int

    def within(self, other: "Size") -> "Size":
        """Return what fits into both."""
        return Size(min(self.cols, other.cols), min(self.rows, other.rows))


@dataclass(frozen=True)
class Viewing:
    """One browser that has a shell open."""

    id: str
    user: str  # its primary key
    name: str
    writes: bool
    size: Size


def opened(server: Server, handle: str, program: str, actor: Actor) -> Shell:
    """Write that a person opened this shell; one that was found on the node meanwhile is theirs."""
    shell, _ = Shell.objects.update_or_create(
        server=server,
        handle=handle,
        defaults={
            "program": bounded(program, MAX_PROGRAM),
            "opened_by_id": _key(actor),
            "opener": bounded(str(actor), MAX_NAME),
        },
    )
    return shell


def find(server: Server, shell: uuid.UUID) -> Shell | None:
    """Return a shell of this server."""
    return Shell.objects.filter(server=server, pk=shell).first()


def ended(shell: uuid.UUID, how: ShellEnd, exit_code: int | None = None) -> bool:
    """Write how a shell ended; False when that was written before."""
    return (
        Shell.objects.filter(pk=shell, ended_at=None).update(ended_at=Now(), end=how, exit_code=exit_code)
        == 1
    )


def not_closed(shell: uuid.UUID) -> None:
    """Take back that a shell was closed: the node did not say so. Its own list says whether it lives."""
    Shell.objects.filter(pk=shell, end=ShellEnd.CLOSED).update(ended_at=None, end="")


def open_of(server: Server, actor: Actor) -> int:
    """Return how many shells of this person are open on a server, as far as the panel knows."""
    return Shell.objects.filter(server=server, opened_by=_key(actor), ended_at=None).count()


def compare(server: Server, told: list[Any]) -> None:
    """Take the node's own list of its shells: end those it knows no more, and write down those we did not know.

    A shell that was believed gone because its node was away for long lives on when it is in the list after all.
    A shell is not ours when the worker that opened it died before it wrote so. What a node says beyond what any node
    has is not read: each entry may become a row.
    """
    listed = [one for one in told[:MOST_TOLD] if isinstance(one, dict)]
    there: dict[str, Mapping[str, Any]] = {
        one["handle"]: one for one in listed if is_handle(one.get("handle"))
    }
    mine = Shell.objects.filter(server=server)
    _take_back(mine, [handle for handle, one in there.items() if not is_code(one.get("exitCode"))])
    gone = mine.filter(ended_at=None, opened_at__lt=Now() - YOUNG).exclude(handle__in=there)
    gone.update(ended_at=Now(), end=ShellEnd.GONE)
    codes = {handle: one["exitCode"] for handle, one in there.items() if is_code(one.get("exitCode"))}
    for handle, code in codes.items():  # a few: the node keeps an ended shell for a minute
        mine.filter(ended_at=None, handle=handle).update(ended_at=Now(), end=ShellEnd.EXITED, exit_code=code)
    known = set(mine.filter(handle__in=there).values_list("handle", flat=True))
    strays = [
        Shell(server=server, handle=handle, program=bounded(str(one.get("shell") or ""), MAX_PROGRAM))
        for handle, one in there.items()
        if handle not in known and handle not in codes
    ]
    Shell.objects.bulk_create(strays, ignore_conflicts=True)


def _take_back(shells: QuerySet[Shell], alive: list[str]) -> None:
    """Let shells live on that were believed gone and are not, and their recordings with them."""
    keys = list(shells.filter(handle__in=alive, end=ShellEnd.GONE).values_list("pk", flat=True))
    if keys:  # hardly ever: no lock is taken for nothing
        shells.filter(pk__in=keys).update(ended_at=None, end="")
        recordings = Recording.objects.filter(shell__in=keys, end=RecordingEnd.GONE, removed_at=None)
        recordings.update(ended_at=None, end="")


def is_code(code: object) -> bool:
    """Tell whether a node may say that a program ended so: what any database takes."""
    return isinstance(code, int) and not isinstance(code, bool) and abs(code) < MOST_CODE


def _key(actor: Actor) -> Any:
    """Return the primary key of who acts, None for nobody with an account."""
    who = person(actor)
    return None if who is None else who.pk


def is_handle(handle: object) -> bool:
    """Tell whether a node may name a shell so: what any database takes."""
    return isinstance(handle, str) and 0 < len(handle) <= MAX_HANDLE and handle.isprintable()


# -- viewers ----------------------------------------------------------------------------------------------------


def enter(shell: uuid.UUID, actor: Actor, size: Size, *, writes: bool) -> uuid.UUID:
    """Write that somebody has this shell open, and return the key of that row."""
    viewer = ShellViewer.objects.create(
        shell_id=shell,
        user_id=_key(actor),
        name=bounded(str(actor), MAX_NAME),
        writes=writes,
        cols=size.cols,
        rows=size.rows,
        until=Now() + LEASE,
    )
    return viewer.pk


def stay(viewer: uuid.UUID, size: Size, *, writes: bool) -> bool:
    """Renew the row of a viewer; False when it is gone."""
    return (
        ShellViewer.objects.filter(pk=viewer).update(
            until=Now() + LEASE, cols=size.cols, rows=size.rows, writes=writes
        )
        == 1
    )


def leave(viewer: uuid.UUID) -> None:
    """Write that a browser has a shell open no more, and forget those whose workers died."""
    with transaction.atomic():
        ShellViewer.objects.filter(pk=viewer).delete()
        ShellViewer.objects.filter(until__lt=Now()).delete()


def viewing(shells: Iterable[uuid.UUID]) -> dict[uuid.UUID, list[Viewing]]:
    """Return who has these shells open now, those who came first before the others."""
    rows = ShellViewer.objects.filter(shell__in=list(shells), until__gt=Now()).order_by("since", "pk")
    found: dict[uuid.UUID, list[Viewing]] = {}
    for row in rows:
        one = Viewing(str(row.pk), str(row.user_id), row.name, row.writes, Size(row.cols, row.rows))
        found.setdefault(row.shell_id, []).append(one)
    return found


def viewers_of_person(actor: Actor) -> int:
    """Return how many terminals a person has open."""
    return ShellViewer.objects.filter(user=_key(actor), until__gt=Now()).count()


def smallest(viewers: Iterable[Viewing]) -> Size | None:
    """Return the size that fits everybody who looks; None when nobody does."""
    size: Size | None = None
    for one in viewers:
        size = one.size if size is None else size.within(one.size)
    return size
