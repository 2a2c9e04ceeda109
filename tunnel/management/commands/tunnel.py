"""`manage.py tunnel COMMAND`: the tunnels from a command line; one command, so that it collides with none of a panel's."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError

from tunnel.cli import program, way
from tunnel.cli.exits import Exit, Failure
from tunnel.cli.local import Local, host_user
from tunnel.cli.output import Output
from tunnel.cli.panel import Panel
from tunnel.cli.parsing import SubParser

PROGRAM = "manage.py tunnel"


class TunnelParser(SubParser, CommandParser):
    """A parser of one sub-command of a management command."""


class Command(BaseCommand):
    """Dispatches to the modules of `tunnel.cli`."""

    help = "Manage the servers behind tunnels."
    requires_system_checks: list[str] = []  # `doctor` runs them, and the others must answer fast

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Add the exit codes to the help."""
        kind = argparse.RawDescriptionHelpFormatter
        epilog = program.EXIT_CODES
        more = {"epilog": epilog, "formatter_class": kind, "allow_abbrev": False}
        return super().create_parser(prog_name, subcommand, **more, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the sub-commands."""
        program.add_arguments(parser, TunnelParser)

    def handle(self, *_: Any, **options: Any) -> None:
        """Run the sub-command and exit with its code."""
        self.stderr.style_func = None  # notes are no errors
        self.stdout.ending = self.stderr.ending = ""  # `Output` ends its lines itself
        out = Output(self.stdout, self.stderr, as_json=options["as_json"], colour=not options["no_color"])
        given = argparse.Namespace(**options)
        code = program.run(given, out, PROGRAM, lambda: _panel(given, out))
        if code:
            sys.exit(int(code))


@contextmanager
def _panel(options: argparse.Namespace, out: Output) -> Iterator[Panel]:
    if options.url:
        yield way.remote(options, out, PROGRAM, options.url)
        return
    way.refuse_without_url(options)
    try:
        yield Local(host_user(), PROGRAM, ca_file=options.ca_file)
    except DatabaseError as exc:
        sentence = f"the database cannot be used: {exc}; manage.py tunnel doctor looks why"
        raise Failure(sentence, Exit.FAILED) from exc
    except CommandError as exc:
        raise Failure(str(exc), Exit.FAILED) from exc
