"""`tunnel doctor [NODE]`: what stands between here and working tunnels, step by step, with the line to change."""

from argparse import ArgumentParser

from tunnel.cli.call import Call
from tunnel.cli.exits import Exit
from tunnel.cli.finding import Finding
from tunnel.cli.output import Output

NAME = "doctor"
HELP = "check the panel or the way to it, and with NODE the way to that node"

SIGNS = {True: ("✓", "green"), False: ("✗", "red"), None: ("!", "yellow")}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("node", nargs="?", metavar="NODE", help="name or agent id")


def run(call: Call) -> int:
    """Print each step; the exit code is that of the first that failed."""
    code = Exit.DONE
    for finding in call.panel.findings(call.options.node):
        _print(call.out, finding)
        if finding.ok is False and code is Exit.DONE:
            code = finding.code
    return code


def _print(out: Output, finding: Finding) -> None:
    if out.as_json:
        out.record({"step": finding.step, "ok": finding.ok, "detail": finding.detail, "fix": finding.fix})
        return
    sign, colour = SIGNS[finding.ok]
    out.line(f"{sign} {finding.step}: {finding.detail}", colour)
    if finding.fix:
        out.line(f"    -> {finding.fix}")
