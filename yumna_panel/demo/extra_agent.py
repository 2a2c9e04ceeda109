"""`make agent NAME=two`: one more agent on this machine, in the foreground, beside a running `make run`."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import django
from django.core.exceptions import ImproperlyConfigured, ValidationError

from yumna_panel.demo.greeting import say
from yumna_panel.demo.places import Places
from yumna_panel.demo.run import read_state
from yumna_panel.demo.site import Site
from yumna_panel.demo.supervisor import Stop

if TYPE_CHECKING:
    from yumna_panel.demo.agents import Home

STOP_TIMEOUT = 10.0  # seconds; an agent closes its tunnel and ends at once
LOOK_INTERVAL = 0.5  # seconds


def run(name: str) -> int:
    """Run the agent until it ends or we are asked to stop; return the exit code."""
    places = Places.of_process()
    state = read_state(places)
    if not state:
        say("the demo is not running; start it with `make run` in another terminal, then try again")
        return 1
    os.umask(0o077)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "yumna_panel.settings")
    django.setup()
    from yumna_panel.demo.agents import local_agent

    site = Site(str(state["host"]), int(str(state["port"])))
    stop = Stop()
    with local_agent(name, site, places) as home:
        if home is None:
            return 1
        say(f"{name} dials {site.local_tunnel_url}; Ctrl-C stops it")
        return _run_until_stopped(home, stop)


def _run_until_stopped(home: Home, stop: Stop) -> int:
    process = subprocess.Popen(
        [home.python, "tied.py", "-m", "agent_client"],
        cwd=home.folder,
        env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home.folder), "LANG": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        **_user(home),
    )
    while process.poll() is None and not stop.wait(LOOK_INTERVAL):
        pass
    if not stop.asked:
        return process.returncode or 0
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return 0


def _user(home: Home) -> dict[str, Any]:
    if not home.user:
        return {}
    owner = pwd.getpwnam(home.user)
    return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


def main() -> int:
    """Run the agent named in the arguments; what goes wrong before is one sentence."""
    name = sys.argv[1].strip() if len(sys.argv) == 2 else ""
    if not name:
        sys.stderr.write("say which agent: make agent NAME=two\n")
        return 2
    try:
        return run(name)
    except (ImproperlyConfigured, ValidationError, ValueError) as exc:
        sys.stderr.write(f"{exc}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
