"""The one door to a server, however it is reached.

    from servers import nodes
    nodes.run(server, "system", "getUsage", actor=request.user)

Call it outside a transaction: what `run` records would be rolled back with it, while the command has run.
"""

import asyncio
import logging
import time
import uuid
from dataclasses import dataclass
from typing import Any

from django.db import Error as DatabaseError
from django.db import transaction

from agent_client.protocol.codes import Code
from servers import access, records, second_factor, transports, watching
from servers.errors import CommandError, NotAllowed, NotSent, SecondFactorNeeded
from servers.models import Server
from servers.records import Outcome, State
from servers.threads import Lane, in_thread

log = logging.getLogger("servers.nodes")

TIMEOUT = 10.0  # seconds; a browser gives up at about 15
# Database connections for records alone. Who writes waits for other writers, on a locked SQLite for long: what only
# reads must not stand behind them.
RECORD_THREADS = 4
DOING = {"run_command": "run commands", "open_shell": "open shells", "forward_port": "forward ports"}

recording = Lane("servers-records", RECORD_THREADS)


_CALLED_OFF = Outcome(State.CANCELLED, Code.CANCELLED.value, "the caller went away before it was sent")


@dataclass(frozen=True)
class _Command:
    id: uuid.UUID
    server: Server
    service: str
    action: str
    params: dict[str, Any]
    actor: access.Actor | None
    began: float  # on the monotonic clock
    perm: str | None = None  # what it needs besides what its service and action ask for
    own: bool = False  # it reaches nothing that is somebody else's

    @property
    def perms(self) -> tuple[str, ...]:
        """Every permission it needs."""
        besides = None if self.own else access.asked_besides(self.service, self.action)
        asked = (access.asked_for(self.service), besides, self.perm)
        return tuple(perm for perm in asked if perm is not None)


def run(
    server: Server,
    service: str,
    action: str,
    params: dict[str, Any] | None = None,
    *,
    actor: access.Actor | None = None,
    timeout: float = TIMEOUT,
    command_id: uuid.UUID | None = None,
) -> Any:
    """Run one action of one service on a server and return its data.

    `actor` is the user who asks, `access.CONSOLE` for somebody with a shell on the panel's host, or None for the
    panel's own errands, which are neither judged nor recorded. `timeout` is in seconds. `command_id`, if given, is a
    fresh one by which the caller finds the record again.

    Raises:
        NotAllowed: the actor may not do this here (`access.SERVICES`), or the server is suspended.
        SecondFactorNeeded: the person has to confirm first (`servers.second_factor`).
        CommandError: it did not end well; `ran` says "no", "yes" or "unknown".
    """
    command = _Command(
        command_id or uuid.uuid4(), server, service, action, dict(params or {}), actor, time.monotonic()
    )
    transport = _admit(command)
    try:
        data = transport.run(
            server, service, action, command.params, timeout=timeout, command_id=str(command.id)
        )
    except BaseException as exc:
        _end(command, _outcome(exc))
        raise
    _end(command, Outcome(State.SUCCEEDED))
    return data


async def arun(
    server: Server,
    service: str,
    action: str,
    params: dict[str, Any] | None = None,
    *,
    actor: access.Actor | None = None,
    timeout: float = TIMEOUT,
    command_id: uuid.UUID | None = None,
    own: bool = False,
) -> Any:
    """Do as `run` does, on an event loop. With `own` the caller has seen that the actor may do this to that shell."""
    command = _Command(
        command_id or uuid.uuid4(),
        server,
        service,
        action,
        dict(params or {}),
        actor,
        time.monotonic(),
        own=own,
    )
    return await Admitted(command, await _admit_in_thread(command)).arun(timeout)


class Admitted:
    """A command that was judged and recorded, and is not sent yet: run it or call it off, once, on an event loop."""

    def __init__(self, command: "_Command", transport: transports.Transport) -> None:
        self._command = command
        self._transport = transport

    async def arun(self, timeout: float = TIMEOUT) -> Any:
        """Send it and return its data; `timeout` is in seconds.

        Raises:
            CommandError: it did not end well; `ran` says "no", "yes" or "unknown".
        """
        command = self._command
        try:
            data = await self._transport.arun(
                command.server,
                command.service,
                command.action,
                command.params,
                timeout=timeout,
                command_id=str(command.id),
            )
        except BaseException as exc:
            await _end_in_thread(command, _outcome(exc))
            raise
        await _end_in_thread(command, Outcome(State.SUCCEEDED))
        return data

    async def call_off(self) -> None:
        """Record that nobody waited for it any more before it was sent."""
        await _end_in_thread(self._command, _CALLED_OFF)


def admit(
    server: Server,
    service: str,
    action: str,
    params: dict[str, Any] | None = None,
    *,
    actor: access.Actor | None = None,
    command_id: uuid.UUID | None = None,
) -> Admitted:
    """Judge and record a command as `run` does, in a thread that has other work in the database too.

    Raises:
        NotAllowed, SecondFactorNeeded, NotSent: as `run` does; nothing is left to do.
    """
    command = _Command(
        command_id or uuid.uuid4(), server, service, action, dict(params or {}), actor, time.monotonic()
    )
    return Admitted(command, _admit(command))


async def open_stream(
    server: Server,
    service: str,
    action: str,
    params: dict[str, Any] | None = None,
    *,
    actor: access.Actor | None = None,
    timeout: float = TIMEOUT,
    command_id: uuid.UUID | None = None,
    window: int = transports.WINDOW,
    perm: str | None = None,
) -> transports.ByteStream:
    """Run an action that opens a stream, on an event loop; the stream is yours to end.

    The record says `succeeded` once it is open. `timeout` is for the opening, in seconds; at most `window` bytes come
    before they are used. `perm` is a permission that is needed besides the one of the service. A stream ends with
    `revoked` within 15 seconds after its actor lost a right to it, or its server was suspended.

    Raises:
        NotAllowed, SecondFactorNeeded, CommandError: as `run` does.
    """
    command = _Command(
        command_id or uuid.uuid4(), server, service, action, dict(params or {}), actor, time.monotonic(), perm
    )
    transport = await _admit_in_thread(command)
    try:
        stream = await transport.open_stream(
            server,
            service,
            action,
            command.params,
            timeout=timeout,
            command_id=str(command.id),
            window=window,
        )
    except BaseException as exc:
        await _end_in_thread(command, _outcome(exc))
        raise
    try:
        await _end_in_thread(command, Outcome(State.SUCCEEDED))
    except BaseException:
        await stream.reset()
        raise
    watching.here().add(watching.Watched(stream, server.pk, actor, command.perms))
    return stream


def _admit(command: _Command) -> transports.Transport:
    """Judge the actor and write the record up to `sent`; whatever fails here, nothing has been sent."""
    if command.actor is not None:
        _judge(command, command.actor)
    if command.actor is not None and not second_factor.vouched(command.actor):
        raise SecondFactorNeeded
    if command.server.status == Server.Status.SUSPENDED:
        raise NotAllowed(f"{command.server} is suspended, reactivate it first")
    if command.actor is not None:
        _record(command, command.actor)
    return transports.for_server(command.server)


def _judge(command: _Command, actor: access.Actor) -> None:
    for perm in command.perms:
        if not access.allowed(actor, command.server, perm):
            log.warning("refused %s %s.%s", actor, command.service, command.action, extra=_fields(command))
            what = DOING.get(perm, f"do what needs {perm}")
            raise NotAllowed(f"{actor} may not {what} on {command.server}, ask for this permission")


def _record(command: _Command, actor: access.Actor) -> None:
    try:
        with transaction.atomic():  # in a caller's transaction a failure here must not spoil the rest
            records.begin(
                command.id,
                command.server,
                command.service,
                command.action,
                command.params,
                actor,
                handed_over=True,  # one statement for both: nothing waits between them
            )
    except DatabaseError as exc:
        raise NotSent("the command could not be recorded and was not sent, check the database") from exc


def _end(command: _Command, outcome: Outcome) -> None:
    if command.actor is not None:
        records.end(command.id, outcome, time.monotonic() - command.began)


async def _admit_in_thread(command: _Command) -> transports.Transport:
    recorded = command.actor is not None
    admitting = recording.run(_admit, command) if recorded else in_thread(_admit, command)
    admission = asyncio.ensure_future(admitting)
    try:
        return await asyncio.shield(admission)
    except asyncio.CancelledError:
        # The thread goes on: its record must not stay open, and nothing was sent.
        admission.add_done_callback(_see_result)
        await asyncio.wait([admission])
        await _end_in_thread(command, _CALLED_OFF)
        raise


async def _end_in_thread(command: _Command, outcome: Outcome) -> None:
    if command.actor is not None:
        await asyncio.shield(asyncio.ensure_future(recording.run(_end, command, outcome)))


def _see_result(admission: "asyncio.Future[Any]") -> None:
    if not admission.cancelled() and (failure := admission.exception()) is not None:
        log.info("a command whose caller went away was refused: %s", failure)


def _outcome(exc: BaseException) -> Outcome:
    """Say what is known of a command whose transport raised `exc`."""
    if isinstance(exc, CommandError):
        if exc.code == Code.CANCELLED.value:
            return Outcome(State.CANCELLED, exc.code, str(exc))
        return Outcome(State.UNKNOWN if exc.ran == "unknown" else State.FAILED, exc.code, str(exc))
    if isinstance(exc, Exception):
        # Only the kind: the sentence of a foreign error may hold anything.
        return Outcome(State.UNKNOWN, Code.INTERNAL.value, f"the panel failed with {type(exc).__name__}")
    return Outcome(State.UNKNOWN, "", "the caller went away before the answer")


def _fields(command: _Command) -> dict[str, str]:
    return {"agent": command.server.agent_id, "command": str(command.id)}
