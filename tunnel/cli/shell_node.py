"""`tunnel shell NODE [-- CMD…]`: a shell on a node as ssh gives one; `~.` leaves."""

import asyncio
import sys
from argparse import ArgumentParser

from tunnel.cli.call import Call
from tunnel.cli.exits import Exit, Failure
from tunnel.cli.parsing import SubParser
from tunnel.cli.shell_piped import PipedSession
from tunnel.cli.shell_session import Session

NAME = "shell"
HELP = "open a shell on a node; its exit code is ours, ~. at the start of a line leaves and ~? tells more"
LONGEST_LINE = 16 * 1024  # characters, as the node takes it


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options; what follows `--` is a command."""
    if isinstance(parser, SubParser):
        parser.takes_command = True
    parser.add_argument("node", metavar="NODE", help="name or agent id")
    parser.add_argument("--attach", metavar="SHELL", help="come back to a shell that was left")


def run(call: Call) -> int:
    """Open it and stay until its end.

    A shell without a terminal of ours, or with a command, has none on the node either: nothing is echoed, and bytes
    pass as they are.
    """
    line = " ".join(call.options.remote) if call.options.remote else None  # as ssh makes a line of words
    piped = line is not None or sys.stdin is None or not sys.stdin.isatty()
    if piped and call.options.attach:
        raise Failure("--attach goes with a terminal, and with no command", Exit.USAGE)
    if line is not None and len(line) > LONGEST_LINE:
        raise Failure(f"the command is longer than {LONGEST_LINE} characters, give it as input", Exit.USAGE)
    node = call.panel.find(call.options.node)
    call.panel.require_tunnels([node])

    async def stay() -> int:
        way = call.panel.shell(node)
        if piped:
            return await PipedSession(way, node.name).run(line)
        return await Session(way, call.out, node.name).run(call.options.attach)

    return asyncio.run(stay())
