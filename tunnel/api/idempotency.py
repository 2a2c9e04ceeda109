"""`Idempotency-Key`: the same command twice, because its sender heard no answer, runs once.

The row is there before the command is sent, so a process that dies in between leaves it without a reply: whoever asks
again is told so, and nothing runs a second time. Only a command that certainly did not run gives its key back.
"""

import hashlib
import json
import logging
import re
import uuid
from dataclasses import dataclass
from typing import Any, Final

from django.db import Error as DatabaseError
from django.db import IntegrityError, transaction
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.response import Response

from servers.models import Server
from servers.threads import in_thread
from tunnel.api import codes, problems
from tunnel.api.authentication import owner_of
from tunnel.api.problems import Problem
from tunnel.api.views import JsonRenderer
from tunnel.models import IdempotencyKey

log = logging.getLogger("tunnel.api")

HEADER: Final = "HTTP_IDEMPOTENCY_KEY"
MAX_REPLY: Final = (
    1024 * 1024
)  # characters kept; an agent's message has 256 KiB, its escapes in JSON may be longer
_SHAPE: Final = re.compile(r"[!-~]{1,255}")


@dataclass(frozen=True)
class Claim:
    """A key taken for one command, or the reply it has already; without a key there is nothing to do."""

    row: int | None = None
    reply: Response | None = None

    async def keep(self, response: Response) -> None:
        """Keep the reply for whoever asks again."""
        if self.row is not None:
            await in_thread(_keep, self.row, response)

    async def release(self) -> None:
        """Nothing ran: let whoever asks again run it."""
        await in_thread(self.give_back)

    def give_back(self) -> None:
        """Do as `release`, in a thread."""
        if self.row is not None:
            _release(self.row)


def claim(request: Any, server: Server, command: uuid.UUID) -> Claim:
    """Take the request's key for this command; called in a thread, outside a transaction.

    Raises:
        ValidationError: the key has no valid shape.
        Problem: it belongs to another request, or to one that has no reply.
    """
    key = request.META.get(HEADER)
    if key is None:
        return Claim()
    if not _SHAPE.fullmatch(key):
        wrong = ErrorDetail("1 to 255 visible ASCII characters", code="invalid")
        raise ValidationError({"Idempotency-Key": [wrong]})
    owner, fingerprint = owner_of(request), _fingerprint(server, request.data)
    try:
        with transaction.atomic():
            row = IdempotencyKey.objects.create(
                owner=owner, key=key, fingerprint=fingerprint, command=command
            )
    except IntegrityError:
        return Claim(reply=_earlier(owner, key, fingerprint))
    return Claim(row.pk)


def _earlier(owner: str, key: str, fingerprint: str) -> Response:
    row = IdempotencyKey.objects.filter(owner=owner, key=key).first()
    if row is None:  # given back between the two looks
        raise Problem(codes.IN_PROGRESS)
    if row.fingerprint != fingerprint:
        raise Problem(codes.KEY_REUSED)
    if row.status is None:
        raise Problem(codes.IN_PROGRESS, id=str(row.command))
    if not row.reply:
        raise Problem(codes.REPLY_NOT_KEPT, id=str(row.command))
    kind = None if row.status == 200 else problems.CONTENT_TYPE
    return Response(
        json.loads(row.reply), row.status, headers={"Idempotency-Replayed": "true"}, content_type=kind
    )


def _keep(row: int, response: Response) -> None:
    text = JsonRenderer().render(response.data).decode()
    kept = text if len(text) <= MAX_REPLY else ""
    try:
        IdempotencyKey.objects.filter(pk=row).update(status=response.status_code, reply=kept)
    except DatabaseError:
        log.exception(
            "the reply to an idempotency key could not be kept; who asks again is told that it has none"
        )


def _release(row: int) -> None:
    try:
        IdempotencyKey.objects.filter(pk=row).delete()
    except DatabaseError:
        log.exception(
            "an idempotency key could not be given back; who asks again is told that it has no reply"
        )


def _fingerprint(server: Server, body: Any) -> str:
    text = json.dumps([server.pk, body], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
