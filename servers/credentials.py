"""Agent secrets: made here, shown once, kept as digests.

A secret the panel made holds 256 random bits, which nobody guesses, so a plain SHA-256 protects it and costs a
microsecond when a thousand agents come back at once. A secret a person chose is guessable and gets Django's password
hasher, which takes a good part of a second of a core: call `matches` for those (`is_slow`) in a bounded pool.
No key of the site enters a digest; a new SECRET_KEY must not lock the agents out.
"""

import hashlib
import hmac
import secrets

from django.contrib.auth.hashers import check_password, make_password
from django.views.decorators.debug import sensitive_variables

from agent_client.protocol.handshake import MAX_SECRET_BYTES, valid_secret
from servers.errors import SecretNotSendable, SecretTooShort

PREFIX = "yts_"  # lets secret scanners recognise one in a repository
RANDOM_BYTES = 32
CHOSEN_LEAST = 12  # characters; the hasher makes guessing slow, not impossible
_FAST = "sha256$"


@sensitive_variables()
def make_secret() -> str:
    """Return a new secret: `yts_` and 256 random bits in 43 characters."""
    return PREFIX + secrets.token_urlsafe(RANDOM_BYTES)


@sensitive_variables()
def digest(secret: str) -> str:
    """Return what to store of a secret that `make_secret` made."""
    return _FAST + hashlib.sha256(secret.encode()).hexdigest()


@sensitive_variables()
def digest_chosen(secret: str) -> str:
    """Return what to store of a secret that a person chose.

    Raises:
        SecretTooShort: fewer than 12 characters.
        SecretNotSendable: not printable ASCII, or too long for the header.
    """
    check_chosen(secret)
    return make_password(secret)


@sensitive_variables()
def check_chosen(secret: str) -> None:
    """Judge a chosen secret without hashing it; raises as `digest_chosen` does."""
    if len(secret) < CHOSEN_LEAST:
        raise SecretTooShort(CHOSEN_LEAST)
    if not secret.isascii() or not valid_secret(secret.encode()):
        raise SecretNotSendable(MAX_SECRET_BYTES)


@sensitive_variables()
def matches(secret: str, stored: str) -> bool:
    """Tell whether `secret` is the one behind `stored`, in a time that does not depend on where they differ."""
    if is_slow(stored):
        return check_password(secret, stored)
    return hmac.compare_digest(digest(secret).encode(), (stored or DUMMY_DIGEST).encode())


def is_slow(stored: str) -> bool:
    """Tell whether a check against `stored` takes a password hasher's time."""
    return bool(stored) and not stored.startswith(_FAST)


# Compared with when an id is unknown, so that known and unknown ids take the same time. Nobody has its secret.
DUMMY_DIGEST = digest(make_secret())
