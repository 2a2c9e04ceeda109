"""`tunnel suspend`, `reactivate`, `disconnect` and `rotate-secret`: change a server's standing, and say what its live tunnel felt."""

from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass

from tunnel.cli import agent_env
from tunnel.cli.call import Call
from tunnel.cli.exits import Exit
from tunnel.cli.facts import Change, Node, Tunnel

FELT: dict[Tunnel, str] = {
    "none": "",
    "cut": "its live tunnel was cut",
    "still open": "its live tunnel has not been cut, look at the log of the worker that holds it",
}


@dataclass(frozen=True)
class Command:
    """One of the commands."""

    NAME: str
    HELP: str
    _run: Callable[[Call, Node], int]
    _env: bool = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("node", metavar="NODE", help="name or agent id")
        if self._env:
            parser.add_argument(
                "--env", action="store_true", help="print the agent's .env instead of the secret alone"
            )

    def run(self, call: Call) -> int:
        """Make the change."""
        return self._run(call, call.panel.find(call.options.node))


def _suspend(call: Call, node: Node) -> int:
    change = call.panel.suspend(node)
    return _report(call, change, "suspended" if change.changed else "was suspended already")


def _reactivate(call: Call, node: Node) -> int:
    change = call.panel.reactivate(node)
    words = "reactivated; its agent is welcome at its next try" if change.changed else "was not suspended"
    return _report(call, change, words)


def _disconnect(call: Call, node: Node) -> int:
    change = call.panel.disconnect(node)
    if change.changed:
        _report(call, change, "was told to hang up and dial again")
    else:
        _report(call, change, "has no live tunnel")
    return Exit.FAILED if change.tunnel == "still open" else Exit.DONE


def _rotate(call: Call, node: Node) -> int:
    made = call.panel.rotate_secret(node)
    if call.options.env:
        agent_env.tell(call.out, made)
    elif call.out.as_json:
        call.out.record({"name": made.name, "agent_id": made.agent_id, "secret": made.secret})
    else:
        call.out.line(made.secret)
        call.out.note(
            "the secret is shown this once; put it into AGENT_SECRET on the node and restart the agent"
        )
    if FELT[made.tunnel]:
        call.out.note(f"{made.name}: {FELT[made.tunnel]}")
    return Exit.DONE


def _report(call: Call, change: Change, words: str) -> int:
    felt = FELT[change.tunnel]
    if call.out.as_json:
        record = {"name": change.name, "agent_id": change.agent_id, "status": change.status}
        call.out.record({**record, "done": words, "tunnel": felt})
    else:
        call.out.line(f"{change.name} {words}" + (f": {felt}" if felt else ""))
    return Exit.DONE


SUSPEND = Command("suspend", "refuse a server's agent and cut its tunnel", _suspend)
REACTIVATE = Command("reactivate", "let a suspended server back in", _reactivate)
DISCONNECT = Command("disconnect", "cut a server's tunnel; its agent dials again by itself", _disconnect)
ROTATE_SECRET = Command("rotate-secret", "give a server a new secret and cut its tunnel", _rotate, _env=True)
