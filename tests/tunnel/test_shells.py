"""The socket of a terminal page against an agent's end of the protocol: what is passed on, who may, what is never lost."""

import asyncio
import json
import threading
import tracemalloc
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from channels.layers import get_channel_layer
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session as Login
from django.test import Client
from django.utils import timezone

from agent_client.protocol import Code
from agent_client.protocol.messages import Command
from agent_client.settings import LONGEST_SHELL_KEEP
from servers import identity, tokens, watching
from servers.access import CONSOLE
from servers.models import ApiToken, CommandRecord, Grant, Server, ServerGroup
from servers.threads import in_thread
from tests.tunnel.nodes import Node
from tests.tunnel.waiting import until
from tunnel import worker as worker_module
from tunnel.handshake import Admission
from tunnel.models import Recording, Session, Shell, ShellEnd, ShellViewer, Worker
from tunnel.routing import websocket_urlpatterns
from tunnel.sessions import Welcome
from tunnel.shells import company, comparing, joining, messages, piped, rounds, rows, terminal, typed
from tunnel.shells.rows import Size
from tunnel.shells.state import State

pytestmark = pytest.mark.django_db(transaction=True)
HOST = "panel.example.org"
SIZE = {"cols": 80, "rows": 24}


class Box:
    """A node whose shells write what a test has them write; each keeps its whole output."""

    def __init__(self, worker: worker_module.Worker, server: Server) -> None:
        self.worker, self.server = worker, server
        self.asked: list[Command] = []
        self.outputs: dict[str, bytes] = {}
        self.streams: dict[int, str] = {}
        self.kept_from = 0  # what was written before is kept no more
        self.listed: Any = None  # what it says its shells are, if not those it has
        self.refusals: dict[str, Code] = {}  # of an action; the first time it is asked for
        self.silent = False  # a shell is opened and the answer is lost
        self.lies: dict[str, Any] = {}  # what it answers to who joins, instead of how it is
        self.node: Node

    async def connect(self) -> "Box":
        welcome, session = (
            Welcome(self.server.pk, self.server.agent_id, self.server.secret_version),
            uuid.uuid4(),
        )
        await self.worker.open(Admission(welcome, False, "127.0.0.1"), session)
        self.streams = {}
        self.node = Node(self.worker, self.server.agent_id, self._answer, welcome=welcome, session=session)
        return self

    def lose(self) -> None:
        """Cut the line."""
        self.node.connection.lost(1006)

    def write(self, data: bytes, handle: str = "") -> None:
        """Have a shell write, to all who look at it."""
        handle = handle or next(iter(self.outputs))
        self.outputs[handle] += data
        for number, of in self.streams.items():
            if of == handle:
                self.node.write(number, data)

    def end(self, code: int) -> None:
        """Have every shell's program end."""
        for number in self.streams:
            self.node.end(number, {"exitCode": code})

    @property
    def typed(self) -> bytes:
        """All that was typed since the line stands."""
        return b"".join(bytes(end.taken) for end in self.node.ends.values())

    def _answer(self, node: Node, command: Command) -> None:
        self.asked.append(command)
        params = command.params
        if command.action in self.refusals:
            node.agent.fail(command.id, self.refusals.pop(command.action), "not now\nforged")
            node.flush()
        elif command.action == "open":
            handle = uuid.uuid4().hex
            self.outputs[handle] = b""
            if self.silent:
                return
            data = {"handle": handle, "offset": 0, "shell": "/bin/sh", "cols": 80, "rows": 24}
            self.streams[node.open(command, data)] = handle
        elif command.action == "pipe":
            self.streams[node.open(command, {"pid": 7, "shell": "/bin/sh"})] = "at pipes"
        elif command.action == "attach":
            self._attach(node, command, params)
        elif command.action == "list":
            mine = [{"handle": one, "shell": "/bin/sh"} for one in self.outputs]
            node.reply(command.id, {"shells": mine if self.listed is None else self.listed})
        elif command.action == "resize":
            node.reply(command.id, {"cols": params["cols"], "rows": params["rows"]})
        elif command.action == "close":
            node.reply(command.id, {})
            self.end(-1)

    def _attach(self, node: Node, command: Command, params: dict[str, Any]) -> None:
        output = self.outputs.get(params["handle"])
        if output is None:
            node.agent.fail(command.id, Code.NOT_FOUND, "no such shell")
            node.flush()
            return
        offset = max(params["offset"], self.kept_from)
        data = {"offset": offset, "end": len(output), "cols": params["cols"], "rows": params["rows"]}
        number = node.open(command, data | self.lies)
        self.streams[number] = params["handle"]
        node.write(number, output[offset:])


class Page:
    """A terminal page: a socket, and what came on it."""

    def __init__(self, cookie: str, agent_id: str = "web-01") -> None:
        headers = [(b"host", HOST.encode()), (b"origin", f"https://{HOST}".encode())]
        headers += [(b"cookie", f"sessionid={cookie}".encode())]
        self.socket = WebsocketCommunicator(
            URLRouter(websocket_urlpatterns), f"/tunnel/ws/{agent_id}/shell/", headers
        )
        self.socket.scope |= {"scheme": "wss", "client": ["203.0.113.9", 1], "server": [HOST, 443]}
        self.said: list[dict[str, Any]] = []
        self.data = b""
        self.closed_with: int | None = None
        self._reader: asyncio.Task[None] | None = None

    @classmethod
    def of_program(cls, *shown: str, more: Any = ()) -> "Page":
        """A program that shows these in its Authorization header."""
        page = cls("")
        page.socket.scope["headers"] = [(b"host", HOST.encode()), *more]
        page.socket.scope["headers"] += [(b"authorization", one.encode()) for one in shown]
        return page

    async def dial(self) -> bool:
        connected, _ = await self.socket.connect(10)
        if connected:
            self.go_on()
        return connected

    def go_on(self) -> None:
        """Take what comes."""
        self._reader = asyncio.create_task(self._read())

    async def pause(self) -> None:
        """Take nothing for a while."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])

    async def _read(self) -> None:
        while True:
            message = await self.socket.receive_output(120)
            if message["type"] == "websocket.close":
                self.closed_with = message["code"]
                return
            if message.get("bytes") is not None:
                self.data += message["bytes"]
            else:
                self.said.append(json.loads(message["text"]))

    async def say(self, kind: str, **members: Any) -> None:
        await self.socket.send_to(json.dumps({"t": kind, **members}))

    async def type(self, data: bytes) -> None:
        await self.socket.send_to(bytes_data=data)

    async def open(self) -> dict[str, Any]:
        """Open a new shell and return what the panel says of it."""
        await self.say("open", lang="id-ID", **SIZE)
        return await self.heard("opened")

    async def attach(self, shell: str, offset: int = 0, *, write: bool = True) -> dict[str, Any]:
        await self.say("attach", shell=shell, offset=offset, write=write, **SIZE)
        return await self.heard("opened")

    async def heard(self, kind: str, seconds: float = 20.0, **members: Any) -> dict[str, Any]:
        """Wait for a message and forget those up to it."""

        def fits() -> list[int]:
            wanted = {"t": kind, **members}.items()
            return [at for at, one in enumerate(self.said) if wanted <= one.items()]

        await until(fits, seconds)
        at = fits()[0]
        found = self.said[at]
        del self.said[: at + 1]
        return found

    async def leave(self) -> None:
        await self.pause()
        await self.socket.disconnect()


@pytest.fixture(autouse=True)
def _hosts(settings):
    settings.ALLOWED_HOSTS = [HOST]
    settings.TUNNEL_RECORD_SHELLS = False  # tests/tunnel/test_recordings.py


@pytest.fixture
async def box(redis_url, monkeypatch) -> AsyncIterator[Box]:
    """A node held by the worker of this process."""
    monkeypatch.setattr(worker_module, "RECHECK", 60.0)
    monkeypatch.setattr(worker_module.stopping, "chain", lambda _loop, _stop: None)
    monkeypatch.setattr(company, "LOOK", 0.2)
    monkeypatch.setattr(company, "SETTLE", 0.02)
    worker = await worker_module.current()
    server, _ = await in_thread(identity.create, "web-01")
    made = await Box(worker, server).connect()
    yield made
    made.lose()
    await worker.stop()
    worker_module._forget()
    await get_channel_layer().flush()


def person(name: str, *rights: str) -> str:
    """Make a staff member with these rights on every server there is, and return a session cookie."""
    user = get_user_model().objects.create_user(name, password="pw", is_staff=True)
    group, _ = ServerGroup.objects.get_or_create(name="all")
    group.servers.set(Server.objects.all())
    Grant.objects.create(server_group=group, user=user, permissions=list(rights))
    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value


@pytest.fixture
async def pages(box) -> AsyncIterator[Any]:
    """A function that dials a page of a new person with these rights; all hang up at the end."""
    made: list[Page] = []
    cookies: dict[str, str] = {}

    async def dial(name: str, *rights: str, agent_id: str = "web-01", room: int = 0) -> Page:
        if name not in cookies:
            cookies[name] = await in_thread(person, name, *(rights or ("open_shell",)))
        page = Page(cookies[name], agent_id)
        page.socket._output_queue = asyncio.Queue(room)  # messages that a browser has not taken
        made.append(page)
        await page.dial()
        return page

    yield dial
    for page in made:
        await page.leave()


async def test_a_shell_is_opened_and_its_bytes_pass_both_ways(box, pages):
    page = await pages("ann")
    assert (await page.heard("hello"))["node"] == "web-01"
    opened = await page.open()
    assert (opened["offset"], opened["gap"], opened["write"], opened["mine"]) == (0, 0, True, True)
    box.write("$ héllo\x1b[0m\r\n".encode())
    await until(lambda: page.data == "$ héllo\x1b[0m\r\n".encode())
    await page.type(b"\x03")
    await until(lambda: box.typed == b"\x03")
    asked = box.asked[0].params
    assert (asked["term"], asked["lang"], asked["cols"]) == ("xterm-256color", "id-ID", 80)
    shell = await in_thread(lambda: Shell.objects.get())
    assert (str(shell.pk), shell.opener, shell.program) == (opened["shell"], "ann", "/bin/sh")
    box.end(3)
    state = await page.heard("state", state="ended")
    assert (state["why"], state["exit"]) == ("exited", 3)
    await in_thread(shell.refresh_from_db)
    assert (shell.end, shell.exit_code) == (ShellEnd.EXITED, 3)


async def test_the_agents_name_of_a_shell_never_reaches_a_browser_nor_the_history(box, pages):
    page = await pages("ann")
    await page.open()
    box.lose()
    await page.heard("state", state="lost")
    await box.connect()
    await page.heard("opened")
    handle = next(iter(box.outputs))
    assert handle not in json.dumps(page.said)
    kept = await in_thread(lambda: [json.dumps(one.params) for one in CommandRecord.objects.all()])
    assert kept
    assert not any(handle in one for one in kept)


async def test_a_page_that_shows_nothing_gets_no_more_than_its_window(box, pages):
    page = await pages("ann")
    await page.open()
    much = bytes(range(256)) * 4096  # 1 MiB
    box.write(much)
    await until(lambda: len(page.data) == joining.WINDOW)
    await asyncio.sleep(0.2)  # more would come at once
    assert len(page.data) == joining.WINDOW
    while len(page.data) < len(much):
        await page.say("ack", position=len(page.data))
        before = len(page.data)
        await until(lambda before=before: len(page.data) > before)
        assert len(page.data) - before <= joining.WINDOW
    assert page.data == much


async def test_a_lost_tunnel_is_said_and_the_output_goes_on_where_it_was(box, pages):
    page = await pages("ann")
    await page.open()
    box.write(b"before ")
    await until(lambda: page.data == b"before ")
    await page.type(b"ls\n")
    await until(lambda: box.typed == b"ls\n")
    box.lose()
    lost = await page.heard("state", state="lost")
    assert lost["typed"] is True
    await page.type(b"rm -rf /\n")  # typed into nothing, which the page says
    handle = next(iter(box.outputs))
    box.outputs[handle] += b"meanwhile "
    await box.connect()
    again = await page.heard("opened")
    assert (again["offset"], again["gap"]) == (len(b"before "), 0)
    box.write(b"after")
    await until(lambda: page.data == b"before meanwhile after")
    assert box.typed == b""
    opened = await in_thread(lambda: list(CommandRecord.objects.values_list("action", flat=True)))
    assert opened == ["open"]  # the way back of the same visit is not in the history again


async def test_what_the_node_kept_no_more_is_told_as_a_gap(box, pages):
    page = await pages("ann")
    await page.open()
    box.write(b"0123456789")
    await until(lambda: len(page.data) == 10)
    await page.say("ack", position=10)
    box.lose()
    await page.heard("state", state="lost")
    handle = next(iter(box.outputs))
    box.outputs[handle] += b"x" * 100
    box.kept_from = 60
    await box.connect()
    again = await page.heard("opened")
    assert (again["offset"], again["gap"], again["end"]) == (60, 50, 110)
    await until(lambda: len(page.data) == 10 + 50)


async def test_a_page_that_dials_again_has_what_it_missed(box, pages):
    first = await pages("ann")
    opened = await first.open()
    box.write(b"one two ")
    await until(lambda: first.data == b"one two ")
    await first.leave()
    box.write(b"three")
    second = await pages("ann")
    again = await second.attach(opened["shell"], offset=4)
    assert (again["offset"], again["write"]) == (4, True)
    await until(lambda: second.data == b"two three")


async def test_a_shell_that_the_node_knows_no_more_is_over(box, pages):
    page = await pages("ann")
    opened = await page.open()
    box.lose()
    await page.heard("state", state="lost")
    box.outputs.clear()
    await box.connect()
    assert (await page.heard("state", state="ended"))["why"] == "gone"
    other = await pages("ann")
    await other.say("attach", shell=opened["shell"], offset=0, write=True, **SIZE)
    assert (await other.heard("state", state="ended"))["why"] == "gone"


def viewers(page: Page) -> list[list[str]]:
    """Who was told to look at the shell, as often as that changed."""
    return [[one["name"] for one in said["viewers"]] for said in page.said if said["t"] == "viewers"]


def people(page: Page) -> list[dict[str, Any]]:
    """Who looks at the shell, as the page was told last."""
    told = [said["viewers"] for said in page.said if said["t"] == "viewers"]
    return told[-1] if told else []


async def test_who_may_open_shells_may_watch_and_types_only_with_the_right_to_change(box, pages):
    ann = await pages("ann")
    opened = await ann.open()
    watcher = await pages("bob", "open_shell")
    seen = await watcher.attach(opened["shell"])
    assert (seen["write"], seen["mine"], seen["opener"]) == (False, False, "ann")
    joiner = await pages("eve", "open_shell", "change")
    assert (await joiner.attach(opened["shell"]))["write"] is True
    box.write(b"for all")
    for page in (ann, watcher, joiner):
        await until(lambda page=page: page.data == b"for all")
    await watcher.type(b"from bob")
    await joiner.type(b"from eve")
    await until(lambda: box.typed == b"from eve")
    await until(lambda: ["ann", "bob", "eve"] in viewers(ann))
    await watcher.leave()
    await until(lambda: ["ann", "eve"] in viewers(ann))
    await watcher.say("end")
    assert not [one for one in box.asked if one.action == "close"]


async def test_who_gets_the_right_to_type_or_loses_it_joins_the_shell_anew_and_misses_nothing(box, pages):
    ann = await pages("ann")
    opened = await ann.open()
    eve = await pages("eve", "open_shell")
    assert (await eve.attach(opened["shell"]))["write"] is False
    box.write(b"one ")
    await until(lambda: eve.data == b"one ")

    async def have(*rights: str) -> Any:
        await eve.say("ack", position=len(eve.data))
        grants = Grant.objects.filter(user__username="eve")
        await in_thread(lambda: grants.update(permissions=list(rights)))
        return await eve.heard("opened")

    allowed = await have("open_shell", "change")
    assert (allowed["write"], allowed["offset"], allowed["gap"]) == (True, 4, 0)
    await eve.type(b"from eve")
    await until(lambda: box.typed == b"from eve")
    await until(lambda: [one["writes"] for one in people(ann)] == [True, True])
    box.write(b"two ")
    await until(lambda: eve.data == b"one two ")
    assert (await have("open_shell"))["write"] is False
    await eve.type(b"too late")
    await until(lambda: [one["writes"] for one in people(ann)] == [True, False])
    box.write(b"three")
    await until(lambda: eve.data == b"one two three")
    joined = [one.params["write"] for one in box.asked if one.action == "attach"]
    assert joined == [False, True, False]  # the node waits for those who may type, and hears nobody else
    assert box.typed == b"from eve"
    assert not [said for said in eve.said if said["t"] == "state"]


async def test_a_node_that_is_lost_while_a_right_changes_is_said(box, pages):
    ann = await pages("ann")
    opened = await ann.open()
    eve = await pages("eve", "open_shell")
    await eve.attach(opened["shell"])
    box.refusals["attach"] = Code.TIMEOUT
    await in_thread(lambda: Grant.objects.update(permissions=["open_shell", "change"]))
    assert (await eve.heard("state", state="lost"))["why"] == "timeout"
    assert (await eve.heard("opened"))["write"] is True


async def test_the_terminal_is_as_small_as_the_smallest_window(box, pages):
    ann = await pages("ann")
    opened = await ann.open()
    bob = await pages("bob")
    await bob.say("attach", shell=opened["shell"], offset=0, cols=40, rows=60, write=False)
    await bob.heard("opened")
    assert await ann.heard("size", cols=40, rows=24)
    await bob.leave()
    assert await ann.heard("size", cols=80, rows=24)


async def test_a_size_that_another_window_takes_is_told_at_once(box, pages, monkeypatch):
    monkeypatch.setattr(company, "LOOK", 600.0)
    ann = await pages("ann")
    opened = await ann.open()
    bob = await pages("bob")
    await bob.attach(opened["shell"], write=False)
    await bob.heard("viewers")
    await bob.say("resize", cols=40, rows=20)
    await ann.heard("size", cols=40, rows=20)
    await bob.say("resize", cols=60, rows=20)
    await ann.heard("size", cols=60, rows=20)


async def test_a_browser_that_took_nothing_for_a_while_is_told_the_size_as_soon_as_it_does(
    box, pages, monkeypatch
):
    monkeypatch.setattr(company, "LOOK", 600.0)
    ann = await pages("ann", room=1)
    opened = await ann.open()
    await ann.heard("viewers")
    await ann.pause()
    for _ in range(3):
        box.write(b"x" * 1000)
        await asyncio.sleep(0)
    bob = await pages("bob")
    await bob.say("attach", shell=opened["shell"], offset=0, cols=40, rows=20, write=False)
    await until(lambda: len(people(bob)) == 2)
    assert not [said for said in ann.said if said["t"] == "size"]
    ann.go_on()
    await ann.heard("size", cols=40, rows=20)
    await until(lambda: len(ann.data) == 3000)


async def test_a_page_that_leaves_in_the_middle_of_a_look_leaves_no_trace(box, pages, monkeypatch):
    began, go_on, looked = threading.Event(), threading.Event(), threading.Event()
    really_stay, really_viewing = rows.stay, rows.viewing

    def slow(*args: Any, **kwargs: Any) -> bool:
        began.set()
        assert go_on.wait(20)
        return really_stay(*args, **kwargs)

    def viewing(*args: Any) -> Any:
        looked.set()
        return really_viewing(*args)

    ann = await pages("ann")
    await ann.open()
    monkeypatch.setattr(rows, "stay", slow)
    await until(began.is_set)
    monkeypatch.setattr(rows, "viewing", viewing)
    leaving = asyncio.create_task(ann.leave())
    await asyncio.sleep(0.3)  # who did not wait for the look would be gone by now
    go_on.set()
    await leaving
    await until(looked.is_set)
    assert await in_thread(ShellViewer.objects.count) == 0


@pytest.mark.parametrize("joins", [False, True], ids=["opened", "joined"])
async def test_a_page_that_leaves_in_the_moment_it_gets_its_shell_holds_nothing_back(
    box, pages, monkeypatch, joins
):
    began, go_on = threading.Event(), threading.Event()

    class Asked:
        """Takes its time to tell whether a shell is recorded."""

        @staticmethod
        def is_recorded(_: uuid.UUID) -> bool:
            began.set()
            return go_on.wait(20)

    ann = await pages("ann")
    opened = await ann.open()
    await ann.leave()
    monkeypatch.setattr(joining, "recorded", Asked)
    again = await pages("ann")
    if joins:
        await again.say("attach", shell=opened["shell"], offset=0, write=True, **SIZE)
    else:
        await again.say("open", lang="en", **SIZE)
    await until(began.is_set)
    leaving = asyncio.create_task(again.leave())
    await asyncio.sleep(0.3)  # it is on its way out
    go_on.set()
    await leaving
    await until(lambda: all(end.reset for end in box.node.ends.values()))


@pytest.mark.parametrize(
    "lie",
    [{"offset": "soon"}, {"offset": 2**60}, {"end": True}, {"cols": 10**9}, {"rows": 0}, {"rows": 1.5}],
    ids=str,
)
async def test_an_answer_that_makes_no_sense_reaches_no_page_and_leaves_no_stream_open(box, pages, lie):
    ann, bob = await pages("ann"), await pages("bob")
    opened = await ann.open()
    box.lies = lie
    await bob.say("attach", shell=opened["shell"], offset=0, write=False, **SIZE)
    await bob.heard("state", state="ended")
    await until(lambda: box.node.ends[max(box.streams)].reset)


async def test_of_several_terminals_one_answers_what_it_is(box, pages):
    ann = await pages("ann")
    opened = await ann.open()
    second = await pages("ann")
    await second.attach(opened["shell"])
    await second.heard("viewers")
    await second.say("answer", to="primary")
    await ann.heard("viewers")
    await ann.say("answer", to="primary")
    await until(lambda: box.typed == messages.ANSWERS["primary"])
    await asyncio.sleep(0.1)  # a second answer would have come
    assert box.typed == messages.ANSWERS["primary"]


@pytest.mark.parametrize(
    ("deed", "why"),
    [
        (lambda: Grant.objects.update(permissions=["view"]), "not_allowed"),
        (lambda: get_user_model().objects.update(is_active=False), "logged_out"),
        (lambda: Login.objects.all().delete(), "logged_out"),
        (lambda: Server.objects.update(status=Server.Status.SUSPENDED), "suspended"),
    ],
    ids=["right taken", "person switched off", "logged out", "node suspended"],
)
async def test_who_may_no_more_is_shown_out(box, pages, deed, why):
    page = await pages("ann")
    await page.open()
    await in_thread(deed)
    assert (await page.heard("state", state="ended", seconds=15))["why"] == why
    await until(lambda: page.closed_with == 4003)
    assert not await in_thread(lambda: ShellViewer.objects.filter(until__gt=timezone.now()).exists())


async def test_a_shell_of_another_node_is_not_found_here(box, pages):
    page = await pages("ann")
    opened = await page.open()
    await in_thread(lambda: identity.create("web-02"))
    await in_thread(lambda: ServerGroup.objects.get().servers.set(Server.objects.all()))
    other = await pages("ann", agent_id="web-02")
    await in_thread(lambda: Server.objects.filter(agent_id="web-02").update(status="active"))
    worker_shell = opened["shell"]
    await other.say("attach", shell=worker_shell, offset=0, write=True, **SIZE)
    assert (await other.heard("state", state="ended"))["why"] == "not_found"


@pytest.mark.parametrize("right", ["view", "run_command", "change"])
async def test_without_the_right_there_is_no_socket(box, pages, right):
    page = await pages("ann", right)
    assert page._reader is None


@pytest.mark.parametrize(
    "text",
    [
        " ",
        "x",
        "[]",
        '{"t":"open"}',
        '{"t":"open","cols":80,"rows":1e3,"lang":"en"}',
        '{"t":"open","cols":1001,"rows":24,"lang":"en"}',
        '{"t":"open","cols":true,"rows":24,"lang":"en"}',
        '{"t":"attach","shell":"../..","offset":0,"cols":80,"rows":24,"write":true}',
        '{"t":"attach","shell":7,"offset":0,"cols":80,"rows":24,"write":true}',
        '{"t":"ack","position":-1}',
        '{"t":"answer","to":"title"}',
        '{"t":"run"}',
        '{"t":"pipe","lang":"en","line":7}',
        '{"t":"pipe","lang":"en","line":"a\\u0000b"}',
        '{"t":"pipe","lang":"en","line":"' + "x" * 20_000 + '"}',
        '{"t":"ping","n":' + "9" * 30 + "}",
        '{"t":"open","lang":"' + "x" * 2000 + '"}',
    ],
)
async def test_a_message_that_no_page_sends_ends_the_socket(box, pages, text):
    page = await pages("ann")
    await page.socket.send_to(text)
    await until(lambda: page.closed_with == 4008)
    assert box.asked == []


async def test_input_that_the_program_does_not_read_is_bounded_and_said(box, pages):
    page = await pages("ann")
    await page.open()
    box.node.ends[next(iter(box.streams))].takes = False
    for _ in range(typed.MOST // 65536 + 10):
        await page.type(b"x" * 65536)
    assert await page.heard("notice", notice="not_read")
    box.write(b"still here")
    await until(lambda: page.data == b"still here")


async def test_a_window_that_changes_tells_the_node_its_last_size(box, pages):
    page = await pages("ann")
    await page.open()
    for cols in range(81, 121):
        await page.say("resize", cols=cols, rows=50)
    await page.heard("size", cols=120, rows=50)
    sizes = [one.params["cols"] for one in box.asked if one.action == "resize"]
    assert sizes[-1] == 120
    assert len(sizes) < 40


async def test_shells_are_limited_for_a_person_on_a_node(box, pages, monkeypatch):
    monkeypatch.setattr(joining, "MAX_SHELLS_OF_ONE_PERSON", 2)
    for _ in range(2):
        await (await pages("ann")).open()
    third = await pages("ann")
    await third.say("open", lang="en", **SIZE)
    assert (await third.heard("state", state="ended"))["why"] == "too_many_shells"
    box.outputs.clear()  # they ended, which nobody saw
    await in_thread(lambda: Shell.objects.update(opened_at=timezone.now() - rows.YOUNG * 2))
    fourth = await pages("ann")
    await fourth.open()


async def test_a_shell_nobody_wrote_down_is_found_on_the_node(box):
    def look() -> list[tuple[str, bool]]:
        rows.compare(box.server, [{"handle": "stray", "shell": "/bin/sh"}, {"handle": 7}, {}])
        return list(Shell.objects.values_list("handle", "opener"))

    assert await in_thread(look) == [("stray", "")]
    await in_thread(lambda: Shell.objects.update(opened_at=timezone.now() - rows.YOUNG * 2))
    await in_thread(rows.compare, box.server, [])
    assert await in_thread(lambda: Shell.objects.get().end) == ShellEnd.GONE


async def test_a_shell_that_ended_while_nobody_looked_is_no_live_one(box, pages):
    page = await pages("ann")
    opened = await page.open()
    await page.leave()
    handle = next(iter(box.outputs))
    told = [{"handle": handle, "exitCode": 4}, {"handle": "a stray", "exitCode": 0}]
    await in_thread(rows.compare, box.server, told)
    shell = await in_thread(lambda: Shell.objects.get())
    assert (str(shell.pk), shell.end, shell.exit_code) == (opened["shell"], ShellEnd.EXITED, 4)


def left_alone(server: Server, handle: str) -> Shell:
    """A shell that was opened long ago and is looked at by nobody."""
    shell = rows.opened(server, handle, "/bin/sh", CONSOLE)
    Shell.objects.filter(pk=shell.pk).update(opened_at=timezone.now() - timedelta(days=30))
    return shell


async def test_the_background_worker_ends_shells_that_their_nodes_know_no_more(box, pages, monkeypatch):
    page = await pages("ann")
    await page.open()
    lost = await in_thread(left_alone, box.server, "lost")
    await in_thread(left_alone, (await in_thread(identity.create, "web-02"))[0], "away")
    assert await rounds.Rounds("me").go() == 1
    await in_thread(lost.refresh_from_db)
    assert lost.end == ShellEnd.GONE
    assert await in_thread(Shell.objects.filter(ended_at=None, server=box.server).count) == 1
    assert await rounds.Rounds("another").go() == 0  # one process goes round
    assert [one.action for one in box.asked].count("list") == 1
    assert await rounds.Rounds("me").go() == 0  # what somebody looks at is known to live


async def test_a_round_asks_some_nodes_and_the_next_one_those_behind_them(box, monkeypatch):
    asked: list[str] = []

    async def compared(server: Server) -> bool:
        asked.append(server.agent_id)
        return True

    def node(number: int) -> None:
        server, _ = identity.create(f"more-{number}")
        left_alone(server, "h")
        worker = Worker.objects.get()
        Session.objects.create(server=server, worker=worker, secret_version=1)

    for number in range(5):
        await in_thread(node, number)
    monkeypatch.setattr(rounds, "compare", compared)
    monkeypatch.setattr(rounds, "MOST_ASKED", 2)
    mine = rounds.Rounds("me")
    assert [await mine.go() for _ in range(4)] == [2, 2, 1, 2]
    assert asked == ["more-0", "more-1", "more-2", "more-3", "more-4", "more-0", "more-1"]


async def test_a_shell_of_a_node_that_was_away_for_longer_than_any_lives_is_over_until_the_node_tells_otherwise(
    box,
):
    def away_for(days: int) -> str:
        Session.objects.update(closed_at=timezone.now() - timedelta(days=days))
        rounds.end_lost()
        shell.refresh_from_db()
        return shell.end

    def back() -> tuple[str, Any]:
        rows.compare(box.server, [{"handle": "h"}])
        shell.refresh_from_db()
        recording = Recording.objects.get()
        return shell.end, recording.ended_at

    shell = await in_thread(left_alone, box.server, "h")
    recorded = {"shell": shell, "server": box.server, "cols": 80, "rows": 24}
    await in_thread(lambda: Recording.objects.create(end="gone", ended_at=timezone.now(), **recorded))
    assert await in_thread(away_for, 6) == ""
    assert await in_thread(away_for, 8) == ShellEnd.GONE
    assert await in_thread(back) == ("", None)
    assert rounds.LONGEST.total_seconds() == LONGEST_SHELL_KEEP


async def test_a_shell_whose_opening_was_never_answered_is_found_in_the_nodes_list(box, pages, monkeypatch):
    monkeypatch.setattr(joining, "OPEN_TIMEOUT", 0.2)
    box.silent = True
    page = await pages("ann")
    await page.say("open", lang="en", **SIZE)
    await page.heard("state", state="ended")
    assert await in_thread(Shell.objects.count) == 0
    assert await rounds.Rounds("me").go() == 1
    shell = await in_thread(lambda: Shell.objects.get())
    assert (shell.handle, shell.opener) == (next(iter(box.outputs)), "")
    eve = await pages("eve", "open_shell", "change")
    assert (await eve.attach(str(shell.pk)))["write"] is True
    await eve.say("end")
    await eve.heard("state", state="ended")
    assert (await in_thread(lambda: Shell.objects.get())).end == ShellEnd.CLOSED


async def test_who_opened_a_shell_ends_it_for_all(box, pages):
    ann = await pages("ann")
    opened = await ann.open()
    bob = await pages("bob")
    await bob.attach(opened["shell"], write=False)
    await ann.say("end")
    for page in (ann, bob):
        assert (await page.heard("state", state="ended"))["exit"] == -1
    shell = await in_thread(lambda: Shell.objects.get())
    assert shell.end == ShellEnd.CLOSED


async def test_a_shell_that_the_node_did_not_end_is_no_ended_one_and_can_be_ended_again(box, pages, caplog):
    caplog.set_level("DEBUG", "tunnel.shells")
    page = await pages("ann")
    opened = await page.open()
    box.refusals["close"] = Code.BUSY
    await page.say("end")
    await page.heard("notice", notice="not_ended")
    again = await pages("ann")
    await again.attach(opened["shell"])
    await page.say("end")
    await page.heard("state", state="ended")
    assert (await in_thread(lambda: Shell.objects.get())).end == ShellEnd.CLOSED
    assert "could not be ended" in caplog.text
    assert "\nforged" not in caplog.text


@pytest.mark.parametrize(
    "told",
    [
        ["x", 7, None, {"handle": "h", "shell": []}],
        [{"handle": "a\0b"}, {"handle": ["h"]}, {"handle": "h"}],
        {"handle": "h"},
        "shells",
    ],
    ids=["no shells", "no handles", "no list", "no list at all"],
)
async def test_a_list_of_shells_that_makes_no_sense_harms_nothing(box, told):
    box.listed = told
    await comparing.compare(box.server)
    handles = await in_thread(lambda: list(Shell.objects.values_list("handle", flat=True)))
    assert handles in ([], ["h"])


async def test_a_node_that_tells_of_countless_shells_fills_no_table(box):
    box.listed = [{"handle": f"shell-{number}"} for number in range(5000)]
    await comparing.compare(box.server)
    assert await in_thread(Shell.objects.count) <= rows.MOST_TOLD


async def test_who_finds_all_places_of_his_shell_taken_gets_in_when_one_is_free(box, pages):
    page = await pages("ann")
    opened = await page.open()
    box.refusals["attach"] = Code.BUSY  # those who look through a worker that was killed are still there
    box.lose()
    await page.heard("state", state="lost")
    await box.connect()
    await page.heard("opened")
    box.refusals["attach"] = Code.BUSY
    await (await pages("ann")).attach(opened["shell"])


async def test_keys_that_wait_take_the_room_of_their_bytes_however_many_messages_they_came_in():
    waiting = typed.Typed()
    tracemalloc.start()
    try:
        for _ in range(100_000):
            waiting.add(b"k", 0.0)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 3 * 100_000
    assert waiting.add(b"k" * (typed.MOST - 100_000), 0.0)
    assert not waiting.add(b"k", 0.0)
    assert len(await waiting.next()) == typed.PIECE
    assert not waiting.add(b"k", 0.0)  # not passed on yet
    waiting.passed_on()
    assert waiting.add(b"k", 0.0)


async def test_what_is_typed_in_pieces_arrives_in_its_order_and_what_a_cut_dropped_is_known():
    waiting = typed.Typed()
    assert not waiting.forget(0.0)
    for key in (b"l", b"s", b"\n"):
        waiting.add(key, 1.0)
    assert await waiting.next() == b"ls\n"
    assert waiting.forget(100.0)  # under way
    waiting.add(b"x", 100.0)
    await waiting.next()
    waiting.passed_on()
    assert waiting.forget(100.0 + typed.JUST / 2)
    assert not waiting.forget(100.0 + typed.JUST)


async def test_typing_nothing_costs_nothing():
    terminal_ = terminal.Terminal(None, None, None)  # type: ignore[arg-type]
    terminal_._visit.state, terminal_._visit.types = State.LIVE, True
    for _ in range(10):
        assert terminal_.typed(b"")
    assert len(terminal_._visit.typed) == 0


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("id-ID", "id-ID"),
        ("en-GB-oxendict", "en-GB"),
        ("zh-Hant-TW", "zh-TW"),
        ("en", "en"),
        ("", ""),
        ("../../x", ""),
        ("en-US;id", "en"),
        ("en_US.UTF-8", ""),
    ],
)
def test_of_a_browsers_language_the_node_is_told_language_and_country(tag, language):
    assert messages.language_of(tag) == language


def test_the_smallest_of_nobody_is_none_and_of_several_fits_all():
    assert rows.smallest([]) is None
    two = [rows.Viewing("a", "1", "a", True, Size(80, 50)), rows.Viewing("b", "2", "b", False, Size(90, 24))]
    assert rows.smallest(two) == Size(80, 24)


async def test_where_a_second_factor_is_asked_for_nothing_is_opened_without_it(box, pages, settings):
    settings.TUNNEL_SECOND_FACTOR = 3600
    page = await pages("ann")
    await page.say("open", lang="en", **SIZE)
    assert (await page.heard("state", state="ended"))["why"] == "second_factor"
    assert box.asked == []

    def look() -> Any:
        client = Client()
        client.force_login(get_user_model().objects.get(username="ann"))
        return client.get(f"/admin/tunnel/nodes/{box.server.pk}/terminal/?shell=x", headers={"host": HOST})

    answer = await in_thread(look)
    assert answer.status_code == 302
    assert "second-factor" in answer.headers["Location"]
    assert "terminal" in answer.headers["Location"]


async def test_a_page_whose_socket_is_refused_is_told_why(box, settings):
    await in_thread(person, "ann", "open_shell")

    def ask() -> tuple[int, Any]:
        client = Client()
        client.force_login(get_user_model().objects.get(username="ann"))
        headers = {"host": HOST, "accept": "application/json"}
        answer = client.get(f"/admin/tunnel/nodes/{box.server.pk}/terminal/?shell=x", headers=headers)
        return answer.status_code, answer.json()

    assert await in_thread(ask) == (200, {"why": ""})
    settings.TUNNEL_SECOND_FACTOR = 3600
    assert await in_thread(ask) == (403, {"why": "second_factor"})
    await in_thread(lambda: Server.objects.update(status=Server.Status.SUSPENDED))
    assert await in_thread(ask) == (403, {"why": "suspended"})


async def test_a_page_from_elsewhere_and_nobody_in_particular_get_no_socket(box):
    cookie = await in_thread(person, "ann", "open_shell")
    for change in ({"origin": b"https://evil.example.org"}, {"cookie": b""}, {"origin": b"null"}):
        page = Page(cookie)
        headers = dict(page.socket.scope["headers"]) | {
            name.encode(): value for name, value in change.items()
        }
        page.socket.scope["headers"] = list(headers.items())
        assert not await page.dial()
        await page.leave()


# -- programs with a token ---------------------------------------------------------------------------------------


def token_of(name: str, *rights: str) -> tuple[ApiToken, str]:
    user = get_user_model().objects.get(username=name)
    return tokens.create(user, "cli", rights)


async def test_a_program_with_a_token_needs_no_origin_and_is_told_what_was_taken(box, pages):
    await pages("ann", "open_shell")
    _, shown = await in_thread(token_of, "ann", "open_shell")
    program = Page.of_program(f"Token {shown}")
    assert await program.dial()
    await program.say("open", lang="id-ID", term="xterm-kitty", **SIZE)
    assert (await program.heard("opened"))["mine"] is True
    await program.type(b"ls\n")
    assert (await program.heard("taken"))["count"] == 3
    assert box.asked[0].params["term"] == "xterm-kitty"
    assert await in_thread(lambda: CommandRecord.objects.get(action="open").actor) == "ann (token cli)"
    await program.leave()


@pytest.mark.parametrize("case", ["unknown", "narrow", "two"])
async def test_a_token_that_is_not_enough_is_refused_whatever_the_cookies_say(box, pages, case):
    page = await pages("ann", "open_shell", "run_command")
    _, narrow = await in_thread(token_of, "ann", "run_command")
    _, good = await in_thread(token_of, "ann", "open_shell")
    shown = {"unknown": ["yta_" + "x" * 43], "narrow": [narrow], "two": [good, good]}[case]
    headers = page.socket.scope["headers"]
    program = Page.of_program(*(f"Token {one}" for one in shown), more=headers)
    assert not await program.dial()


async def test_a_program_whose_token_is_revoked_is_shown_out_within_15_seconds(box, pages):
    await pages("ann", "open_shell")
    row, shown = await in_thread(token_of, "ann", "open_shell")
    program = Page.of_program(f"Token {shown}")
    assert await program.dial()
    await program.open()
    await in_thread(tokens.revoke, [row])
    await until(lambda: program.closed_with == 4003, 15)
    await program.leave()


async def test_a_shell_at_pipes_takes_input_to_its_end_and_gives_records_as_they_are_taken(box, pages):
    page = await pages("ann", "open_shell", "run_command")
    await page.say("pipe", lang="id-ID", line="wc -c; exit 3" + " " * 2000)
    await page.heard("opened")
    (number,) = box.streams
    assert box.asked[0].params["line"].startswith("wc -c")
    await page.type(b"some")
    assert (await page.heard("taken"))["count"] == 4
    await page.say("eof")
    await until(lambda: box.node.ends[number].ended)
    assert box.typed == b"some"
    records = b"\x01\x00\x10\x00\x00" + bytes(1024 * 1024)
    box.node.write(number, records)
    await until(lambda: len(page.data) == joining.WINDOW)
    await asyncio.sleep(0.2)  # more would come at once
    assert len(page.data) == joining.WINDOW
    while len(page.data) < len(records):
        await page.say("ack", position=len(page.data))
        before = len(page.data)
        await until(lambda before=before: len(page.data) > before)
    assert page.data == records
    box.end(3)
    assert (await page.heard("state", state="ended", why="exited"))["exit"] == 3
    record = await in_thread(lambda: CommandRecord.objects.get(action="pipe"))
    assert (record.actor, record.state, record.params["line"][:5]) == ("ann", "succeeded", "wc -c")


async def test_a_shell_at_pipes_ends_with_its_tunnel_its_socket_and_the_right_to_it(box, pages, monkeypatch):
    monkeypatch.setattr(watching, "RECHECK", 0.2)
    lost, left, judged = [await pages(name, "open_shell", "run_command") for name in ("ann", "bob", "eve")]
    for page in (left, judged, lost):
        await page.say("pipe", lang="en")
        await page.heard("opened")
    of_left, of_judged, _ = box.streams
    await left.say("end")
    await until(lambda: left.closed_with == 1000 and box.node.ends[of_left].reset)
    await in_thread(Grant.objects.filter(user__username="eve").update, permissions=["open_shell"])
    await judged.heard("state", state="ended", why="revoked")
    assert box.node.ends[of_judged].reset
    box.lose()
    await lost.heard("state", state="ended", why="disconnected")


async def test_a_shell_at_pipes_ends_with_the_login_of_its_page(box, pages, monkeypatch):
    monkeypatch.setattr(piped, "LOOK", 0.2)
    page = await pages("ann", "open_shell", "run_command")
    await page.say("pipe", lang="en")
    await page.heard("opened")
    await in_thread(Login.objects.all().delete)
    await page.heard("state", state="ended", why="logged_out", seconds=15)
    await until(lambda: page.closed_with == 4003)
    assert box.node.ends[next(iter(box.streams))].reset


async def test_a_shell_at_pipes_ends_with_a_page_that_takes_not_even_the_news_of_it(box, pages):
    page = await pages("ann", "open_shell", "run_command", room=1)
    await page.heard("hello")
    await page.pause()
    await page.say("ping", n=1)  # whose answer takes all the room there is
    await page.say("pipe", lang="en")
    await until(lambda: box.streams)
    await page.leave()
    await until(lambda: box.node.ends[next(iter(box.streams))].reset)


async def test_who_may_not_run_commands_gets_no_shell_at_pipes_and_is_told_which_right_it_takes(box, pages):
    page = await pages("ann", "open_shell")
    await page.say("pipe", lang="en")
    told = await page.heard("state", state="ended", why="not_allowed")
    assert "may not run commands on web-01" in told["text"]
    assert box.asked == []


def test_the_longest_line_for_a_shell_fits_a_message_whatever_it_is_written_in():
    line = "\N{ROCKET}" * messages.MAX_LINE
    assert messages.parse(json.dumps({"t": "pipe", "lang": "", "line": line})) == messages.Pipe("", line)
    with pytest.raises(messages.BadMessage):
        messages.parse(json.dumps({"t": "pipe", "lang": "", "line": line + "."}))


async def test_a_program_that_sends_more_than_it_was_told_is_cut_off(box, pages):
    page = await pages("ann", "open_shell", "run_command")
    await page.say("pipe", lang="en")
    await page.heard("opened")
    box.node.ends[next(iter(box.streams))].takes = False
    for _ in range(typed.MOST // 65536 + 10):
        await page.type(b"x" * 65536)
    await until(lambda: page.closed_with == 4008)


async def test_shells_at_pipes_are_limited_for_a_person(box, pages, monkeypatch):
    monkeypatch.setattr(piped, "MAX_OF_ONE_PERSON", 1)
    first, second = [await pages("ann", "open_shell", "run_command") for _ in range(2)]
    await first.say("pipe", lang="en")
    await first.heard("opened")
    await second.say("pipe", lang="en")
    await second.heard("state", state="ended", why="too_many_terminals")
    await first.leave()
    third = await pages("ann", "open_shell", "run_command")
    await third.say("pipe", lang="en")
    await third.heard("opened")
