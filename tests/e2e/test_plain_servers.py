"""The site with nothing set, under the two servers that need no supervisor: runserver and daphne."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.demo import Browser, clean_environment, eventually
from tests.ports import free_port, wait_for_port
from yumna_panel.demo.places import CHECKOUT
from yumna_panel.redis_keeper import answers

pytestmark = pytest.mark.e2e


@pytest.fixture
def environment(tmp_path):
    """Return the environment of a site that was just migrated."""
    environment = clean_environment(tmp_path / "some data")
    subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=CHECKOUT, env=environment, check=True)
    return environment


@pytest.mark.parametrize(
    "command",
    [
        ["manage.py", "runserver", "--noreload", "127.0.0.1:{port}"],
        ["manage.py", "runserver", "127.0.0.1:{port}"],
        ["-m", "daphne", "-b", "127.0.0.1", "-p", "{port}", "yumna_panel.asgi:application"],
    ],
    ids=["runserver", "runserver with reloader", "daphne"],
)
def test_pages_and_a_redis_are_there_and_both_go_together(environment, command):
    port = free_port()
    arguments = [part.format(port=port) for part in command]
    log = Path(environment["DATA_DIR"]) / "server.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=CHECKOUT,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    redis = Path((Path(environment["DATA_DIR"]) / "redis-folder").read_text()) / "redis.sock"
    try:
        wait_for_port(port)
        page = Browser(f"http://127.0.0.1:{port}").get("/")
        assert "/admin/login/" in page.url
        assert answers(redis)
        for static in re.findall(r'href="(/static/[^"]+)"', page.read().decode()):
            assert Browser(f"http://127.0.0.1:{port}").get(static).status == 200
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)
    eventually(lambda: not answers(redis))
    assert "Traceback" not in log.read_text()
