"""SQLite: what a failed transaction leaves behind is tidied up in its own thread."""

from collections.abc import Callable
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created


def connect() -> None:
    """Start to look at every connection that is made."""
    connection_created.connect(_watch, dispatch_uid="servers.sqlite")


def _watch(connection: BaseDatabaseWrapper, **_: Any) -> None:
    if connection.vendor == "sqlite" and _tidy not in connection.execute_wrappers:
        connection.execute_wrappers.append(_tidy)


def _tidy(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """Run a statement; the cursor of a BEGIN that failed, say for a lock, is closed.

    Django drops it open, within the circle of its error and that one's frames. Python's collector comes to it later in
    whichever thread it runs, and freeing it waits there for the connection, which may be held up in the next BEGIN by
    then: the event loop would stand still until the database is free, for up to 20 s. What Django does not open itself
    is closed by those who did.
    """
    try:
        return execute(sql, params, many, context)
    except BaseException:
        if sql.startswith("BEGIN"):
            context["cursor"].close()
        raise
