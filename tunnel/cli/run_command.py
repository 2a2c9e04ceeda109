"""`tunnel run NODE… -- CMD…`: run a command on one node as ssh does, or on many with a summary."""

import asyncio
import time
from argparse import ArgumentParser
from dataclasses import dataclass, field
from typing import Any

from servers.errors import CommandError
from tunnel.cli.call import Call
from tunnel.cli.exits import Exit, Failure
from tunnel.cli.facts import Node
from tunnel.cli.output import Output
from tunnel.cli.parsing import SubParser, number

NAME = "run"
HELP = "run a command on nodes; with one NODE its exit code is ours, and 255 means that we failed"

TIMEOUT = 30.0  # seconds
MAX_TIMEOUT = 3600.0  # seconds; what takes longer is a job of the node's own
PARALLEL = 10  # commands at once; their outputs are held until each is done
MAX_PARALLEL = 256  # commands a session takes unanswered
SIGNAL_BASE = 128  # a program ended by signal n counts as exit code 128 + n, as in a shell


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options; what follows `--` is the command."""
    if isinstance(parser, SubParser):
        parser.takes_command = True
    parser.add_argument("nodes", nargs="*", metavar="NODE", help="names or agent ids")
    parser.add_argument("--tag", action="append", default=[], metavar="T", help="all servers with this tag")
    parser.add_argument("--all", action="store_true", help="all servers")
    parser.add_argument(
        "--timeout",
        type=number(0.1, MAX_TIMEOUT),
        default=TIMEOUT,
        metavar="S",
        help="seconds, 30; at most 30 over REST, an hour on the panel's host",
    )
    parser.add_argument(
        "--parallel", type=number(1, MAX_PARALLEL, int), default=PARALLEL, metavar="N", help="at once, 10"
    )
    parser.add_argument(
        "--stop-after", type=number(1, None, int), metavar="N", help="start no more after N failures"
    )
    parser.add_argument(
        "--shell", action="store_true", help="let a shell on the node read the command as one line"
    )


@dataclass(frozen=True)
class Result:
    """What became of the command on one node; `error` is None when it ran to its end."""

    node: Node
    seconds: float = 0.0
    data: dict[str, Any] = field(default_factory=dict)
    error: CommandError | None = None
    skipped: bool = False

    @property
    def exit_code(self) -> int | None:
        """The remote exit code, None when there is none."""
        code = self.data.get("exitCode")
        if not isinstance(code, int):
            return None
        return SIGNAL_BASE - code if code < 0 else code

    @property
    def succeeded(self) -> bool:
        """Whether it ran and ended with 0."""
        return self.exit_code == 0

    def words(self) -> str:
        """How it ended, in words."""
        if self.skipped:
            return "skipped"
        if self.error is not None:
            return f"{self.error.code}: {self.error}"
        return "done" if self.succeeded else "failed"


def run(call: Call) -> int:
    """Run the command and print what it wrote."""
    params = _params(call)
    try:
        nodes = _nodes(call)
    except Failure as exc:
        if _alone(call) and exc.code is not Exit.USAGE:  # other numbers could be those of the command
            raise Failure(str(exc), Exit.OWN_FAILURE) from exc
        raise
    call.panel.require_tunnels(nodes)
    if _alone(call):
        return _one(call, nodes[0], params)
    return _many(call, nodes, params)


def _alone(call: Call) -> bool:
    """Tell whether this is a run on one node, as ssh does it."""
    return len(call.options.nodes) == 1 and not call.options.tag and not call.options.all


def _params(call: Call) -> dict[str, Any]:
    options, most = call.options, call.panel.max_timeout
    if not options.remote:
        raise Failure(f"no command: write it after --, like: {call.program} run NODE -- uptime", Exit.USAGE)
    if options.timeout > most:
        sentence = f"over REST a command takes at most {most:g} s, not {options.timeout:g}"
        raise Failure(f"{sentence}; start longer ones on the node with nohup or systemd-run", Exit.USAGE)
    if options.shell:
        return {"shell": " ".join(options.remote)}
    return {"argv": options.remote}


def _nodes(call: Call) -> list[Node]:
    named = [call.panel.find(node) for node in call.options.nodes]
    chosen = call.panel.nodes(call.options.tag) if call.options.tag or call.options.all else []
    nodes = list({node.agent_id: node for node in [*named, *chosen]}.values())
    if not nodes:
        sentence = (
            "no server carries that tag"
            if call.options.tag
            else "no server: name some, or give --tag or --all"
        )
        raise Failure(sentence, Exit.NO_SUCH_SERVER if call.options.tag or call.options.all else Exit.USAGE)
    return nodes


def _one(call: Call, node: Node, params: dict[str, Any]) -> int:
    result = asyncio.run(_ask(call, node, params))
    if call.out.as_json:
        call.out.record(_record(result))
    elif result.error is None:
        call.out.raw(*_streams(result))
    if result.error is not None:
        call.out.note(f"error: {node.name}: {result.error}")
    _note_truncated(call.out, result)
    # A process ends with a byte: 256, which some node may say, would count as success.
    return Exit.OWN_FAILURE if result.exit_code is None else min(result.exit_code, Exit.OWN_FAILURE)


def _many(call: Call, nodes: list[Node], params: dict[str, Any]) -> int:
    results = asyncio.run(_ask_all(call, nodes, params))
    if not call.out.as_json:
        call.out.table(("NODE", "RESULT", "EXIT", "TIME"), [_row(result) for result in results])
        failed = sum(not result.succeeded for result in results)
        call.out.note(f"{len(results) - failed} of {len(results)} succeeded")
    return Exit.DONE if all(result.succeeded for result in results) else Exit.FAILED


async def _ask_all(call: Call, nodes: list[Node], params: dict[str, Any]) -> list[Result]:
    slots = asyncio.Semaphore(call.options.parallel)
    failures = 0

    async def ask(node: Node) -> Result:
        nonlocal failures
        async with slots:
            if call.options.stop_after is not None and failures >= call.options.stop_after:
                result = Result(node, skipped=True)
            else:
                result = await _ask(call, node, params)
                failures += not result.succeeded
        _print(call.out, result)
        return result

    return await asyncio.gather(*(ask(node) for node in nodes))


async def _ask(call: Call, node: Node, params: dict[str, Any]) -> Result:
    began, timeout = time.monotonic(), call.options.timeout
    try:
        data = await call.panel.ask(node, "system", "exec", params, timeout)
    except CommandError as exc:
        return Result(node, time.monotonic() - began, error=exc)
    return Result(node, time.monotonic() - began, data if isinstance(data, dict) else {})


def _print(out: Output, result: Result) -> None:
    if out.as_json:
        out.record(_record(result))
        return
    stdout, stderr = _streams(result)
    out.prefixed(result.node.name, stdout)
    out.prefixed(result.node.name, stderr, to_stderr=True)
    _note_truncated(out, result)


def _note_truncated(out: Output, result: Result) -> None:
    if result.data.get("truncated"):
        out.note(f"{result.node.name}: the output was longer than the node keeps; its end is missing")


def _streams(result: Result) -> tuple[str, str]:
    return str(result.data.get("stdout") or ""), str(result.data.get("stderr") or "")


def _row(result: Result) -> tuple[Any, ...]:
    colour = "green" if result.succeeded else "grey" if result.skipped else "red"
    code = "-" if result.exit_code is None else str(result.exit_code)
    return result.node.name, (result.words(), colour), code, f"{result.seconds:.1f} s"


def _record(result: Result) -> dict[str, Any]:
    stdout, stderr = _streams(result)
    return {
        "name": result.node.name,
        "agent_id": result.node.agent_id,
        "result": "skipped" if result.skipped else "error" if result.error else "done",
        "exit_code": result.exit_code,
        "stdout": stdout,
        "stderr": stderr,
        "truncated": bool(result.data.get("truncated")),
        "seconds": round(result.seconds, 3),
        "code": result.error.code if result.error else None,
        "error": str(result.error) if result.error else None,
        "ran": result.error.ran if result.error else "no" if result.skipped else "yes",
    }
