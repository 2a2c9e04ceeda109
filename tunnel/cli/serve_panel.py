"""`tunnel serve`: the panel under Daphne with bounded memory, in one process."""

import signal
import sys
from argparse import ArgumentParser

from tunnel.cli.call import Call
from tunnel.cli.exits import Exit, Failure
from tunnel.cli.parsing import number

NAME = "serve"
HELP = "serve the panel with Daphne, its memory bounded whatever slow clients do"

NOT_FROM_HERE = "serve runs the panel itself, on its own host: python manage.py tunnel serve"
MAX_PORT = 65535


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("-b", "--bind", default="127.0.0.1", metavar="ADDRESS", help="address, 127.0.0.1")
    parser.add_argument(
        "-p", "--port", type=number(0, MAX_PORT, int), default=8000, help="port, 8000; 0 takes a free one"
    )
    parser.add_argument("--access-log", action="store_true", help="write a line for each request to stdout")


def run(call: Call) -> int:
    """Serve until told to stop."""
    if call.panel.remote:
        raise Failure(NOT_FROM_HERE, Exit.USAGE)
    from channels.routing import get_default_application
    from daphne.access import AccessLogGenerator

    from tunnel import serve  # installs Twisted's reactor

    options = call.options
    logger = AccessLogGenerator(sys.stdout) if options.access_log else None
    server = serve.PacedServer(
        get_default_application(), host=options.bind, port=options.port, action_logger=logger
    )

    def tell(host: str, port: int) -> None:
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        if call.out.as_json:
            call.out.record({"url": url})
        else:
            call.out.line(f"serving {url}, Ctrl-C stops")
        sys.stdout.flush()

    server.on_listening = tell
    server.run()
    if server.failure is not None:
        sentence = (
            f"cannot listen on {options.bind}:{options.port}: {server.failure}; choose another with -b or -p"
        )
        raise Failure(sentence, Exit.FAILED)
    return Exit.INTERRUPTED if serve.stop_signal() == signal.SIGINT else Exit.DONE
