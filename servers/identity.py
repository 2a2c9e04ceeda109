"""The only way to change who a server is: make it, suspend it, let it back in, give it another secret.

Each change is a compare-and-set, stands in the admin's history when a user made it, and is announced by
`servers.signals.identity_changed` after its commit. Callers ask `servers.access` first; nothing is asked here.
"""

from django.apps import apps
from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Now
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from servers import access, credentials
from servers.access import Actor
from servers.errors import ChangedMeanwhile
from servers.models import AGENT_ID_LENGTHS, IDENTITY_FIELDS, Server
from servers.signals import announce

CREATE_TRIES = 3  # two people may be given the same suggestion at the same moment
_SHORTEST, _LONGEST = AGENT_ID_LENGTHS
_ROOM_FOR_NUMBER = 6  # "-99999": nobody names so many servers alike


@sensitive_variables()
def create(name: str, *, agent_id: str | None = None, by: Actor | None = None) -> tuple[Server, str]:
    """Make a tunnel server and return it with its secret, which is shown now or never.

    Raises:
        ValidationError: the name or the agent id is taken or has no valid shape.
    """
    tries = 0
    while True:
        tries += 1
        server = Server(name=name, agent_id=agent_id or suggest_agent_id(name))
        secret = equip(server)
        server.full_clean()
        try:
            with transaction.atomic():
                server.save(force_insert=True)
                _note(server, by, _("Added."), flag="ADDITION")
        except IntegrityError:
            if tries == CREATE_TRIES:
                raise
        else:
            return server, secret


def suggest_agent_id(name: str) -> str:
    """Return a free agent id that resembles `name`."""
    base = slugify(name)[: _LONGEST - _ROOM_FOR_NUMBER].strip("-_")
    if len(base) < _SHORTEST:
        base = f"agent-{base}".rstrip("-")
    taken = set(Server.objects.filter(agent_id__startswith=base).values_list("agent_id", flat=True))
    if base not in taken:
        return base
    return next(free for number in range(2, len(taken) + 3) if (free := f"{base}-{number}") not in taken)


@sensitive_variables()
def equip(server: Server) -> str:
    """Give a server that is not saved yet its first secret and return it."""
    secret = credentials.make_secret()
    server.secret_digest = credentials.digest(secret)
    return secret


def suspend(server: Server, *, by: Actor | None = None) -> bool:
    """Refuse the agent from now on and cut it off; False when the server was suspended already."""
    return _set_status(
        server, (Server.Status.UNKNOWN, Server.Status.ACTIVE), Server.Status.SUSPENDED, by, _("Suspended.")
    )


def reactivate(server: Server, *, by: Actor | None = None) -> bool:
    """Let a suspended server back in; False when it was not suspended."""
    return _set_status(server, (Server.Status.SUSPENDED,), Server.Status.ACTIVE, by, _("Reactivated."))


def mark_seen(server_pk: int) -> bool:
    """Note a contact, in the database's time; True for the first one of an unknown server.

    Unknown becomes active, and nothing else does, a suspension least of all.
    """
    contacted = Server.objects.filter(pk=server_pk)
    contacted.update(first_seen=Coalesce("first_seen", Now()), last_seen=Now())
    return contacted.filter(status=Server.Status.UNKNOWN).update(status=Server.Status.ACTIVE) == 1


@sensitive_variables()
def rotate_secret(server: Server, *, by: Actor | None = None) -> str:
    """Give the server a new secret and return it; the old one is worth nothing from now on.

    Raises:
        ChangedMeanwhile: somebody else gave it another secret since `server` was loaded.
    """
    secret = credentials.make_secret()
    _set_digest(server, credentials.digest(secret), by, _("Secret rotated."))
    return secret


@sensitive_variables()
def set_secret(server: Server, chosen: str, *, by: Actor | None = None) -> None:
    """Give the server a secret that a person chose.

    Raises:
        SecretTooShort: fewer than 12 characters.
        SecretNotSendable: no header could carry it.
        ChangedMeanwhile: somebody else gave it another secret since `server` was loaded.
    """
    _set_digest(server, credentials.digest_chosen(chosen), by, _("Secret replaced by a chosen one."))


@transaction.atomic
def _set_status(
    server: Server, old: tuple[Server.Status, ...], new: Server.Status, by: Actor | None, message: str
) -> bool:
    won = Server.objects.filter(pk=server.pk, status__in=old).update(status=new) == 1
    server.refresh_from_db(fields=IDENTITY_FIELDS)
    if won:
        _note(server, by, message)
        announce(server.pk, server.agent_id)
    return won


@transaction.atomic
def _set_digest(server: Server, digest: str, by: Actor | None, message: str) -> None:
    same = Server.objects.filter(pk=server.pk, secret_version=server.secret_version)
    if not same.update(secret_digest=digest, secret_version=F("secret_version") + 1):
        raise ChangedMeanwhile(f"the secret of {server.name}")
    server.refresh_from_db(fields=IDENTITY_FIELDS)
    _note(server, by, message)
    announce(server.pk, server.agent_id)


def note_change(server: Server, by: Actor | None, message: str) -> None:
    """Write into the admin's history that `by` changed this server."""
    _note(server, by, message)


def note_deletion(server: Server, by: Actor | None) -> None:
    """Write into the admin's history that `by` deletes this server; call it before."""
    _note(server, by, "", flag="DELETION")


def _note(server: Server, by: Actor | None, message: str, *, flag: str = "CHANGE") -> None:
    """Write the admin's history, where there is an admin and a person."""
    person = access.person(by)
    if person is None or not apps.is_installed("django.contrib.admin"):
        return
    from django.contrib.admin import models as history  # of an app a panel may lack

    history.LogEntry.objects.log_actions(
        person.pk, [server], getattr(history, flag), message, single_object=True
    )
