"""Who watches a live page, and what of it they may see now: asked again and again while their socket is open."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.backends.db import SessionStore as DatabaseSessions
from django.core.exceptions import EmptyResultSet
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from servers import access
from servers.models import Server


@dataclass(frozen=True)
class Viewer:
    """A login in a browser: the user, by primary key as text, and the session that says so."""

    user: str
    session: str


@dataclass(frozen=True)
class Sight:
    """The servers somebody sees, by primary key, and how many of them have a tunnel."""

    servers: frozenset[int]
    tunnels: int


def of_scope(scope: dict[str, Any]) -> Viewer | None:
    """Return who opens this socket, None when nobody who may see pages of the admin."""
    user, session = scope.get("user"), scope.get("session")
    if user is None or session is None or not session.session_key or not may_enter(user):
        return None
    return Viewer(str(user.pk), session.session_key)


def may_enter(user: Any) -> bool:
    """Tell whether the admin lets this user in at all."""
    return bool(user.is_authenticated and user.is_active and getattr(user, "is_staff", False))


def rights(viewers: Collection[Viewer]) -> dict[Viewer, QuerySet[Server]]:
    """Return which servers each may see; who is missing lost the right to watch.

    A login that ended, a changed password and a user switched off end it. Asks the database once for all users, once
    for all logins, and a few times for each user who is no superuser: never for each browser.
    """
    users = {str(user.pk): user for user in get_user_model()._default_manager.filter(pk__in=_ids(viewers))}
    there = {viewer for viewer in viewers if viewer.user in users and may_enter(users[viewer.user])}
    logins = _logins({viewer.session for viewer in there})
    seen = {key: access.visible(user).order_by() for key, user in users.items()}
    return {
        viewer: seen[viewer.user]
        for viewer in there
        if _logged_in(viewer, users[viewer.user], logins[viewer.session])
    }


def sights(rights: Mapping[Viewer, QuerySet[Server]]) -> dict[Viewer, Sight]:
    """Return what each sees now; people with the same rights are asked for once and get the same object."""
    asked: dict[Any, Sight] = {}
    found = {}
    for viewer, servers in rights.items():
        question = _question(servers)
        if question not in asked:
            asked[question] = _sight(servers)
        found[viewer] = asked[question]
    return found


def _ids(viewers: Collection[Viewer]) -> set[str]:
    return {viewer.user for viewer in viewers}


def _question(servers: QuerySet[Server]) -> Any:
    """Return the SQL that this would be, None for nothing at all."""
    try:
        return servers.query.sql_with_params()
    except EmptyResultSet:
        return None


def _sight(servers: QuerySet[Server]) -> Sight:
    rows = list(servers.values_list("pk", "connection_type"))
    tunnels = sum(kind == Server.ConnectionType.TUNNEL for _, kind in rows)
    return Sight(frozenset(pk for pk, _ in rows), tunnels)


def _logins(keys: set[str]) -> dict[str, dict[str, Any]]:
    """Return the data of these sessions; of one that ended, nothing."""
    store = import_module(settings.SESSION_ENGINE).SessionStore
    if issubclass(store, DatabaseSessions):
        rows = store.get_model_class()._default_manager.filter(
            session_key__in=keys, expire_date__gt=timezone.now()
        )
        data = {row.session_key: store(row.session_key).decode(row.session_data) for row in rows}
        return {key: data.get(key, {}) for key in keys}
    # `load` works for every engine; `exists` is always false for signed cookies.
    return {key: store(key).load() for key in keys}


def _logged_in(viewer: Viewer, user: Any, login: dict[str, Any]) -> bool:
    known = login.get(SESSION_KEY) == viewer.user
    return known and constant_time_compare(login.get(HASH_SESSION_KEY, ""), user.get_session_auth_hash())
