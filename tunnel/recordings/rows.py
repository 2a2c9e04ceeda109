"""The rows of recordings: who writes which, how far it is, and why it ended. Each step is one compare-and-set.

Everything here asks the database, and some of it the storage; it is called from threads. Times are the database's.
"""

import logging
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.db import IntegrityError, models, transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from servers.models import Server
from tunnel.conf import settings
from tunnel.models import Recording, RecordingEnd, RecordingPart, Shell, ShellEnd
from tunnel.recordings import shelf
from tunnel.recordings.cast import Written, header
from tunnel.shells import rows as shell_rows
from tunnel.shells.rows import Size

LEASE: Final = timedelta(seconds=9)  # with a look each 3 s, who died is followed within 12 s
MOST_CLAIMS: Final = 20  # recordings a worker takes over at one look, so that the others get some too
MIB: Final = 1024 * 1024
UNKNOWN_SIZE: Final = Size(80, 24)  # of a shell that nobody of this panel opened, until the node tells it

log = logging.getLogger("tunnel.recordings")


@dataclass(frozen=True)
class Turn:
    """The right to write a recording, until somebody else takes it over."""

    recording: uuid.UUID
    holder: str
    number: int


@dataclass(frozen=True)
class Task:
    """What a writer has to know to go on."""

    turn: Turn
    shell: uuid.UUID | None  # none: it was forgotten, there is nothing to go on with
    handle: str
    server: int
    agent_id: str
    opening: bytes  # the first line of the file
    size: Size  # at first
    position: int
    seconds: float
    bytes: int
    parts: int
    elapsed: float  # seconds since it began


def begin(shell: uuid.UUID, size: Size, holder: str) -> Task | None:
    """Begin to record a shell; None when somebody does already, or nothing is to be recorded."""
    if not shelf.wanted():
        return None
    of = Shell.objects.filter(pk=shell).first()
    if of is None:
        return None
    try:
        with transaction.atomic():
            made = Recording.objects.create(
                shell=of,
                server_id=of.server_id,
                opened_by_id=of.opened_by_id,
                opener=of.opener,
                program=of.program,
                cols=size.cols,
                rows=size.rows,
                holder=holder,
                turn=1,
                lease_until=Now() + LEASE,
            )
    except IntegrityError:
        return None
    return _task(Turn(made.pk, holder, 1))


def begin_missing(holder: str) -> list[Task]:
    """Begin to record the live shells that nobody records: their worker died early, or another panel opened them."""
    if not shelf.wanted():
        return []
    unrecorded = Shell.objects.filter(ended_at=None, recording=None).values_list("pk", flat=True)
    begun = (begin(shell, UNKNOWN_SIZE, holder) for shell in unrecorded[:MOST_CLAIMS])
    return [task for task in begun if task is not None]


def claim(holder: str) -> list[Task]:
    """Take over recordings that nobody writes."""
    free = Recording.objects.filter(ended_at=None, lease_until__lt=Now())
    claimed = []
    for pk, turn in free.order_by("lease_until").values_list("pk", "turn")[:MOST_CLAIMS]:
        taken = Recording.objects.filter(pk=pk, turn=turn, ended_at=None, lease_until__lt=Now()).update(
            holder=holder, turn=turn + 1, lease_until=Now() + LEASE
        )
        task = _task(Turn(pk, holder, turn + 1)) if taken else None
        if task is not None:
            claimed.append(task)
    return claimed


def renew(holder: str, turns: Collection[Turn]) -> set[Turn]:
    """Renew leases; return the turns that are still this holder's. One that ran out and nobody took is."""
    mine = Recording.objects.filter(pk__in=[turn.recording for turn in turns], holder=holder, ended_at=None)
    mine.update(lease_until=Now() + LEASE)
    held = dict(mine.values_list("pk", "turn"))
    return {turn for turn in turns if held.get(turn.recording) == turn.number}


def give_back(turn: Turn) -> None:
    """Let another worker write at once."""
    _of(turn).update(lease_until=Now() - timedelta(seconds=1))


def add(turn: Turn, number: int, data: bytes, written: Written) -> bool:
    """Store a part and write down that it is there; False when it is somebody else's turn by now.

    What a worker stored and did not write down is no part of the file.

    Raises:
        OSError, or what the storage raises: it could not be stored.
    """
    name = shelf.put(turn.recording, number, turn.number, data)
    with transaction.atomic():
        ours = _of(turn).filter(parts=number)
        if not ours.update(
            parts=number + 1,
            position=written.position,
            seconds=written.seconds,
            size=F("size") + len(data),
            missing=F("missing") + written.missing,
        ):
            return False
        RecordingPart.objects.create(recording_id=turn.recording, number=number, name=name, size=len(data))
    return True


def end(turn: Turn, how: RecordingEnd, exit_code: int | None = None) -> bool:
    """Write why a recording goes no further; False when somebody else did, or has the turn."""
    return _of(turn).update(ended_at=Now(), end=how, exit_code=exit_code) == 1


def end_with_shell(turn: Turn, shell: uuid.UUID | None) -> None:
    """End a recording whose shell the node does not know any more, as the shell ended."""
    if shell is not None:
        shell_rows.ended(shell, ShellEnd.GONE)
    row = None if shell is None else Shell.objects.filter(pk=shell).first()
    how = RecordingEnd(row.end) if row is not None and row.end else RecordingEnd.GONE
    end(turn, how, None if row is None else row.exit_code)


def server_of(task: Task) -> Server | None:
    """Return the server as it is now; None when it was deleted."""
    return Server.objects.filter(pk=task.server).first()


def is_recorded(shell: uuid.UUID) -> bool:
    """Tell whether what a shell writes is recorded now."""
    return Recording.objects.filter(shell=shell, ended_at=None).exists()


def opening(recording: Recording) -> bytes:
    """Return the first line of a file."""
    who = f", {recording.opener}" if recording.opener else ""
    title = f"{recording.server.name}{who}"
    return header(Size(recording.cols, recording.rows), recording.started_at.timestamp(), title)


def part_names(recording: Recording) -> list[str]:
    """Return the names of the parts that are there, in their order."""
    return list(
        RecordingPart.objects.filter(recording=recording).order_by("number").values_list("name", flat=True)
    )


def remove_old() -> int:
    """Remove the files of recordings that ended too long ago; return how many. What they were stays in the history."""
    old = Recording.objects.filter(
        ended_at__lt=Now() - timedelta(days=settings.KEEP_RECORDINGS), removed_at=None
    )
    if not shelf.is_there():  # the panel keeps recordings no more; whatever else is too old must still go
        if old.exists():
            log.warning("old recordings cannot be removed: the settings name no storage for recordings")
        return 0
    count = 0
    for recording in _each(old):
        shelf.remove(recording)
        RecordingPart.objects.filter(recording=recording).delete()
        count += Recording.objects.filter(pk=recording, removed_at=None).update(removed_at=Now())
    return count


def _each(rows: models.QuerySet[Recording]) -> Iterator[uuid.UUID]:
    yield from list(rows.values_list("pk", flat=True))


def _of(turn: Turn) -> models.QuerySet[Recording]:
    return Recording.objects.filter(Q(ended_at=None), pk=turn.recording, holder=turn.holder, turn=turn.number)


def _task(turn: Turn) -> Task | None:
    found = (
        Recording.objects.filter(pk=turn.recording)
        .select_related("server", "shell")
        .annotate(elapsed=models.ExpressionWrapper(Now() - F("started_at"), models.DurationField()))
        .first()
    )
    if found is None:
        return None
    return Task(
        turn=turn,
        shell=found.shell_id,
        handle=found.shell.handle if found.shell is not None else "",
        server=found.server_id,
        agent_id=found.server.agent_id,
        opening=opening(found),
        size=Size(found.cols, found.rows),
        position=found.position,
        seconds=found.seconds,
        bytes=found.size,
        parts=found.parts,
        elapsed=found.elapsed.total_seconds(),
    )
