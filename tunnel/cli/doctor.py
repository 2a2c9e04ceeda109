"""`tunnel doctor [NODE]`: what stands between this panel and working tunnels, step by step, with the line to change."""

from collections.abc import Iterator

from django.core.management.base import CommandParser
from django.db import Error as DatabaseError

from tunnel.cli import doctor_node, doctor_panel, doctor_upgrade, targets
from tunnel.cli.call import Call
from tunnel.cli.exits import Exit
from tunnel.cli.finding import Finding
from tunnel.cli.output import Output

NAME = "doctor"
HELP = "check the panel, and with NODE the way to that node"

SIGNS = {True: ("✓", "green"), False: ("✗", "red"), None: ("!", "yellow")}


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    parser.add_argument("node", nargs="?", metavar="NODE", help="name or agent id")
    parser.add_argument(
        "--ca-file", metavar="FILE", help="certificates to trust at the public URL, as MASTER_CA_FILE"
    )


def run(call: Call) -> int:
    """Print each step; the exit code is that of the first that failed."""
    code = Exit.DONE
    for finding in _findings(call):
        _print(call.out, finding)
        if finding.ok is False and code is Exit.DONE:
            code = finding.code
    return code


def _findings(call: Call) -> Iterator[Finding]:
    layers = list(doctor_panel.layers_carry())  # first: loading the site's application may start a Redis
    yield from doctor_panel.settings()
    yield doctor_panel.routing()
    try:
        yield doctor_panel.database()
        pending = doctor_panel.migrations()
        yield pending
        yield from layers
        if pending.ok:
            yield doctor_panel.web_workers()
            yield doctor_panel.background_worker()
    except DatabaseError as exc:
        fix = "start the database, or correct DATABASE_URL (DATABASES of an own panel)"
        yield Finding("database", False, f"does not answer: {exc}", fix)
        yield from layers
        return
    yield from doctor_upgrade.steps(call.options.ca_file)
    yield doctor_panel.clock()
    if call.options.node and pending.ok:
        yield from doctor_node.steps(targets.one(call.options.node, call.actor), call.actor)


def _print(out: Output, finding: Finding) -> None:
    if out.as_json:
        out.record({"step": finding.step, "ok": finding.ok, "detail": finding.detail, "fix": finding.fix})
        return
    sign, colour = SIGNS[finding.ok]
    out.line(f"{sign} {finding.step}: {finding.detail}", colour)
    if finding.fix:
        out.line(f"    -> {finding.fix}")
