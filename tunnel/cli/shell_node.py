"""`tunnel shell NODE`: a shell on a node as ssh gives one; `~.` leaves."""

import asyncio
from argparse import ArgumentParser

from tunnel.cli.call import Call
from tunnel.cli.shell_session import Session

NAME = "shell"
HELP = "open a shell on a node; its exit code is ours, ~. at the start of a line leaves and ~? tells more"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("node", metavar="NODE", help="name or agent id")
    parser.add_argument("--attach", metavar="SHELL", help="come back to a shell that was left")


def run(call: Call) -> int:
    """Open it and stay until its end."""
    node = call.panel.find(call.options.node)
    call.panel.require_tunnels([node])

    async def stay() -> int:
        return await Session(call.panel.shell(node), call.out, node.name).run(call.options.attach)

    return asyncio.run(stay())
