"""`tunnel watch`: the list drawn anew each second; in a pipe, a line for each change."""

import time
from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import NoReturn

from tunnel.cli import list_nodes
from tunnel.cli.call import Call
from tunnel.cli.exits import Exit, Failure
from tunnel.cli.facts import Node
from tunnel.cli.output import Output
from tunnel.cli.parsing import number

NAME = "watch"
HELP = "show the list anew each second until Ctrl-C; in a pipe, a line for each change"

EVERY = 1.0  # seconds
SOONEST, LATEST = 0.5, 3600.0  # seconds; a panel lets a token read 600 times a minute


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    list_nodes.add_arguments(parser)
    parser.add_argument(
        "--interval", type=number(SOONEST, LATEST), default=EVERY, metavar="S", help="seconds, 1"
    )


def run(call: Call) -> NoReturn:
    """Show the nodes until Ctrl-C. A panel that is away for a while is waited for, not at the start."""
    nodes = call.panel.nodes(call.options.tag)
    if call.out.as_json or not call.out.on_terminal:
        _tell_for_ever(call, nodes)
    with call.out.drawing():
        _draw_for_ever(call, nodes)


def _draw_for_ever(call: Call, nodes: list[Node]) -> NoReturn:
    trouble = ""
    while True:
        now = datetime.now(UTC)
        shown = f"{now.astimezone():%H:%M:%S}  {list_nodes.count(nodes)}  {trouble or 'Ctrl-C stops'}"

        def draw(out: Output, shown: str = shown, nodes: list[Node] = nodes, now: datetime = now) -> None:
            out.line(shown)
            out.table(list_nodes.HEADS, [list_nodes.row(node, now) for node in _wanted(call, nodes)])

        call.out.frame(draw)
        nodes, trouble = _next(call, nodes)


def _tell_for_ever(call: Call, nodes: list[Node]) -> NoReturn:
    last: dict[str, tuple[str, str]] = {}
    said = ""
    while True:
        now = datetime.now(UTC)
        for node in _wanted(call, nodes):
            if last.get(node.agent_id) != (node.state, node.worker):
                _tell(call, node, now)
        last = {node.agent_id: (node.state, node.worker) for node in nodes}
        nodes, trouble = _next(call, nodes)
        if trouble and trouble != said:
            call.out.note(trouble)
        said = trouble


def _tell(call: Call, node: Node, now: datetime) -> None:
    if call.out.as_json:
        call.out.record({"at": now, **list_nodes.record(node)})
    else:
        call.out.row([f"{now.astimezone():%Y-%m-%dT%H:%M:%S%z}", *list_nodes.row(node, now)])


def _next(call: Call, nodes: list[Node]) -> tuple[list[Node], str]:
    """Wait, and look again; what was seen last is kept while the panel does not answer."""
    time.sleep(call.options.interval)
    try:
        return call.panel.nodes(call.options.tag), ""
    except Failure as exc:
        if exc.code is not Exit.NO_LAYER:
            raise
        return nodes, f"not up to date: {exc}"


def _wanted(call: Call, nodes: list[Node]) -> list[Node]:
    return [node for node in nodes if call.options.state in (None, node.state)]
