"""The history of commands: each state is written before what it announces, by compare-and-set, and never taken back."""

import logging
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db import Error as DatabaseError
from django.db import transaction
from django.utils import timezone

from agent_client.protocol.codes import Code
from servers import telling
from servers.access import Actor, person
from servers.models import CommandRecord, Server
from servers.redaction import bounded, redacted
from servers.signals import command_finished

log = logging.getLogger("servers.records")

State = CommandRecord.State

STEPS: dict[CommandRecord.State, frozenset[CommandRecord.State]] = {
    State.PENDING: frozenset({State.SENT, State.FAILED, State.CANCELLED}),
    State.SENT: frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.UNKNOWN}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
    State.UNKNOWN: frozenset(),
}
OPEN = tuple(state for state, following in STEPS.items() if following)

MAX_FORGOTTEN = 1000  # records a call ends of each state; the next call ends more
MAX_ERROR = 2000  # characters of an error a person reads in a list
MAX_WORD = 64  # characters of a service, an action, a code
MAX_ACTOR = 150  # characters of a user name, as in Django's own user model


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    state: CommandRecord.State
    code: str = ""
    error: str = ""


def begin(
    command_id: UUID,
    server: Server,
    service: str,
    action: str,
    params: dict[str, object],
    actor: Actor,
    *,
    handed_over: bool = False,
) -> None:
    """Write that `actor` is about to give this command; with `handed_over` that the transport gets it at once."""
    who = person(actor)
    CommandRecord.objects.create(
        id=command_id,
        server=server,
        server_name=server.name,
        service=bounded(service, MAX_WORD),
        action=bounded(action, MAX_WORD),
        params=redacted(params),
        actor_user_id=None if who is None else who.pk,
        actor=bounded(str(actor), MAX_ACTOR),
        state=State.SENT if handed_over else State.PENDING,
    )


def hand_over(command_id: UUID) -> bool:
    """Write that the transport gets the command now; False when somebody ended it before."""
    return _step(command_id, State.SENT)


def end(command_id: UUID, outcome: Outcome, duration: float) -> bool:
    """Write how the command ended, after `duration` seconds; False when it could not be written.

    The command is over whatever happens here, so a database that is away is logged and not raised.
    """
    try:
        with transaction.atomic():  # in a caller's transaction a failure here must not spoil the rest
            written = _step(
                command_id,
                outcome.state,
                code=bounded(outcome.code, MAX_WORD),
                error=bounded(outcome.error, MAX_ERROR),
                finished_at=timezone.now(),
                duration_seconds=duration,
            )
    except DatabaseError:
        log.exception("command %s ended as %s, which could not be recorded", command_id, outcome.state)
        return False
    if written:
        _tell_finished(command_id)
    else:
        log.warning("command %s ended as %s, but its record was closed or gone", command_id, outcome.state)
    return written


def end_forgotten(older_than: timedelta) -> int:
    """End what a died process left open: what was handed over is unknown, what was not did not run; return how many."""
    made_before = CommandRecord.objects.filter(created_at__lt=timezone.now() - older_than)
    forgotten = {
        State.SENT: Outcome(State.UNKNOWN, "", "the panel stopped before it saw the answer"),
        State.PENDING: Outcome(
            State.FAILED, Code.NOT_SENT.value, "the panel stopped before the command was sent"
        ),
    }
    return sum(
        _end_forgotten(pk, state, outcome)
        for state, outcome in forgotten.items()
        for pk in made_before.filter(state=state).values_list("pk", flat=True)[:MAX_FORGOTTEN]
    )


def _end_forgotten(command_id: UUID, state: CommandRecord.State, outcome: Outcome) -> bool:
    ended = CommandRecord.objects.filter(pk=command_id, state=state).update(
        state=outcome.state, code=outcome.code, error=outcome.error, finished_at=timezone.now()
    )
    if ended:
        _tell_finished(command_id)
    return bool(ended)


def _tell_finished(command_id: UUID) -> None:
    telling.tell(command_finished, Server, lambda: _facts(command_id))


def _facts(command_id: UUID) -> dict[str, object] | None:
    """Return what `command_finished` carries; None when the record is gone already."""
    record = CommandRecord.objects.filter(pk=command_id).select_related("server").first()
    if record is None:
        return None
    return {
        "server_id": record.server_id,
        "agent_id": record.server.agent_id if record.server else "",
        "command_id": command_id,
        "service": record.service,
        "action": record.action,
        "state": State(record.state),
        "code": record.code,
        "duration_seconds": record.duration_seconds,
        "actor": record.actor,
    }


def _step(command_id: UUID, to: CommandRecord.State, **facts: object) -> bool:
    legal = [state for state, following in STEPS.items() if to in following]
    return CommandRecord.objects.filter(pk=command_id, state__in=legal).update(state=to, **facts) == 1
