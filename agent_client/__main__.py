"""`python -m agent_client`: run the agent until SIGTERM or Ctrl-C, or look why it cannot connect."""

import logging
import os
import selectors
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from agent_client import __version__
from agent_client.settings import Settings, WrongSetting, load
from agent_client.signals import make_children_normal
from agent_client.wakeup import WakeUp

if TYPE_CHECKING:
    import argparse

EXIT_FAULT = 1  # a supervisor starts the agent again
EXIT_USAGE = 2
LOOK_EVERY = 5.0  # seconds between looks at the threads

log = logging.getLogger("agent")


class _Options:
    """What the command line says; as it stands here where it says nothing."""

    command = "run"
    env_file: Optional[Path] = None
    verbose = False


def main(arguments: Optional[list[str]] = None) -> int:
    """Run a subcommand and return the exit code."""
    options = _options(sys.argv[1:] if arguments is None else arguments)
    if options.command == "version":
        sys.stdout.write(f"yumna-agent {__version__} (Python {sys.version.split()[0]})\n")
        return 0
    try:
        settings = load(os.environ, file=options.env_file)
    except WrongSetting as exc:
        sys.stderr.write(f"yumna-agent: {exc}\n")
        return EXIT_USAGE
    if options.command == "doctor":
        return _doctor(settings)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    return _run(settings)


def _options(arguments: list[str]) -> _Options:
    """Read the command line. A service has none, and its agent does without argparse and the megabyte it brings in."""
    return _parser().parse_args(arguments, _Options()) if arguments else _Options()


def _parser() -> "argparse.ArgumentParser":
    import argparse

    parser = argparse.ArgumentParser(prog="yumna-agent", description="Connect this machine to its panel.")
    parser.add_argument("command", nargs="?", choices=("run", "doctor", "version"), default="run")
    parser.add_argument(
        "--env-file", type=Path, help="file with NAME=value lines, after the environment and .env"
    )
    parser.add_argument("--verbose", action="store_true", help="log every try to connect")
    return parser


def _doctor(settings: Settings) -> int:
    from agent_client import doctor
    from agent_client.hardening import harden

    harden(os.environ)
    return doctor.run(settings)


def _run(settings: Settings) -> int:
    from agent_client.agent import Agent
    from agent_client.hardening import harden

    make_children_normal()
    harden(os.environ)
    for warning in settings.warnings:
        log.warning("%s", warning)
    stop = _stop_signals()
    agent = Agent(settings)
    log.info("agent %s starts, agent=%s services=%s", __version__, settings.agent_id, agent.table.services)
    agent.start()
    try:
        while not _woken(stop):
            trouble = agent.trouble()
            if trouble:  # the panel would go on showing an agent that answers nothing
                log.critical("the agent ends to be started again: %s, agent=%s", trouble, settings.agent_id)
                return EXIT_FAULT
    finally:
        agent.stop()
    log.info("agent stopped, agent=%s", settings.agent_id)
    return 0


def _stop_signals() -> WakeUp:
    """Return what becomes readable at SIGTERM or SIGINT; no handler of ours runs in between."""
    stop = WakeUp()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    signal.set_wakeup_fd(stop.signal_fd, warn_on_full_buffer=False)
    return stop


def _woken(stop: WakeUp) -> bool:
    """Wait a while for a signal that ends the agent."""
    with selectors.DefaultSelector() as selector:
        selector.register(stop, selectors.EVENT_READ)
        selector.select(LOOK_EVERY)
    return bool({signal.SIGTERM, signal.SIGINT} & set(stop.clear()))


if __name__ == "__main__":
    sys.exit(main())
