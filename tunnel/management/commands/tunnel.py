"""`manage.py tunnel COMMAND`: the tunnels from a command line; one command, so that it collides with none of a panel's."""

import argparse
import os
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError

from agent_client.protocol.errors import TunnelError
from tunnel.cli.call import Call, host_user
from tunnel.cli.commands import COMMANDS
from tunnel.cli.exits import Exit, Failure
from tunnel.cli.output import Output
from tunnel.cli.parsing import TunnelParser

BROKEN_PIPE = 141  # 128 + SIGPIPE, as a shell counts it: the reader of our output went away

EXIT_CODES = """
exit codes: 0 done, 1 some targets failed, 2 usage, 3 no such server, 4 offline, 5 timed out, 6 refused,
7 transfer broken, 8 the workers of the panel cannot be reached, 130 Ctrl-C. `run` with one NODE gives the remote
exit code, and 255 when it could not be run to its end.
"""


class Command(BaseCommand):
    """Dispatches to the modules of `tunnel.cli`."""

    help = "Manage the servers behind tunnels."
    requires_system_checks: list[str] = []  # `doctor` runs them, and the others must answer fast

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Add the exit codes to the help."""
        kind = argparse.RawDescriptionHelpFormatter
        return super().create_parser(prog_name, subcommand, epilog=EXIT_CODES, formatter_class=kind, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the sub-commands."""
        commands = parser.add_subparsers(
            dest="command", metavar="COMMAND", required=True, parser_class=TunnelParser
        )
        for name, command in COMMANDS.items():
            sub = commands.add_parser(name, help=command.HELP, description=command.HELP)
            sub.add_argument(
                "--json", action="store_true", dest="as_json", help="print one JSON object a line"
            )
            sub.add_argument(
                "--no-color",
                action="store_true",
                default=argparse.SUPPRESS,
                help="print no colours, as NO_COLOR=1",
            )
            command.add_arguments(sub)

    def handle(self, *_: Any, **options: Any) -> None:
        """Run the sub-command and exit with its code."""
        out = Output(self.stdout, self.stderr, as_json=options["as_json"], colour=not options["no_color"])
        try:
            code = self._run(options, out)
        except KeyboardInterrupt:
            code = Exit.INTERRUPTED
        except BrokenPipeError:
            os.dup2(
                os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
            )  # the interpreter flushes it once more
            code = BROKEN_PIPE
        if code:
            sys.exit(int(code))

    def _run(self, options: dict[str, Any], out: Output) -> int:
        call = Call(argparse.Namespace(**options), out, host_user())
        try:
            return COMMANDS[options["command"]].run(call)
        except Failure as exc:
            return _failed(out, str(exc), exc.code)
        except DatabaseError as exc:
            return _failed(
                out, f"the database cannot be used: {exc}; manage.py tunnel doctor looks why", Exit.FAILED
            )
        except (TunnelError, CommandError) as exc:
            return _failed(out, str(exc), Exit.FAILED)


def _failed(out: Output, sentence: str, code: Exit) -> int:
    out.note(f"error: {sentence}")
    return code
