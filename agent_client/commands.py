"""The table of commands: (service, action) to the function that does it, with its declared parameters."""

import logging
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

from agent_client.calls import Call, Refused
from agent_client.params import Param, checked
from agent_client.protocol.codes import Code
from agent_client.protocol.limits import MAX_WORD
from agent_client.protocol.messages import Command
from agent_client.streams import Opened

ENTRY_POINTS = "yumna_agent.services"  # the group in which a package on the node offers a `Service`
USUAL_TIMEOUT = 30.0  # seconds; longer than any of our own actions but `exec` takes
LONGEST_TIMEOUT = 3600.0  # seconds; a command holds one of few threads, longer work belongs in a stream

log = logging.getLogger("agent.commands")

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Action:
    """One thing a service can do. `run` gets the call and returns what JSON can hold, or raises `Refused`.

    `opens` does it for a command that carries a stream, and says who is at the node's end of it. An action without
    `run` is done in no other way.
    """

    name: str
    run: Optional[Callable[[Call], Any]] = None
    params: tuple[Param, ...] = ()
    timeout: float = USUAL_TIMEOUT
    longest: float = LONGEST_TIMEOUT
    opens: Optional[Callable[[Call], Opened]] = None


@dataclass(frozen=True)
class Service:
    """A named set of actions; its name is what HELLO lists."""

    name: str
    actions: tuple[Action, ...]


@dataclass(frozen=True)
class Prepared:
    """A command that passed all checks: `run(call)` does it. With a stream it returns `Opened`."""

    name: str
    run: Callable[[Call], Any]
    call: Call


class Table:
    """All services of this agent."""

    def __init__(self, services: Iterable[Service]) -> None:
        self._services: dict[str, dict[str, Action]] = {}
        for service in services:
            self.add(service)

    @property
    def services(self) -> tuple[str, ...]:
        """Names of the services, sorted."""
        return tuple(sorted(self._services))

    def actions(self, service: str) -> tuple[Action, ...]:
        """The actions of a service, in the order they were declared."""
        return tuple(self._services[service].values())

    def add(self, service: Service) -> None:
        """Add a service.

        Raises:
            ValueError: its name or one of its actions' is taken or is no name.
        """
        names = [action.name for action in service.actions]
        for name in (service.name, *names):
            if len(name) > MAX_WORD or not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name for a service or an action")
        if service.name in self._services:
            raise ValueError(f"a service named {service.name!r} exists already")
        if len(set(names)) < len(names):
            raise ValueError(f"service {service.name!r} has two actions of one name")
        self._services[service.name] = {action.name: action for action in service.actions}

    def prepare(self, command: Command) -> Prepared:
        """Find what a command asks for and check its parameters.

        Raises:
            Refused: no such service or action, a wrong parameter, or a stream where none is opened.
        """
        actions = self._services.get(command.service)
        if actions is None:
            raise Refused(Code.UNKNOWN_SERVICE, f"this agent has no service {command.service!r}")
        action = actions.get(command.action)
        if action is None:
            raise Refused(
                Code.UNKNOWN_ACTION, f"service {command.service!r} has no action {command.action!r}"
            )
        name = f"{command.service}.{command.action}"
        run = action.run if command.stream is None else action.opens
        if run is None:
            wrong = "opens a stream, and the command names none" if action.run is None else "opens no stream"
            raise Refused(Code.INVALID_PARAMS, f"{name} {wrong}")
        timeout = min(command.timeout or action.timeout, action.longest)
        return Prepared(name, run, Call(command.id, checked(action.params, command.params), timeout))


def add_installed(table: Table) -> None:
    """Add the services that packages on this node offer; one that is broken is logged and left out."""
    for entry in _entry_points():
        _add(table, entry)


def _add(table: Table, entry: Any) -> None:
    try:
        table.add(_loaded(entry))
    except Exception as exc:  # noqa: BLE001 - foreign code may raise anything, the agent goes on without it
        log.error("service %r was left out: %s", entry.name, exc)


def _loaded(entry: Any) -> Service:
    service = entry.load()
    if not isinstance(service, Service):
        raise TypeError(f"{entry.value} is no agent_client.commands.Service")
    return service


def _entry_points() -> list[Any]:
    if not any(_may_offer(Path(folder)) for folder in sys.path):
        return []
    from importlib import metadata  # it brings in e-mail and archives, 3 MiB that most agents never need

    if sys.version_info >= (3, 10):
        return list(metadata.entry_points(group=ENTRY_POINTS))
    return list(metadata.entry_points().get(ENTRY_POINTS, ()))


def _may_offer(folder: Path) -> bool:
    """Tell whether a package in a folder of the module path names our group; of an archive one cannot tell so easily."""
    if folder.is_file():
        return True
    files = [*folder.glob("*-info/entry_points.txt"), folder / "EGG-INFO" / "entry_points.txt"]
    return any(ENTRY_POINTS.encode() in file.read_bytes() for file in files if file.is_file())
