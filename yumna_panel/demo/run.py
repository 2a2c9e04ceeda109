"""`make run`: prepare the data, start everything under a supervisor, say so, and stop it all at the end."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import django
from django.conf import settings
from django.core.management import call_command

from yumna_panel.demo import certificate, greeting, programs
from yumna_panel.demo.greeting import say
from yumna_panel.demo.places import CHECKOUT, Places
from yumna_panel.demo.programs import Program
from yumna_panel.demo.site import (
    HTTP_PORT,
    HTTPS_PORT,
    Site,
    checked_host,
    free_port,
    settings_for,
    tls_variables,
)
from yumna_panel.demo.supervisor import Stop, Supervisor
from yumna_panel.environment import Environment
from yumna_panel.private_files import ensure_private_folder, try_lock, write_private

if TYPE_CHECKING:
    from yumna_panel.demo.agents import Home

THIS_MACHINE = "this-machine"


class AlreadyRunning(Exception):
    """Another `make run` uses this data folder."""

    def __init__(self, url: str) -> None:
        self.url = url
        super().__init__(url)

    def __str__(self) -> str:
        where = f" at {self.url}/admin/" if self.url else ""
        return f"the demo is already running{where}; stop it with Ctrl-C where you started it"


def run(host: str) -> int:
    """Run the demo until it is asked to stop; return the exit code.

    Raises:
        AlreadyRunning: there is one on this data folder.
        BadHost, BadSetting, NoFreePort: it cannot be served so.
    """
    places = Places.of_process()
    host = checked_host(host)
    Environment.of_process().folder("DATA_DIR", places.data)
    with _alone(places):
        site = _site(host)
        os.environ.update(_variables(site, places))
        _set_up_django(collect_static=bool(host))
        return _run_site(site, places)


@contextmanager
def _alone(places: Places) -> Iterator[None]:
    lock = try_lock(places.lock)
    if lock is None:
        raise AlreadyRunning(str(read_state(places).get("url", "")))
    try:
        yield
    finally:
        places.state.unlink(missing_ok=True)
        os.close(lock)


def read_state(places: Places) -> dict[str, object]:
    """Return what a running demo wrote down; nothing when there is none, or it is just starting."""
    try:
        state = json.loads(places.state.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return dict(state)


def _site(host: str) -> Site:
    first = HTTPS_PORT if host else HTTP_PORT
    site = Site(host, free_port(Site(host, first).bind, first))
    if site.port != first:
        say(f"port {first} is taken, using {site.port}")
    return site


def _variables(site: Site, places: Places) -> dict[str, str]:
    variables = settings_for(site, places.secret_key)
    if site.host:
        variables |= tls_variables(certificate.ensure(places.certificates, site.host))
    return variables


def _set_up_django(*, collect_static: bool) -> None:
    os.umask(0o077)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "yumna_panel.settings")
    django.setup()
    call_command("migrate", verbosity=0, interactive=False)
    if collect_static:  # DEBUG is off: static files come from one folder, under hashed names
        call_command("collectstatic", verbosity=0, interactive=False)


def _run_site(site: Site, places: Places) -> int:
    from yumna_panel.demo.account import ensure_admin  # these two need the apps loaded
    from yumna_panel.demo.agents import local_agent

    password = ensure_admin(places.admin_password)
    stop = Stop()
    with local_agent(THIS_MACHINE, site, places) as agent:
        _write_files(site, places, agent)
        supervisor = Supervisor(places)
        supervisor.start(_environment(agent))
        try:
            if _became_ready(site, places, stop, supervisor, with_agent=agent is not None):
                _greet(site, places, password)
            return _wait(supervisor, stop, places)
        finally:
            supervisor.stop()


def _wait(supervisor: Supervisor, stop: Stop, places: Places) -> int:
    code = supervisor.wait(stop)
    say(f"the supervisor is gone, so everything stops; look into {places.logs}" if code else "\nstopping")
    return code


def _write_files(site: Site, places: Places, agent: Home | None) -> None:
    ensure_private_folder(places.logs)
    write_private(places.supervisor_config, programs.configuration(_programs(site, agent)))
    state = {"url": site.url, "host": site.host, "port": site.port, "pid": os.getpid()}
    write_private(places.state, json.dumps(state))


def _programs(site: Site, agent: Home | None) -> list[Program]:
    agents = [programs.agent_program(agent.user)] if agent else []
    if not settings.REDIS_URL:  # the in-memory layer: all that talks must live in one process
        say("no Redis here: one web process, no background worker, and no commands from other shells")
        return [programs.web_program(site.bind, site.port, workers=1), *agents]
    redis = [programs.redis_program()] if settings.EMBEDDED_REDIS else []
    web = programs.web_program(site.bind, site.port, workers=programs.WEB_WORKERS)
    return [*redis, web, programs.background_program(), *agents]


def _environment(agent: Home | None) -> dict[str, str]:
    variables = {**os.environ, "YUMNA_CHECKOUT": str(CHECKOUT), "YUMNA_PYTHON": sys.executable}
    if settings.REDIS_URL:
        variables["REDIS_URL"] = settings.REDIS_URL
    if agent:
        variables |= {"YUMNA_AGENT": str(agent.folder), "YUMNA_AGENT_PYTHON": agent.python}
    return variables


def _became_ready(
    site: Site, places: Places, stop: Stop, supervisor: Supervisor, *, with_agent: bool
) -> bool:
    from yumna_panel.demo import readiness

    names = [THIS_MACHINE] if with_agent else []
    missing = readiness.wait(
        site, names, lambda: stop.asked or not supervisor.is_alive, places.certificates / "ca.pem"
    )
    if missing and not stop.asked:
        say(f"{missing.what}; look into {places.logs / missing.log}")
    return not missing


def _greet(site: Site, places: Places, password: str | None) -> None:
    from yumna_panel.demo import readiness

    active, total = readiness.tunnels()
    elsewhere = (
        greeting.second_machine(site, places.certificates / "ca.pem", places.data) if site.host else []
    )
    block = greeting.block(site, password, active, total, places.data, redis=bool(settings.REDIS_URL))
    for line in [*elsewhere, *block]:
        say(line)
    greeting.open_browser(site)
