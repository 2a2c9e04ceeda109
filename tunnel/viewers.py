"""Who watches a live page, and what of it they may see now: asked again and again while their socket is open."""

from collections.abc import Collection
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.utils.crypto import constant_time_compare

from servers import access


@dataclass(frozen=True)
class Viewer:
    """A login in a browser: the user, by primary key as text, and the session that says so."""

    user: str
    session: str


def of_scope(scope: dict[str, Any]) -> Viewer | None:
    """Return who opens this socket, None when nobody who may see pages of the admin."""
    user, session = scope.get("user"), scope.get("session")
    if user is None or session is None or not session.session_key or not may_enter(user):
        return None
    return Viewer(str(user.pk), session.session_key)


def may_enter(user: Any) -> bool:
    """Tell whether the admin lets this user in at all."""
    return bool(user.is_authenticated and user.is_active and getattr(user, "is_staff", False))


def rights(viewers: Collection[Viewer]) -> dict[Viewer, frozenset[int]]:
    """Return which servers each may see, by primary key; who is missing lost the right to watch.

    A login that ended, a changed password and a user switched off end it. Asks the database once for all users,
    once for each login and once for each user.
    """
    users = {str(user.pk): user for user in get_user_model()._default_manager.filter(pk__in=_ids(viewers))}
    seen = {key: frozenset(_visible(user)) for key, user in users.items() if may_enter(user)}
    return {
        viewer: seen[viewer.user] for viewer in viewers if viewer.user in seen and _logged_in(viewer, users)
    }


def _ids(viewers: Collection[Viewer]) -> set[str]:
    return {viewer.user for viewer in viewers}


def _visible(user: AbstractBaseUser) -> Any:
    return access.visible(user).order_by().values_list("pk", flat=True)


def _logged_in(viewer: Viewer, users: dict[str, Any]) -> bool:
    # `load` works for every session engine; `exists` is always false for signed cookies.
    session = import_module(settings.SESSION_ENGINE).SessionStore(viewer.session).load()
    proof = users[viewer.user].get_session_auth_hash()
    known = session.get(SESSION_KEY) == viewer.user
    return known and constant_time_compare(session.get(HASH_SESSION_KEY, ""), proof)
