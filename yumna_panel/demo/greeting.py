"""What `make run` prints, and the browser it may open."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import sys
import webbrowser
from pathlib import Path

from yumna_panel.demo.account import ADMIN
from yumna_panel.demo.places import CHECKOUT
from yumna_panel.demo.site import LOOPBACK, Site

LABEL_WIDTH = 34
REDIS_PORT = 6379
REDIS_TIMEOUT = 1.0  # seconds; it is on this machine or not there
PONG = b"+PONG"
DASHBOARD = "/admin/tunnel/nodes/"
MANAGE = ".venv/bin/python manage.py"
SHARED_VARIABLES = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY")  # what all processes of one site must agree on


def say(line: str) -> None:
    """Print one line for the person at the terminal."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def block(site: Site, password: str | None, active: int, total: int, data: Path, *, redis: bool) -> list[str]:
    """Return the lines that say what runs and what to try; only things that work now, which takes a Redis for some."""
    shown = password or f"the password you gave it ({data / 'admin-password'} no longer holds it)"
    lines = [
        _line("Yumna Tunnel is running", f"{site.url}/admin/"),
        _line("log in as", f"{ADMIN} / {shown}"),
        _line("dashboard", f"{site.url}{DASHBOARD}     {active} of {total} tunnels active"),
    ]
    if redis:
        lines.append(
            _line(
                "from another shell",
                f"{_manage(data)} tunnel run this-machine -- uptime{_same_environment()}",
            )
        )
    if not site.host:
        lines += ssh_lines(site.port)
    if not os.environ.get("REDIS_URL") and redis_answers():
        lines.append(_line("with the Redis of this machine", f"REDIS_URL=redis://{LOOPBACK} {_start('run')}"))
    return [*lines, _line("one more node", f"{_data(data)}{_start('agent', 'two')}"), _line("stop", "Ctrl-C")]


def redis_answers(port: int = REDIS_PORT) -> bool:
    """Tell whether this machine has a Redis that takes us without a password."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=REDIS_TIMEOUT) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(len(PONG)) == PONG
    except OSError:
        return False


def _start(command: str, name: str = "") -> str:
    if shutil.which("make"):
        return f"make {command} NAME={name}" if name else f"make {command}"
    return f"python3 bootstrap.py {command} {name}".rstrip()


def _data(data: Path) -> str:
    return "" if data == CHECKOUT / ".demo" else f"DATA_DIR='{data}' "


def _same_environment() -> str:
    names = [name for name in SHARED_VARIABLES if os.environ.get(name)]
    return f"     (with the same {', '.join(names)})" if names else ""


def _line(label: str, value: str) -> str:
    return f"  {label:<{LABEL_WIDTH}} {value}"


def _manage(data: Path) -> str:
    return f"{_data(data)}{MANAGE}"


def ssh_lines(port: int) -> list[str]:
    """Return the line that brings this port to the machine a person sits at, when they came by SSH."""
    connection = os.environ.get("SSH_CONNECTION", "").split()  # client, port, server, port
    if len(connection) != 4:
        return []
    address, ssh_port = connection[2:]
    other_port = "" if ssh_port == "22" else f"-p {ssh_port} "
    return [
        _line(
            "on the machine you came from",
            f"ssh -L {port}:{LOOPBACK}:{port} {other_port}{getpass.getuser()}@{address}",
        )
    ]


def second_machine(site: Site, authority: Path, data: Path) -> list[str]:
    """Return the lines to paste for an agent on another machine."""
    login = f"{getpass.getuser()}@{site.host}"
    return [
        "  An agent on a second machine, which needs Python 3.9 or newer:",
        f"    here:   TUNNEL_PUBLIC_URL={site.url} {_manage(data)} tunnel add second --env",
        "            prints the lines of its .env with its secret, once",
        f"    there:  scp -r '{login}:{CHECKOUT}/agent_client' '{login}:{authority}' .",
        "            put those lines and this one into a file .env beside agent_client:",
        f"              MASTER_CA_FILE={authority.name}",
        "    there:  python3 -m agent_client",
        "",
        f"  Browsers warn until they trust {authority}",
        "",
    ]


def open_browser(site: Site) -> None:
    """Open the panel in a browser, on a desktop and unless OPEN=0."""
    desktop = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform == "darwin"
    over_ssh = os.environ.get("SSH_CONNECTION")
    if desktop and not over_ssh and not os.environ.get("CI") and os.environ.get("OPEN") != "0":
        webbrowser.open(f"{site.url}/admin/")
