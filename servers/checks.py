"""System checks: what of the host panel would make the servers behave otherwise than documented."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import get_hasher
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from servers import second_factor, tables, transports
from servers.models import Server

WEAK_HASHERS = frozenset({"md5", "unsalted_md5", "sha1", "unsalted_sha1"})
_OUR_COLUMNS = frozenset({"agent_id", "connection_type"})


def register() -> None:
    """Add the checks to Django's registry."""
    checks.register(table_is_ours, checks.Tags.database)
    checks.register(migrations_are_ours, checks.Tags.database)
    checks.register(moments_have_a_zone, checks.Tags.compatibility)
    checks.register(somebody_reaches_them, checks.Tags.compatibility)
    checks.register(second_factor_can_be_shown, checks.Tags.security)
    checks.register(commands_outlive_requests, checks.Tags.compatibility)
    checks.register(chosen_secrets_are_hashed_well, checks.Tags.security, deploy=True)


def table_is_ours(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """E001: the database holds a table `servers` of something else, which `migrate` would trip over."""
    return tables.foreign(
        "servers", databases, "servers.E001", signature={Server._meta.db_table: _OUR_COLUMNS}
    )


def migrations_are_ours(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """E002: an app of the panel had our label before, so that Django takes our tables for made."""
    return tables.recorded_only("servers", databases, "servers.E002", table=Server._meta.db_table)


def moments_have_a_zone(**_: Any) -> list[checks.CheckMessage]:
    """E003: without time zones the database's clock and Python's differ by hours, and nodes would seem away."""
    if settings.USE_TZ:
        return []
    sentence = "USE_TZ is off: the moments of servers and sessions would be wrong by the hours of TIME_ZONE"
    return [checks.Error(sentence, hint="USE_TZ = True", id="servers.E003")]


def somebody_reaches_them(**_: Any) -> list[checks.CheckMessage]:
    """W004: no app carries commands to the servers that dial in."""
    if transports.is_registered(Server.ConnectionType.TUNNEL):
        return []
    sentence = "servers that dial in are listed but not reached: the app `tunnel` is not installed"
    return [checks.Warning(sentence, hint='INSTALLED_APPS = [..., "servers", "tunnel"]', id="servers.W004")]


def second_factor_can_be_shown(**_: Any) -> list[checks.CheckMessage]:
    """E004: a second factor is asked for that nobody could show."""
    try:
        asked = second_factor.lifetime() > 0
    except ImproperlyConfigured as exc:
        return [checks.Error(f"{exc}.", id="servers.E004")]
    if not asked or second_factor.installed():
        return []
    return [
        checks.Error(
            f"{second_factor.SETTING} asks for a second factor before commands, but django-otp is not installed.",
            hint='pip install django-otp, and add "django_otp" and "django_otp.plugins.otp_totp" to INSTALLED_APPS; '
            f"or set {second_factor.SETTING} to 0.",
            id="servers.E004",
        )
    ]


def commands_outlive_requests(**_: Any) -> list[checks.CheckMessage]:
    """W001: a request that fails would take the records of its commands back, though the commands ran."""
    return [
        checks.Warning(
            f"ATOMIC_REQUESTS is on for the database {alias!r}: a command given in a request that fails later "
            "has run, but its record is rolled back.",
            hint="Decorate the views that call servers.nodes with transaction.non_atomic_requests.",
            id="servers.W001",
        )
        for alias in connections
        if connections[alias].settings_dict.get("ATOMIC_REQUESTS")
    ]


def chosen_secrets_are_hashed_well(**_: Any) -> list[checks.CheckMessage]:
    """W002: chosen secrets would be guessed from a copy of the database."""
    if get_hasher().algorithm not in WEAK_HASHERS:
        return []
    return [
        checks.Warning(
            f"PASSWORD_HASHERS starts with {settings.PASSWORD_HASHERS[0]}, which is too fast to protect chosen secrets.",
            hint="Put PBKDF2, scrypt or Argon2 first.",
            id="servers.W002",
        )
    ]
