"""The commands, in the order of the help; loading them needs no Django."""

from argparse import ArgumentParser
from typing import Protocol, cast

from tunnel.cli import (
    add_node,
    doctor,
    list_nodes,
    run_command,
    serve_panel,
    shell_node,
    show_node,
    watch_nodes,
)
from tunnel.cli.call import Call
from tunnel.cli.change_node import DISCONNECT, REACTIVATE, ROTATE_SECRET, SUSPEND


class Command(Protocol):
    """What each command's module offers."""

    NAME: str
    HELP: str

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""

    def run(self, call: Call) -> int:
        """Do it and return the exit code.

        Raises:
            Failure: it cannot be done; the error holds the sentence and the exit code.
        """


_MODULES = (
    list_nodes,
    show_node,
    add_node,
    run_command,
    shell_node,
    watch_nodes,
    SUSPEND,
    REACTIVATE,
    DISCONNECT,
    ROTATE_SECRET,
    doctor,
    serve_panel,
)
COMMANDS: dict[str, Command] = {module.NAME: cast("Command", module) for module in _MODULES}
