"""A session with owners of streams on another worker: what is under way can be delayed, cut and lost."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agent_client.protocol import AgentSession, Code, MasterSession, Stream
from agent_client.protocol.events import (
    CancelReceived,
    CloseRequired,
    CommandLapsed,
    CommandReceived,
    FrameReceived,
    ReplyReceived,
    StreamData,
    StreamEnded,
    StreamReset,
)
from agent_client.protocol.frames import decode, encode
from agent_client.protocol.limits import MAX_DATA, MAX_WINDOW
from agent_client.protocol.messages import Command
from agent_client.protocol.replay import ReplayGuard
from tests.protocol.ends import FACTS, START

PATIENCE = 10.0  # seconds a command may wait for its answer
SMALLEST = 8  # bytes of a window
MOST_ROUNDS = 1_000  # the most that is sent in the smallest windows takes half as many
PATTERN = bytes(range(251)) * 1100  # no frame of it looks like another


def content(key: int, start: int, size: int) -> bytes:
    """The bytes a stream sends from position `start` on."""
    first = (start + 7 * key) % 251
    return PATTERN[first : first + size]


@dataclass
class End:
    """What one end of a stream sends and has received; it takes bytes when it is told to."""

    key: int
    sends: int
    sent: int = 0
    got: int = 0
    held: int = 0  # received and not consumed
    said_end: bool = False
    whole: bool = False
    code: Code | None = None

    @property
    def over(self) -> bool:
        return self.code is not None or (self.said_end and self.whole)

    def take(self, event: Any) -> None:
        if isinstance(event, StreamData):
            assert event.payload == content(self.key, self.got, len(event.payload))
            self.got += len(event.payload)
            self.held += len(event.payload)
            assert self.held <= MAX_WINDOW
        elif isinstance(event, StreamEnded):
            self.whole = True
            assert event.detail == {"sent": self.got}
        elif isinstance(event, StreamReset):
            self.code = event.code

    def next(self, most: int) -> bytes:
        data = content(self.key, self.sent, min(most, self.sends - self.sent, MAX_DATA))
        self.sent += len(data)
        return data


@dataclass
class Owner:
    """One command with its stream on the worker that asked."""

    id: str
    end: End
    node: End
    stream: Stream | None = None
    cancelled: bool = False
    alive: bool = True
    answered: bool = False


@dataclass
class Link:
    """One direction between two workers: numbered, and what is missing is noticed with the next that comes."""

    waiting: deque[tuple[int, Any]] = field(default_factory=deque)
    put: int = 0
    seen: int = 0

    def send(self, what: Any) -> None:
        self.put += 1
        self.waiting.append((self.put, what))

    def lose(self) -> bool:
        return bool(self.waiting and self.waiting.popleft())

    def take(self) -> Any:
        """The next, or None when one is missing."""
        number, what = self.waiting.popleft()
        self.seen += 1
        return what if number == self.seen else None

    @property
    def missing(self) -> bool:
        """What the sign of life of the other side tells."""
        return not self.waiting and self.seen < self.put


class World:
    """An agent, the worker that holds its socket, and owners on another; each step of it may be the last."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.master = MasterSession("s", now=self.now, wall=START, basic=False)
        self.agent = AgentSession(FACTS, ReplayGuard(), now=self.now, wall_offset=START - self.now)
        self.down: deque[str | bytes] = deque()
        self.up: deque[str | bytes] = deque()
        self.to_owner, self.to_holder = Link(), Link()
        self.owners: dict[str, Owner] = {}
        self.by_number: dict[int, Owner] = {}  # at the owners' worker
        self.on_node: dict[int, End] = {}
        self.asked: list[Command] = []  # on the node, not answered
        self.faults: set[Code] = set()
        self.linked = self.connected = True
        self.settle_socket()

    # -- what Hypothesis does

    def ask(self, index: int, size: int) -> None:
        """An owner asks for a stream; its windows and what is sent are small enough to be passed often."""
        if not self.linked or len(self.owners) > 6:
            return
        name, key = f"c-{len(self.owners)}", len(self.owners)
        owner = Owner(name, End(key, size), End(key, 2 * size))
        self.owners[name] = owner
        command = Command(name, "shell", "open", START + self.now - 1000.0, {"window": SMALLEST + size // 3})
        self.to_holder.send(("ask", command, index % 2 == 0))

    def answer(self, index: int, size: int) -> None:
        """The node opens a stream it was asked for."""
        if self.asked and self.connected:
            command = self.asked.pop(index % len(self.asked))
            owner = self.owners[command.id]
            stream = self.agent.open_stream(
                command.id, {"handle": "h"}, window=SMALLEST + size // 5, interactive=index % 2 == 0
            )
            self.on_node[stream.number] = owner.node

    def refuse(self, index: int, size: int) -> None:
        """The node opens none."""
        if self.asked and self.connected:
            command = self.asked.pop(index % len(self.asked))
            self.agent.fail(command.id, Code.BUSY, "no")
            self.faults.add(Code.BUSY)

    def node_sends(self, index: int, size: int) -> None:
        for number, end in self._some(self.on_node, index):
            if number in self.agent.live_streams and not end.said_end:
                data = end.next(min(size, self.agent.sendable(number)))
                if data:
                    self.agent.send_data(number, data)

    def node_takes(self, index: int, size: int) -> None:
        for number, end in self._some(self.on_node, index):
            count = min(end.held, size)
            end.held -= count
            self.agent.consumed(number, count)

    def node_ends(self, index: int, size: int) -> None:
        for number, end in self._some(self.on_node, index):
            if number in self.agent.live_streams and end.sent == end.sends and not end.said_end:
                end.said_end = True
                self.agent.end_stream(number, {"sent": end.sent})

    def node_resets(self, index: int, size: int) -> None:
        for number, end in self._some(self.on_node, index):
            if number in self.agent.live_streams:
                self.agent.reset_stream(number, Code.NO_SPACE, "full")
                end.code = Code.NO_SPACE
                self.faults.add(Code.NO_SPACE)

    def owner_sends(self, index: int, size: int) -> None:
        for owner, stream in self._streams(index):
            if not stream.over and not owner.end.said_end:
                data = owner.end.next(min(size, stream.sendable))
                if data:
                    self._give(stream.data(data))

    def owner_takes(self, index: int, size: int) -> None:
        for owner, stream in self._streams(index):
            count = min(owner.end.held, size)
            owner.end.held -= count
            self._give(stream.consumed(count))

    def owner_ends(self, index: int, size: int) -> None:
        for owner, stream in self._streams(index):
            if not stream.over and owner.end.sent == owner.end.sends and not owner.end.said_end:
                owner.end.said_end = True
                self._give(stream.end({"sent": owner.end.sent}))

    def owner_resets(self, index: int, size: int) -> None:
        for owner, stream in self._streams(index):
            if not stream.over:
                self._reset(owner, Code.CANCELLED)

    def owner_cancels(self, index: int, size: int) -> None:
        """It does not want what it asked for."""
        for _, owner in self._some(self.owners, index):
            if self.linked and not owner.answered:
                owner.cancelled = True
                self.faults.add(Code.CANCELLED)
                self.to_holder.send(("cancel", owner.id))

    def carry_down(self, index: int, size: int) -> None:
        """Some messages of the master arrive at the agent."""
        self.down.extend(self.master.to_send(size) if self.connected else ())
        for _ in range(min(1 + index, len(self.down))):
            message = self.down.popleft()
            if isinstance(message, bytes):
                self._at_agent(self.agent.receive_bytes(message, self.now))
            else:
                self._at_agent(self.agent.receive_text(message, self.now, START))

    def carry_up(self, index: int, size: int) -> None:
        """Some messages of the agent arrive at the master."""
        self.up.extend(self.agent.to_send(size) if self.connected else ())
        for _ in range(min(1 + index, len(self.up))):
            message = self.up.popleft()
            if isinstance(message, bytes):
                self._at_master(self.master.receive_bytes(message, self.now))
            else:
                self._at_master(self.master.receive_text(message, self.now, START))

    def carry_to_owner(self, index: int, size: int) -> None:
        self._carry(self.to_owner, self._at_owner, 1 + index)

    def carry_to_holder(self, index: int, size: int) -> None:
        self._carry(self.to_holder, self._at_holder, 1 + index)

    def lose_letter(self, index: int, size: int) -> None:
        """A letter between the workers is gone; nobody is told."""
        if (self.to_owner, self.to_holder)[index % 2].lose():
            self.faults.add(Code.RELAY_LOST)

    def cut(self, index: int, size: int) -> None:
        """The agent's socket breaks."""
        if self.connected:
            self.connected = False
            self.faults.add(Code.DISCONNECTED)
            self.down.clear()
            self.up.clear()
            numbers = list(self.master.live_streams)
            for name in [*self.master.end()]:
                self.to_owner.send(("failed", name, Code.DISCONNECTED))
            for number in numbers:
                self.to_owner.send(("lost", number, Code.DISCONNECTED))
            self.agent.close()
            for number in self.agent.live_streams:
                self.on_node[number].code = Code.DISCONNECTED
            self.asked.clear()

    def kill_owners(self, index: int, size: int) -> None:
        """The worker of the owners is gone; the holder hears nothing of it any more."""
        if self.linked:
            self.faults.add(Code.RELAY_LOST)
            for owner in self.owners.values():
                owner.alive = False
            self.unlink()

    def lapse(self, index: int, size: int) -> None:
        """Commands wait too long."""
        self.faults.add(Code.EXPIRED)
        self.now += PATIENCE + 1
        self.master.heard(self.now)
        self._at_master(self.master.tick(self.now))

    # -- the workers

    def _at_holder(self, message: tuple[Any, ...]) -> None:
        kind, what, *rest = message
        if kind == "frame":
            self.master.relay(decode(what).stream, what)
        elif kind == "cancel":
            self.master.cancel(what)
        elif not self.connected:
            self.to_owner.send(("failed", what.id, Code.NOT_CONNECTED))
            self.faults.add(Code.NOT_CONNECTED)
        else:
            deadline = self.now + PATIENCE
            self.master.send(
                what, deadline=deadline, owner=what.id, stream_owner=what.id, interactive=rest[0]
            )

    def _at_master(self, events: list[Any]) -> None:
        for event in events:
            assert not isinstance(event, CloseRequired), event
            if isinstance(event, FrameReceived):
                self._to_owner(("frame", event.data))
            elif isinstance(event, CommandLapsed):
                self.faults |= {Code.NO_REPLY, Code.CANCELLED}
                self._to_owner(("failed", event.owner, Code.NO_REPLY))
            elif isinstance(event, ReplyReceived) and event.stream is None:
                self._to_owner(("failed", event.owner, event.reply.code))
            elif isinstance(event, ReplyReceived):
                self._to_owner(("opened", event.owner, event))

    def _to_owner(self, message: tuple[Any, ...]) -> None:
        if self.linked:
            self.to_owner.send(message)

    def _at_owner(self, message: tuple[Any, ...]) -> None:
        kind, what, *rest = message
        if kind == "frame":
            frame = decode(what)
            owner = self.by_number[frame.stream]
            for event in owner.stream.receive(frame):
                owner.end.take(event)
        elif kind == "opened":
            self._opened(self.owners[what], rest[0])
        elif kind == "failed":
            self.owners[what].answered, self.owners[what].end.code = True, rest[0]
        else:
            self._lost(self.by_number[what], rest[0])

    def _opened(self, owner: Owner, reply: ReplyReceived) -> None:
        owner.answered = True
        owner.stream = Stream(reply.stream, may_send=reply.may_send, grants=reply.grants, most=reply.most)
        self.by_number[reply.stream] = owner
        if owner.cancelled:
            self._reset(owner, Code.CANCELLED)

    def _at_agent(self, events: list[Any]) -> None:
        for event in events:
            assert not isinstance(event, CloseRequired), event
            if isinstance(event, CommandReceived):
                self.asked.append(event.command)
            elif isinstance(event, CancelReceived):
                self.asked = [command for command in self.asked if command.id != event.command_id]
                self.agent.fail(event.command_id, Code.CANCELLED, "cancelled")
            elif isinstance(event, StreamData | StreamEnded | StreamReset):
                self.on_node[event.number].take(event)

    def unlink(self) -> None:
        """Both workers know that the link between them is over."""
        self.linked = False
        self.to_owner, self.to_holder = Link(), Link()
        for owner in self.owners.values():
            self.master.cancel(owner.id) if self.connected else None
            self.master.forget(owner.id)
            self._lost(owner, Code.RELAY_LOST)
        for number in list(self.master.live_streams):
            self.master.reset_stream(number, Code.RELAY_LOST, "the link is over")
        self.faults |= {Code.RELAY_LOST, Code.CANCELLED}

    def _lost(self, owner: Owner, code: Code) -> None:
        if not owner.answered or (owner.stream and not owner.stream.over):
            owner.answered, owner.end.code = True, code
            if owner.stream:
                owner.stream.reset(code, "x")

    def _carry(self, link: Link, to: Callable[[Any], None], most: int) -> None:
        for _ in range(min(most, len(link.waiting))):
            message = link.take()
            if message is None:
                self.unlink()
                return
            to(message)

    def _give(self, frame: Any) -> None:
        if frame is not None and self.linked:
            self.to_holder.send(("frame", encode(frame)))

    def _reset(self, owner: Owner, code: Code) -> None:
        owner.end.code = code
        self.faults.add(code)
        self._give(owner.stream.reset(code, "not wanted"))

    def _some(self, of: dict[Any, Any], index: int) -> list[tuple[Any, Any]]:
        return [list(of.items())[index % len(of)]] if of else []

    def _streams(self, index: int) -> list[tuple[Owner, Stream]]:
        owners = [owner for owner in self.owners.values() if owner.stream is not None and owner.alive]
        return [(owners[index % len(owners)], owners[index % len(owners)].stream)] if owners else []

    def open_all(self) -> None:
        """Let all that was asked for be opened."""
        for number in range(len(self.owners)):
            self.carry_to_holder(99, 0)
            self.settle_socket()
            self.answer(number, 500 * (number + 1))
        self.settle_socket()
        self.carry_to_owner(99, 0)

    # -- afterwards

    def settle_socket(self) -> None:
        """Let all that is said on the socket arrive."""
        while self.connected and (self.down or self.up or self.master.queued or self.agent.queued):
            self.carry_down(99, 2**20)
            self.carry_up(99, 2**20)

    def settle(self) -> int:
        """Let everything go on until all streams are over; return how many rounds it took."""
        for rounds in range(1, MOST_ROUNDS):
            before = self._standing()
            self._round()
            if before == self._standing():
                return rounds
        raise AssertionError("streams move for ever")

    def _round(self) -> None:
        for number in range(8):
            self.answer(number, 500)
            self.carry_to_holder(99, 0)
            self.carry_to_owner(99, 0)
            for step in (self.node_sends, self.node_takes, self.node_ends):
                step(number, 2**20)
            for step in (self.owner_sends, self.owner_takes, self.owner_ends):
                step(number, 2**20)
            self.carry_up(99, 2**20)
            self.carry_down(99, 2**20)
        if self.linked and (self.to_owner.missing or self.to_holder.missing):
            self.unlink()

    def _standing(self) -> object:
        waiting = [
            len(queue) for queue in (self.up, self.down, self.to_owner.waiting, self.to_holder.waiting)
        ]
        queued = [self.master.queued, self.master.queued_frames, self.agent.queued, self.agent.queued_frames]
        ends = [(vars(owner.end).copy(), vars(owner.node).copy()) for owner in self.owners.values()]
        return waiting, queued, ends, list(self.master.live_streams), self.agent.live_streams, self.linked
