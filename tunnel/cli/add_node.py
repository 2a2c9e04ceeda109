"""`tunnel add NAME`: make a server, and with `--env` the file its agent needs."""

from argparse import ArgumentParser

from tunnel.cli import agent_env
from tunnel.cli.call import Call
from tunnel.cli.exits import Exit

NAME = "add"
HELP = "add a server; --env prints the .env of its agent, with the secret, once"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", metavar="NAME", help="how people call it")
    parser.add_argument(
        "--agent-id", metavar="A", help="what its agent calls itself; made from the name otherwise"
    )
    parser.add_argument(
        "--tag", action="append", default=[], metavar="T", help="a tag to put on it; may be repeated"
    )
    parser.add_argument(
        "--env", action="store_true", help="print the agent's .env, with the secret, this once"
    )


def run(call: Call) -> int:
    """Add the server and print what its agent needs."""
    options = call.options
    made = call.panel.add(options.name, options.agent_id, list(dict.fromkeys(options.tag)))
    if options.env:
        call.out.note(f"added {made.name}")
        agent_env.tell(call.out, made)
        return Exit.DONE
    if call.out.as_json:
        call.out.record({"name": made.name, "agent_id": made.agent_id})
    else:
        call.out.line(f"added {made.name}, agent id {made.agent_id}")
    call.out.note(
        f"its agent's .env: {call.program} rotate-secret {made.agent_id} --env (or add --env next time)"
    )
    return Exit.DONE
