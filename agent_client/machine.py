"""What this machine is: the facts an agent tells in HELLO."""

import hashlib
import os
import socket
import sys
from pathlib import Path

from agent_client.protocol.text import JsonObject

MACHINE_ID_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
OS_RELEASE_FILES = (Path("/etc/os-release"), Path("/usr/lib/os-release"))

LONGEST_FACT = 128  # characters


def machine_id() -> str:
    """Return a number that is this machine's for its life, hashed: machine-id(5) asks not to show it to others."""
    for path in MACHINE_ID_FILES:
        content = _content(path).strip()
        if content:
            return hashlib.sha256(b"yumna.tunnel machine " + content.encode()).hexdigest()
    return ""


def platform_name() -> str:
    """Return the operating system as people call it."""
    for path in OS_RELEASE_FILES:
        for line in _content(path).splitlines():
            name, _, value = line.partition("=")
            if name == "PRETTY_NAME":
                return value.strip("\"' ")[:LONGEST_FACT]
    import platform  # it guesses long, and is asked only where no file says it

    return platform.platform(terse=True)[:LONGEST_FACT]


def python_version() -> str:
    """Return the version of the Python that runs the agent."""
    return sys.version.split()[0]


def host_facts() -> JsonObject:
    """Return what HELLO says about the machine."""
    return {
        "hostname": socket.gethostname()[:LONGEST_FACT],
        "platform": platform_name(),
        "arch": os.uname().machine,
        "python": python_version(),
    }


def _content(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:  # not a system that has it
        return ""
