"""API tokens: made here, shown once, kept as digests, and looked up when a program shows one.

A token holds 256 random bits, which nobody guesses, so a plain SHA-256 protects it and a look-up by it tells nothing.
"""

import hashlib
import logging
import re
import secrets
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib.auth.models import AbstractBaseUser
from django.db import Error as DatabaseError
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.debug import sensitive_variables

from servers import access, second_factor
from servers.access import Narrowed
from servers.errors import TokenNotPossible
from servers.models import ApiToken, ServerGroup
from servers.rights import PERMISSIONS

log = logging.getLogger("servers.tokens")

PREFIX: Final = "yta_"  # lets secret scanners recognise one in a repository
RANDOM_BYTES: Final = 32
SHOWN: Final = (
    len(PREFIX) + 6
)  # characters that tell a person's tokens apart and help nobody to guess the rest
LIFE: Final = timedelta(days=90)
LONGEST_LIFE: Final = timedelta(days=366)  # a year; who needs it for longer makes a new one in time
MAX_LIVE: Final = 50  # tokens a person has at a time; more cannot be overseen
USE_NOTED_EVERY: Final = timedelta(minutes=1)  # so that a busy program writes one row a minute
_SHAPE: Final = re.compile(r"yta_[A-Za-z0-9_-]{43}")


@sensitive_variables()
def create(
    user: AbstractBaseUser,
    name: str,
    permissions: Collection[str],
    *,
    expires_at: datetime | None = None,
    groups: Collection[ServerGroup] | None = None,
) -> tuple[ApiToken, str]:
    """Make a token for `user` and return its row and the token, which is shown now or never.

    `permissions` are words of PERMISSIONS that the user has, `groups` limits it to their servers, None to none.

    Raises:
        TokenNotPossible: a right the user lacks, no right at all, an end too far away, too many tokens.
        ValidationError: the name has no valid shape.
    """
    token, row = draft(user, name, permissions, expires_at=expires_at, all_servers=groups is None)
    row.full_clean()
    with transaction.atomic():
        row.save(force_insert=True)
        row.groups.set(groups or ())
    return row, token


@sensitive_variables()
def draft(
    user: AbstractBaseUser,
    name: str,
    permissions: Collection[str],
    *,
    expires_at: datetime | None = None,
    all_servers: bool = True,
) -> tuple[str, ApiToken]:
    """Return a new token and its row, which is not saved; raises as `create` does."""
    now = timezone.now()
    expires_at = expires_at or now + LIFE
    _check(user, permissions, expires_at, now)
    token = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    row = ApiToken(
        user_id=user.pk,
        name=name,
        prefix=token[:SHOWN],
        digest=_digest(token),
        permissions=[word for word in PERMISSIONS if word in permissions],
        all_servers=all_servers,
        expires_at=expires_at,
    )
    return token, row


@sensitive_variables()
def find(token: str) -> ApiToken | None:
    """Return the row of a token that is good now, with its user; None for every other, whatever is wrong with it."""
    if not _SHAPE.fullmatch(token):
        return None
    try:  # not among `live()`: to put its conditions into SQL costs more than the look-up, which every request makes
        row = ApiToken.objects.select_related("user").get(digest=_digest(token))
    except ApiToken.DoesNotExist:
        return None
    if row.revoked_at is not None or row.expires_at <= timezone.now() or not row.user.is_active:
        return None
    _note_use(row)
    return row


def actor(token: ApiToken) -> Narrowed:
    """Return the user as this token lets them act. Every right includes seeing the servers, as a grant does."""
    groups = None if token.all_servers else frozenset(token.groups.values_list("pk", flat=True))
    return Narrowed(token.user, frozenset(token.permissions) | {"view"}, groups, token.name, token.pk)


def offered(user: Any) -> list[str]:
    """Return the rights this user may give to a token: those they have on any server."""
    return [word for word in PERMISSIONS if access.allowed(user, None, word)]


def live() -> QuerySet[ApiToken]:
    """Return the tokens that are neither revoked nor expired."""
    return ApiToken.objects.filter(revoked_at=None, expires_at__gt=timezone.now())


def revoke(tokens: Iterable[ApiToken]) -> int:
    """Make tokens worth nothing from now on; return how many were good for something."""
    wanted = [token.pk for token in tokens]
    return live().filter(pk__in=wanted).update(revoked_at=timezone.now())


def _check(user: AbstractBaseUser, permissions: Collection[str], expires_at: datetime, now: datetime) -> None:
    lacking = sorted(set(permissions) - set(offered(user)))
    if lacking:
        sentence = gettext("{user} may not give {permissions} to a token")
        raise TokenNotPossible(sentence.format(user=user, permissions=", ".join(lacking)))
    if not permissions:
        raise TokenNotPossible(gettext("a token without any permission is good for nothing, give it one"))
    if second_factor.GUARDED.intersection(permissions) and not second_factor.vouched(user):
        raise TokenNotPossible(
            gettext("confirm with your second factor first: this token could run commands without one")
        )
    if not now < expires_at <= now + LONGEST_LIFE:
        sentence = gettext("a token ends within {days} days, choose a day in between")
        raise TokenNotPossible(sentence.format(days=LONGEST_LIFE.days))
    if live().filter(user=user.pk).count() >= MAX_LIVE:
        sentence = gettext("{user} has {number} tokens, revoke one first")
        raise TokenNotPossible(sentence.format(user=user, number=MAX_LIVE))


def _note_use(row: ApiToken) -> None:
    now = timezone.now()
    if row.last_used_at is None or now - row.last_used_at >= USE_NOTED_EVERY:
        stale = Q(last_used_at=None) | Q(last_used_at__lte=now - USE_NOTED_EVERY)
        try:
            ApiToken.objects.filter(stale, pk=row.pk).update(last_used_at=now)
        except DatabaseError as exc:
            log.warning("the use of a token could not be noted: %s", exc)


@sensitive_variables()
def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
