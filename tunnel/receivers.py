"""What the tunnel does when something else in the panel changes."""

import logging
from typing import Any

from django.db import transaction

from tunnel import dispatch
from tunnel.models import Recording
from tunnel.recordings import shelf

log = logging.getLogger("tunnel.dispatch")


def identity_changed(sender: object, *, server_id: int, agent_id: str, **kwargs: Any) -> None:  # noqa: ARG001
    """Have the holder of this agent look at once whether it is still welcome.

    A lost announcement only means that it looks a few seconds later, so nothing here may fail a save.
    """
    try:
        dispatch.announce_identity(server_id, agent_id)
    except Exception:
        log.exception("the workers were not told of a changed server agent=%s", agent_id)


def recording_deleted(sender: object, *, instance: Recording, **kwargs: Any) -> None:  # noqa: ARG001
    """Remove the file of a recording that goes, perhaps with its server, once that is certain."""

    def remove() -> None:
        try:
            shelf.remove(instance.pk)
        except Exception:
            log.exception("the file of a deleted recording could not be removed recording=%s", instance.pk)

    transaction.on_commit(remove)
