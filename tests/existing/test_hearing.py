"""What a panel hears, from real processes and agents: the signals and the alerts, each once, whoever dies meanwhile."""

from __future__ import annotations

import json
import re
import signal
import sys

import pytest

from tests.e2e.cluster import free_port, until
from tests.existing.panel import EDITS, Panel, titled
from tests.existing.test_existing_panel import connect, start_agent
from tests.tunnel.receivers import Posts, web_server

pytestmark = pytest.mark.e2e

# Two minutes of grace and a minute between rounds are too long for a test; all else is as in service.
HEARING = """
from datetime import timedelta
from django.apps import AppConfig
class HearingConfig(AppConfig):
    name = "hearing"
    def ready(self):
        from hearing import receivers
        from tunnel import alerts
        alerts.GRACE, alerts.GAP, alerts.PAUSES = timedelta(seconds=1), 1.0, (0.5, 0.5)
"""


def hearing(panel: Panel) -> Panel:
    panel.edit(*EDITS, "address").settings('INSTALLED_APPS += ["hearing"]\n').start_redis()
    panel.write("hearing/__init__.py", "")
    panel.write("hearing/apps.py", HEARING)
    panel.write("hearing/receivers.py", titled("receivers")[0])
    panel.manage("migrate", check=True)
    return panel


# A print is two writes, the text and the end of its line, and what another thread logs may come between.
TOLD = re.compile(r"^(?:connected \S+ [\d.]+|disconnected \S+ [a-z_]+|finished \S+ \S+ [a-z]+)", re.MULTILINE)


def heard(panel: Panel, *names: str) -> list[str]:
    """What the receivers of these processes printed."""
    return [line for name in names for line in TOLD.findall(panel.log(name))]


def hears(panel: Panel, name: str, told: list[str], seconds: float = 30) -> None:
    """Wait until a process has heard this and nothing else."""
    try:
        until(lambda: heard(panel, name) == told, seconds)
    except AssertionError:
        raise AssertionError(f"{name} heard {heard(panel, name)}: {panel.log(name)[-4000:]}") from None


def test_agents_and_commands_are_heard_once_each_and_a_killed_workers_too(panel: Panel):
    hearing(panel)
    panel.start_uvicorn("first")
    panel.stays("runworker")
    connect(panel)
    came = "connected web-01 127.0.0.1"
    hears(panel, "first", [came])

    said = panel.manage("tunnel", "run", "web-01", "--", "true").stdout
    assert "finished system exec succeeded" in said  # in the process that gave the command

    panel.kill("agent_client", signal.SIGTERM)
    left = "disconnected web-01 agent_stopped"
    hears(panel, "first", [came, left])
    start_agent(panel)
    hears(panel, "first", [came, left, came])

    panel.start_uvicorn("second", free_port())
    panel.kill("first", signal.SIGKILL)
    hears(panel, "runworker", ["disconnected web-01 worker_lost"], 60)
    panel.kill("agent_client", signal.SIGTERM)  # its next try may be a minute away by now, or not
    panel.start_uvicorn("first")
    start_agent(panel)
    hears(panel, "first", [came, left, came, came])
    assert heard(panel, "second") == []
    assert heard(panel, "runworker") == ["disconnected web-01 worker_lost"]


def events(posts: Posts) -> list[str]:
    return [json.loads(body)["event"] for _, _, body in posts.taken]


def said(panel: Panel, words: str) -> int:
    """How often the background workers logged this."""
    return sum(panel.log(name).count(words) for name in ("one", "two", "three"))


def sweeps(panel: Panel) -> int:
    return said(panel, "looked for alerts")


def told(panel: Panel, event: str) -> int:
    return said(panel, f"told: {event}")


def test_one_alert_for_an_outage_and_one_for_its_end_from_several_background_workers(panel: Panel):
    with web_server() as posts:
        hearing(panel)
        panel.settings(
            f'TUNNEL_ALERT_AFTER = 0.05\nTUNNEL_ALERT_WEBHOOK = "{posts.url}"\n'
            'LOGGING = {"version": 1, "disable_existing_loggers": False, "handlers": {"err": {"class": '
            '"logging.StreamHandler"}}, "loggers": {"tunnel.alerts": {"handlers": ["err"], "level": "DEBUG"}}}\n'
        )
        panel.start_uvicorn()
        for name in ("one", "two"):
            panel.start(name, [sys.executable, "manage.py", "runworker"])
        connect(panel)
        panel.kill("agent_client", signal.SIGKILL)
        until(lambda: told(panel, "nodes.offline"), 60, "it is told and written down")
        assert events(posts) == ["nodes.offline"]

        panel.kill("one", signal.SIGKILL)
        panel.start("three", [sys.executable, "manage.py", "runworker"])
        looks = sweeps(panel)
        until(lambda: sweeps(panel) >= looks + 2, 60, "the others look again")
        assert events(posts) == ["nodes.offline"]

        start_agent(panel)
        until(lambda: told(panel, "nodes.back"), 120, "its return is told")
        looks = sweeps(panel)
        until(lambda: sweeps(panel) >= looks + 2, 60, "they look again")
        assert events(posts) == ["nodes.offline", "nodes.back"]
        first, second = (json.loads(body)["nodes"][0] for _, _, body in posts.taken)
        assert first["outage"] == second["outage"]
