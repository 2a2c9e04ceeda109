"""The panel as seen from anywhere: its REST interface (`tunnel.cli.rest`), in the values that commands know."""

import asyncio
import re
import uuid
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any, ClassVar, Final, get_args
from urllib.parse import quote

from servers.errors import BusUnavailable, CommandError, NoReply, Ran, RelayLost
from tunnel.cli import doctor_node, doctor_remote, rest_facts
from tunnel.cli.exits import Exit, Failure
from tunnel.cli.facts import Change, Node, Refused, Secret
from tunnel.cli.finding import Finding
from tunnel.cli.nearest import no_such_server
from tunnel.cli.rest import Rest
from tunnel.cli.rest_errors import NotThePanel, Problem, Unreachable
from tunnel.cli.shell_socket import SocketWay

PAGE: Final = 500  # servers asked for at once, the most a panel gives
EVENTS: Final = 20  # read of one server; alike refusals are one event, so the last one is among them
MOST_PAGES: Final = 200  # 100,000 servers
LONGEST_COMMAND: Final = 30.0  # seconds; the panel waits no longer within one request
GRACE: Final = 10.0  # seconds beyond a command's own time: the panel waits 1 s longer, then answers
CUT_PATIENCE: Final = 30.0  # seconds; the panel waits some 12 for a tunnel to be cut

_AGENT_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,63}")  # docs/protocol.md §1


class Remote:
    """The end over REST (`tunnel.cli.panel.Panel`)."""

    remote: ClassVar[bool] = True
    max_timeout: ClassVar[float] = LONGEST_COMMAND

    def __init__(self, rest: Rest, program: str) -> None:
        self._rest = rest
        self._program = program

    def nodes(self, tags: Sequence[str] = ()) -> list[Node]:
        """Return the servers that carry any of the tags, by name; all when there are no tags."""
        wanted = set(tags)
        every = self._list({"tag": tags[0]} if len(wanted) == 1 else {})
        return [node for node in every if not wanted or wanted.intersection(node.tags)]

    def find(self, node: str) -> Node:
        """Return the server of that name, else of that agent id."""
        found = _choose(node, self._list({"search": node})) or self._by_agent_id(node)
        if found is not None:
            return found
        every = self._list({})  # a search reads some words in its own way, and the nearest names are there
        found = _choose(node, every)
        if found is None:
            raise no_such_server(node, [(each.name, each.agent_id) for each in every], self._program)
        return found

    def refused(self, node: Node) -> Refused | None:
        """Return how handshakes of its agent were refused last."""
        asked = {"server": node.agent_id, "page_size": str(EVENTS)}
        return rest_facts.refused(self._rest.call("GET", "events/", query=asked))

    def require_tunnels(self, nodes: Sequence[Node]) -> None:
        """Nothing to see from here: the panel says for each command whether it can be reached."""

    async def ask(self, node: Node, service: str, action: str, params: dict[str, Any], timeout: float) -> Any:
        """Run one action of one service and return its data."""
        body = {"service": service, "action": action, "params": params, "timeout": timeout}
        future, within = self._rest.start(
            "POST", f"{_path(node)}commands/", body, patience=timeout + GRACE, key=str(uuid.uuid4())
        )
        try:
            async with asyncio.timeout(within):
                answer = await asyncio.wrap_future(future)
        except TimeoutError as exc:
            raise NoReply(
                "the panel did not answer in time, look on the server whether the command ran"
            ) from exc
        except Failure as exc:
            raise _command_error(exc) from exc
        return answer.get("data")

    def shell(self, node: Node) -> SocketWay:
        """Return the way to a shell of this node."""
        return self._rest.shell(node.agent_id)

    def add(self, name: str, agent_id: str | None, tags: Sequence[str]) -> Secret:
        """Add a server."""
        body = {"name": name, "tags": list(tags), **({"agent_id": agent_id} if agent_id else {})}
        try:
            made = self._rest.call("POST", "servers/", body)
        except Problem as exc:
            if exc.told.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT):
                raise Failure(f"{name} was not added: {exc}", Exit.USAGE) from exc
            raise
        return rest_facts.secret(made, str(self._rest.where))

    def suspend(self, node: Node) -> Change:
        """Refuse the server's agent and cut its tunnel."""
        return self._change(node, "suspend/")

    def reactivate(self, node: Node) -> Change:
        """Let a suspended server back in."""
        return self._change(node, "activate/")

    def disconnect(self, node: Node) -> Change:
        """Cut the server's tunnel; its agent dials again by itself."""
        return self._change(node, "disconnect/")

    def rotate_secret(self, node: Node) -> Secret:
        """Give the server a new secret and cut its tunnel."""
        made = self._rest.call("POST", f"{_path(node)}rotate-secret/", {}, patience=CUT_PATIENCE)
        return rest_facts.secret(made, str(self._rest.where), node)

    def findings(self, node: str | None) -> Iterator[Finding]:
        """Check the way to the panel, what the token allows, and the way to a node."""
        able = True
        for finding in doctor_remote.steps(self._rest, self.nodes):
            able = able and finding.ok is not False
            yield finding
        if node and able:
            yield from doctor_node.steps(self, self.find(node), self._program)

    def _change(self, node: Node, word: str) -> Change:
        return rest_facts.change(self._rest.call("POST", _path(node) + word, {}, patience=CUT_PATIENCE), node)

    def _by_agent_id(self, word: str) -> Node | None:
        if not _AGENT_ID.fullmatch(word):
            return None
        try:
            return rest_facts.node(self._rest.call("GET", f"servers/{word}/"))
        except Problem as exc:
            if exc.told.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def _list(self, query: dict[str, str]) -> list[Node]:
        """Read all pages; the address of the next one is made here, never taken from an answer."""
        found: list[Node] = []
        for page in range(1, MOST_PAGES + 1):
            more = {"ordering": "name", "page_size": str(PAGE), "page": str(page)}
            answer = self._rest.call("GET", "servers/", query={**query, **more})
            found += rest_facts.page(answer)
            if not answer.get("next"):
                return found
        raise Failure(
            f"the panel has more than {MOST_PAGES * PAGE} servers, more than this reads", Exit.FAILED
        )


def _path(node: Node) -> str:
    return f"servers/{quote(node.agent_id, safe='')}/"


def _choose(word: str, nodes: Sequence[Node]) -> Node | None:
    named = next((node for node in nodes if node.name == word), None)
    return named or next((node for node in nodes if node.agent_id == word), None)


def _command_error(failure: Failure) -> CommandError:
    """Return a failed call as the error of a command: callers of both ends know that one."""
    if isinstance(failure, Problem):
        return _told(failure)
    if isinstance(failure, Unreachable) and failure.sent:
        return RelayLost(f"{failure}; look on the server whether the command ran")
    if isinstance(failure, NotThePanel):
        return RelayLost(str(failure))
    return BusUnavailable(str(failure))


def _told(problem: Problem) -> CommandError:
    told = problem.told
    code = told.code or str(told.status)
    if told.ran in get_args(Ran):
        return CommandError(code, str(problem), told.ran)  # type: ignore[arg-type]
    refused = told.status < HTTPStatus.INTERNAL_SERVER_ERROR  # before it was sent anywhere
    return CommandError(code, str(problem), "no" if refused else "unknown")
