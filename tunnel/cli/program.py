"""What `manage.py tunnel` and `yumna` share: the arguments, and how a run ends."""

import os
import sys
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

from agent_client.protocol.errors import TunnelError
from tunnel.cli.call import Call
from tunnel.cli.commands import COMMANDS
from tunnel.cli.exits import Exit, Failure
from tunnel.cli.output import Output
from tunnel.cli.panel import Panel
from tunnel.cli.parsing import SubParser

Way = Callable[[], AbstractContextManager[Panel]]  # turns foreign errors into ours while the command runs

BROKEN_PIPE: Final = 141  # 128 + SIGPIPE, as a shell counts it: the reader of our output went away

EXIT_CODES: Final = """
exit codes: 0 done, 1 some targets failed, 2 usage, 3 no such server, 4 offline, 5 timed out, 6 refused,
7 transfer broken, 8 the panel or its workers cannot be reached, 130 Ctrl-C. `run` with one NODE gives the remote
exit code, and 255 when it could not be run to its end; so does `shell` once it is open.
"""

# Accepted before the command's name and after it.
_ANYWHERE: Final[dict[str, dict[str, Any]]] = {
    "--url": {"metavar": "URL", "help": "ask the panel at this address over REST"},
    "--token-file": {"metavar": "FILE", "help": "where the token for that is, else YUMNA_TOKEN holds it"},
    "--ca-file": {"metavar": "FILE", "help": "certificates to trust at the panel's address"},
}


def add_arguments(parser: ArgumentParser, parser_class: type[SubParser]) -> None:
    """Declare where the panel is, and the commands."""
    for name, how in _ANYWHERE.items():
        parser.add_argument(name, **how)
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=parser_class
    )
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.HELP, description=command.HELP)
        sub.add_argument("--json", action="store_true", dest="as_json", help="print one JSON object a line")
        sub.add_argument(
            "--no-color", action="store_true", default=SUPPRESS, help="print no colours, as NO_COLOR=1"
        )
        for option, how in _ANYWHERE.items():
            sub.add_argument(option, default=SUPPRESS, **how)
        command.add_arguments(sub)


def run(options: Namespace, out: Output, program: str, way: Way) -> int:
    """Run the command and return its exit code; every failure becomes one sentence on stderr."""
    try:
        return _run(options, out, program, way)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def _run(options: Namespace, out: Output, program: str, way: Way) -> int:
    try:
        with way() as panel:
            return COMMANDS[options.command].run(Call(options, out, panel, program))
    except Failure as exc:
        sentence, code = str(exc), exc.code
    except TunnelError as exc:
        sentence, code = str(exc), Exit.FAILED
    out.note(f"error: {sentence}")
    return code
