"""Counts the SQL of this process, whatever thread it runs in."""

import itertools
from typing import Any

from django.db.backends.signals import connection_created

_numbers = itertools.count()
_last = -1


def counted() -> int:
    """How many statements there were since `start`."""
    return _last + 1


def start() -> None:
    """Count on every connection from its first statement on."""
    connection_created.connect(_watch, dispatch_uid="bench")


def _watch(connection: Any, **_: Any) -> None:
    if _count not in connection.execute_wrappers:
        connection.execute_wrappers.append(_count)


def _count(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    global _last
    _last = next(_numbers)
    return execute(sql, params, many, context)
