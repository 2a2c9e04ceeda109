"""What SQLite does to a process whose threads wait for a lock."""

import gc
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from django.db import OperationalError
from django.db.backends.sqlite3 import base
from django.db.utils import ConnectionHandler

pytestmark = pytest.mark.django_db  # only that connections may be made
LOCK_TIMEOUT = 2.0  # seconds


@pytest.fixture
def database(tmp_path) -> Iterator[Any]:
    """A connection to a file that somebody else keeps locked."""
    path = str(tmp_path / "db.sqlite3")
    options = {"transaction_mode": "IMMEDIATE", "timeout": LOCK_TIMEOUT, "check_same_thread": False}
    handler = ConnectionHandler(
        {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": path, "OPTIONS": options}}
    )
    connection = handler["default"]
    connection.inc_thread_sharing()
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        yield connection
        holder.rollback()
    connection.close()


def begin(connection: Any) -> int:
    with pytest.raises(OperationalError, match="locked"):
        connection.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)
    return threading.get_ident()


def waits(thread: int) -> bool:
    """Tell whether a thread is within SQLite."""
    code = sys._current_frames()[thread].f_code
    return code.co_filename == base.__file__ and code.co_name == "execute"


def test_a_begin_that_failed_keeps_no_other_thread_waiting_for_the_next_one(database):
    gc.disable()
    try:
        with ThreadPoolExecutor(1) as pool:
            thread = pool.submit(begin, database).result()
            second = pool.submit(begin, database)
            while not waits(thread):
                assert not second.done()
                time.sleep(0.01)
            since = time.monotonic()
            gc.collect()
            assert time.monotonic() - since < LOCK_TIMEOUT / 2
            assert not second.done()
    finally:
        gc.enable()


def test_a_cursor_of_somebody_else_stays_open_when_its_statement_failed(database):
    with database.cursor() as cursor:
        with pytest.raises(OperationalError):
            cursor.execute("NONSENSE")
        assert cursor.execute("SELECT 1").fetchone() == (1,)
