"""Notices what a save or a deletion of a Server does to its identity, whoever saves it."""

from typing import Any

from django.db.models.signals import post_delete, post_save, pre_save

from servers.models import IDENTITY_FIELDS, Server
from servers.signals import announce

_BEFORE = "_identity_before_save"


def connect() -> None:
    """Start to listen."""
    pre_save.connect(_read_identity, sender=Server, dispatch_uid="servers.identity.before")
    post_save.connect(_announce_change, sender=Server, dispatch_uid="servers.identity.after")
    post_delete.connect(_announce_deletion, sender=Server, dispatch_uid="servers.identity.deleted")


def _read_identity(instance: Server, using: str, update_fields: frozenset[str] | None, **_: Any) -> None:
    """Keep what the row holds now; what the instance was loaded with may be old."""
    touched = update_fields is None or not update_fields.isdisjoint(IDENTITY_FIELDS)
    rows = Server._base_manager.using(using).filter(pk=instance.pk).values(*IDENTITY_FIELDS)
    instance.__dict__[_BEFORE] = rows.first() if touched and instance.pk is not None else None


def _announce_change(instance: Server, using: str, update_fields: frozenset[str] | None, **_: Any) -> None:
    before = instance.__dict__.pop(_BEFORE, None)
    written = IDENTITY_FIELDS if update_fields is None else update_fields.intersection(IDENTITY_FIELDS)
    if before is not None and any(before[name] != getattr(instance, name) for name in written):
        announce(instance.pk, before["agent_id"], using=using)


def _announce_deletion(instance: Server, using: str, **_: Any) -> None:
    announce(instance.pk, instance.agent_id, using=using)
