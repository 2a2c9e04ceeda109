"""One call of a command: its options, where it writes to, and in whose name it acts."""

import getpass
import os
from argparse import Namespace
from dataclasses import dataclass

from servers.access import Console
from tunnel.cli.output import Output


class HostUser(Console):
    """The person with a shell on the panel's host, by the name the system knows them under."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return f"console: {self.name}"


@dataclass(frozen=True)
class Call:
    """What a command gets."""

    options: Namespace
    out: Output
    actor: Console


def host_user() -> HostUser:
    """Return who called; a container may run us under a number that has no name."""
    try:
        return HostUser(getpass.getuser())
    except (KeyError, OSError):
        return HostUser(f"uid {os.getuid()}")
