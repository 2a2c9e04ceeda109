"""`yumna COMMAND`: the tunnels of a panel from any machine, over its REST interface; no Django is needed."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tunnel.cli import program, serve_panel, way
from tunnel.cli.exits import Exit, Failure
from tunnel.cli.output import Output
from tunnel.cli.panel import Panel
from tunnel.cli.parsing import SubParser

PROGRAM = "yumna"
ENVIRONMENT = f"""
{way.URL} stands for --url, {way.TOKEN_FILE} or {way.TOKEN} for --token-file, {way.CA_FILE} for --ca-file;
HTTPS_PROXY and NO_PROXY are obeyed. On the panel's own host, `manage.py tunnel` does the same without a token.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal without ✓ must not end a command
    options = _parser().parse_args(arguments)
    out = Output(sys.stdout, sys.stderr, as_json=options.as_json, colour=not options.no_color)
    return program.run(options, out, PROGRAM, lambda: _panel(options, out))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        prog=PROGRAM,
        description="Manage the servers behind the tunnels of a panel, from anywhere.",
        epilog=program.EXIT_CODES + ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--no-color", action="store_true", help="print no colours, as NO_COLOR=1")
    program.add_arguments(parser, SubParser)
    return parser


@contextmanager
def _panel(options: argparse.Namespace, out: Output) -> Iterator[Panel]:
    if options.command == serve_panel.NAME:
        raise Failure(serve_panel.NOT_FROM_HERE, Exit.USAGE)
    url = options.url or os.environ.get(way.URL)
    if not url:
        raise Failure(f"no panel: give --url https://panel.example.org or set {way.URL}{_here()}", Exit.USAGE)
    yield way.remote(options, out, PROGRAM, url)


def _here() -> str:
    """Add where to look when this is the panel's own host."""
    if os.environ.get("DJANGO_SETTINGS_MODULE") or Path("manage.py").is_file():
        return "; on the panel's own host it is: python manage.py tunnel …"
    return ""


if __name__ == "__main__":
    sys.exit(main())
