"""Secrets and their digests."""

import hmac
import re
import subprocess
import sys

import pytest

from agent_client.protocol.handshake import valid_secret
from servers import credentials, identity
from servers.errors import SecretNotSendable, SecretTooShort
from servers.models import Server


def test_a_made_secret_is_256_random_bits_with_a_recognisable_prefix():
    made = {credentials.make_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"yts_[A-Za-z0-9_-]{43}", secret) for secret in made)
    assert all(valid_secret(secret.encode()) for secret in made)


def test_a_made_secret_matches_its_digest_and_no_other():
    secret = credentials.make_secret()
    stored = credentials.digest(secret)
    assert stored.startswith("sha256$")
    assert credentials.matches(secret, stored)
    assert not credentials.is_slow(stored)
    assert not credentials.matches(credentials.make_secret(), stored)


def test_a_secret_in_the_wrong_case_is_refused():
    """W3: the original compared in SQL, case-insensitively on many databases."""
    secret = credentials.make_secret()
    assert not credentials.matches(secret.swapcase(), credentials.digest(secret))


@pytest.mark.django_db
def test_a_dump_of_the_database_has_no_usable_secret():
    """W3: neither the secret nor anything that opens the tunnel when it is sent as one."""
    server, secret = identity.create("dumped")
    dump = [str(value) for value in Server.objects.filter(pk=server.pk).values_list().get()]
    assert not any(secret in value or secret.removeprefix("yts_") in value for value in dump)
    assert not any(credentials.matches(value, server.secret_digest) for value in dump)


def test_a_chosen_secret_gets_a_slow_hash_and_matches():
    stored = credentials.digest_chosen("rahasiadapur")
    assert credentials.is_slow(stored)
    assert "rahasiadapur" not in stored
    assert credentials.matches("rahasiadapur", stored)
    assert not credentials.matches("Rahasiadapur", stored)


def test_a_chosen_secret_below_12_characters_is_refused():
    with pytest.raises(SecretTooShort, match="at least 12 characters"):
        credentials.digest_chosen("rahasiadapu")
    assert issubclass(SecretTooShort, ValueError)


@pytest.mark.parametrize("secret", ["kata sandi é panjang", " twelve chars", "x" * 257, "two\nlines here"])
def test_a_chosen_secret_that_no_header_carries_is_refused(secret: str):
    with pytest.raises(SecretNotSendable):
        credentials.digest_chosen(secret)


@pytest.mark.parametrize("stored", ["", "garbage", "sha256$", "md5$x$y", "!unusable"])
def test_what_is_no_digest_matches_nothing(stored: str):
    assert not credentials.matches("", stored)
    assert not credentials.matches(stored, stored)
    assert not credentials.matches("sha256$", stored)


def test_digests_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch):
    compared = []

    def watched(left: bytes, right: bytes) -> bool:
        compared.append((left, right))
        return original(left, right)

    original = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", watched)
    secret = credentials.make_secret()
    assert credentials.matches(secret, credentials.digest(secret))
    assert not credentials.matches(secret, credentials.DUMMY_DIGEST)
    assert not credentials.matches(secret, "")
    assert len(compared) == 3
    assert len({len(value) for pair in compared for value in pair}) == 1  # lengths tell nothing either


def test_digests_survive_a_new_secret_key():
    """A site that changes SECRET_KEY must not lock its agents out."""
    code = (
        "from django.conf import settings; settings.configure(SECRET_KEY='another')\n"
        "import sys; from servers import credentials\n"
        "print(credentials.matches(sys.argv[1], sys.argv[2]))"
    )
    secret = credentials.make_secret()
    done = subprocess.run(
        [sys.executable, "-c", code, secret, credentials.digest(secret)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "True"
