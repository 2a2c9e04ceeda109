"""Service `system`: figures, facts, processes, and programs run to their end (docs/protocol.md §5)."""

import os
import socket
import sys
from typing import Any, Optional

from agent_client import __version__
from agent_client.calls import Call
from agent_client.commands import Action, Service
from agent_client.figures.sampler import Sampler, uptime
from agent_client.machine import platform_name, python_version
from agent_client.params import Flag, Param, Text, TextList, TextMap, Whole
from agent_client.protocol.limits import MAX_WINDOW
from agent_client.protocol.text import JsonObject
from agent_client.services.processes import LONGEST_PAGE, SORTS, USUAL_PAGE, list_processes
from agent_client.services.programs import run_program, stream_program
from agent_client.watch import Watch

EXEC_TIMEOUT = 60.0  # seconds, when the master names none
LONGEST_EXEC = 3600.0  # seconds; it holds one of the pool's threads
LONGEST_WORD = 128 * 1024  # characters of one argument or value: what Linux takes at most (MAX_ARG_STRLEN)
MOST_ARGUMENTS = 4096
MOST_VARIABLES = 256
LONGEST_PATH = 4096  # PATH_MAX

# Sending packets there is not needed: connecting a UDP socket only asks the routing table.
_FAR_AWAY = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def service(sampler: Sampler, watch: Optional[Watch] = None) -> Service:
    """Return the service; figures come from `sampler`, programs at streams are followed by `watch`."""
    watch = watch or Watch()
    return Service(
        "system",
        (
            Action("getUsage", lambda _call: sampler.usage()),
            Action("getInfo", lambda _call: get_info(sampler)),
            Action(
                "listProcesses",
                lambda call: list_processes(sampler.source, call),
                (
                    Param("cursor", Text(longest=20)),
                    Param("limit", Whole(1, LONGEST_PAGE), default=USUAL_PAGE),
                    Param("sort", Text(longest=8, choices=SORTS), default="pid"),
                    Param("full", Flag(), default=False),
                ),
            ),
            Action(
                "exec",
                _exec,
                _EXEC_PARAMS,
                timeout=EXEC_TIMEOUT,
                longest=LONGEST_EXEC,
                opens=lambda call: stream_program(watch, call),
            ),
        ),
    )


_EXEC_PARAMS = (
    Param("argv", TextList(Text(LONGEST_WORD), most=MOST_ARGUMENTS, fewest=1)),
    Param("shell", Text(LONGEST_WORD, shortest=1)),
    Param("cwd", Text(LONGEST_PATH, shortest=1)),
    Param("env", TextMap(Text(LONGEST_WORD), most=MOST_VARIABLES), default={}),
    Param("stdin", Text(256 * 1024), default=""),  # no longer one fits a message
    Param("window", Whole(0, MAX_WINDOW)),  # with a stream
)


def get_info(sampler: Sampler) -> JsonObject:
    """What this machine is."""
    kernel = os.uname()
    return {
        "hostname": socket.gethostname(),
        "platform": platform_name(),
        "kernel": f"{kernel.sysname} {kernel.release}",
        "arch": kernel.machine,
        "python": python_version(),
        "cpuCount": os.cpu_count() or 1,
        "bootTime": int(sampler.source.boot_time()),
        "uptime": int(uptime(sampler.source)),
        "addresses": _addresses(),
        "user": _user(),
        "agentVersion": __version__,
        "figures": sampler.source.name,
        "executable": sys.executable,
    }


def _exec(call: Call) -> Any:
    return run_program(call)


def _addresses() -> list[str]:
    """The addresses this machine speaks to the world from."""
    found = [_address_towards(family, address) for family, address in _FAR_AWAY]
    return [address for address in found if address is not None]


def _address_towards(family: int, address: str) -> Optional[str]:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            return str(probe.getsockname()[0])
    except OSError:  # no route for this family
        return None


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return str(os.getuid())
