"""A recent second factor before commands and shells, where TUNNEL_SECOND_FACTOR asks for one.

    if not second_factor.vouch(request):
        return redirect(second_factor.page(back=request.path))

`servers.nodes` refuses a person nobody vouched for, so a view that forgets to ask gives nothing away. Programs with
API tokens and people with a shell on the panel's host are not asked: `servers.tokens` asks who makes a token.
"""

import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

from servers.access import Actor

GUARDED: Final = frozenset({"run_command", "open_shell"})  # the rights that need it
SETTING: Final = "TUNNEL_SECOND_FACTOR"
_STAMP: Final = "servers_second_factor"  # in the session: of whom, and when in unix seconds
_VOUCHED: Final = "_servers_second_factor_at"  # on the user object of one request


@dataclass(frozen=True)
class Device:
    """A thing that makes codes, as a person chooses it."""

    id: str
    name: str


def lifetime() -> float:
    """Return for how many seconds a second factor counts; 0 when none is asked for.

    Raises:
        ImproperlyConfigured: the setting is no number.
    """
    seconds = getattr(settings, SETTING, 0)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise ImproperlyConfigured(f"{SETTING} must be a number of seconds, not {type(seconds).__name__}")
    return float(seconds)


def recent(request: HttpRequest) -> bool:
    """Tell whether the person has shown a second factor in this login lately, or need not."""
    return lifetime() == 0 or _counts(_stamp_of(request))


def vouch(request: HttpRequest) -> bool:
    """Say of the person of this request that the second factor is recent, if it is; `servers.nodes` believes it."""
    if not recent(request):
        return False
    setattr(request.user, _VOUCHED, _stamp_of(request))
    return True


def vouched(actor: Actor) -> bool:
    """Tell whether this actor may give commands as far as a second factor goes."""
    if lifetime() == 0 or not isinstance(actor, AbstractBaseUser | AnonymousUser):
        return True
    return _counts(getattr(actor, _VOUCHED, None))


def page(back: str) -> str:
    """Return the address of the page that asks for the second factor and then leads `back`; empty without an admin."""
    try:
        return f"{reverse('admin:servers_second_factor')}?{urlencode({'next': back})}"
    except NoReverseMatch:
        return ""


def installed() -> bool:
    """Tell whether django-otp is there to check codes."""
    return apps.is_installed("django_otp")


def devices(user: Any) -> list[Device]:
    """Return what this person can take a code from without being sent one."""
    if not installed():
        return []
    from django_otp import devices_for_user  # a panel need not have it

    found = [device for device in devices_for_user(user) if not device.is_interactive()]
    return [Device(device.persistent_id, device.name) for device in found]


def confirm(request: HttpRequest, device_id: str, code: str) -> bool:
    """Check a code, which the device itself throttles and takes once; a right one counts from now on."""
    if device_id not in {device.id for device in devices(request.user)}:
        return False
    from django_otp import verify_token

    if verify_token(request.user, device_id, code) is None:
        return False
    request.session[_STAMP] = [str(request.user.pk), time.time()]
    return True


def _stamp_of(request: HttpRequest) -> float | None:
    stamp = request.session.get(_STAMP) if hasattr(request, "session") else None
    if not isinstance(stamp, list) or len(stamp) != 2 or stamp[0] != str(request.user.pk):
        return None
    return float(stamp[1])


def _counts(at: float | None) -> bool:
    return at is not None and 0 <= time.time() - at < lifetime()
