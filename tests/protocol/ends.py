"""Two ends of a session joined without a network, and a clock that moves only when told."""

from dataclasses import dataclass, field

from agent_client.protocol import AgentSession, MasterSession
from agent_client.protocol.agent import AgentFacts, Ended
from agent_client.protocol.errors import StreamBroken
from agent_client.protocol.events import Event, FrameReceived, ReplyReceived, StreamData
from agent_client.protocol.frames import Frame, decode, encode
from agent_client.protocol.limits import INITIAL_WINDOW, Timing
from agent_client.protocol.messages import Command
from agent_client.protocol.replay import ReplayGuard
from agent_client.protocol.streams import Stream

FACTS = AgentFacts("1.2.3", ("system", "agent"), {"mode": "full"}, "f00d", {"hostname": "n1"})
START = 1_700_000_000.0


@dataclass
class Ends:
    """A master and an agent; `now` is both steady clocks, `wall` the master's, `skew` what the node's is off."""

    skew: float = 0.0
    guard: ReplayGuard = field(default_factory=ReplayGuard)
    timing: Timing = field(default_factory=Timing)
    basic: bool = False
    now: float = 1000.0
    step: float = 0.0
    last: "Ended | None" = None

    def __post_init__(self) -> None:
        self.master = MasterSession("s-1", now=self.now, wall=self.wall, basic=self.basic, timing=self.timing)
        self.agent = AgentSession(
            FACTS,
            self.guard,
            now=self.now,
            wall_offset=self.wall + self.skew - self.now,
            last=self.last,
        )
        self.at_master: list[Event] = []
        self.at_agent: list[Event] = []

    @property
    def wall(self) -> float:
        return START + self.now - 1000.0 + self.step

    def join(self) -> "Ends":
        """Carry messages both ways until neither end has more to say."""
        while True:
            down, up = self.master.to_send(), self.agent.to_send()
            if not down and not up:
                return self
            for message in down:
                self.at_agent += self.to_agent(message)
            for message in up:
                events = self.to_master(message)
                self.at_master += events
                for event in events:
                    if isinstance(event, FrameReceived):
                        event.owner.take(event.data)

    def to_agent(self, message: str | bytes) -> list[Event]:
        """Deliver one message, whoever made it."""
        if isinstance(message, bytes):
            return self.agent.receive_bytes(message, self.now)
        return self.agent.receive_text(message, self.now, self.wall + self.skew)

    def to_master(self, message: str | bytes) -> list[Event]:
        """Deliver one message, whoever made it."""
        if isinstance(message, bytes):
            return self.master.receive_bytes(message, self.now)
        return self.master.receive_text(message, self.now, self.wall)

    def command(self, command_id: str = "c-1", *, age: float = 0.0, timeout: float = 10.0) -> Command:
        """Send a command made `age` seconds ago and deliver it."""
        command = Command(command_id, "system", "getUsage", self.wall - age)
        self.master.send(command, deadline=self.now + timeout, owner="me")
        self.join()
        return command

    def ask(self, command_id: str = "c-1", **asked: object) -> "Owner":
        """Send a command that wants a stream and deliver it."""
        owner = Owner(self.master)
        window, interactive = asked.get("window", INITIAL_WINDOW), bool(asked.get("interactive"))
        command = Command(command_id, "shell", "open", self.wall, {"window": window})
        self.master.send(
            command, deadline=self.now + 10, owner="me", stream_owner=owner, interactive=interactive
        )
        self.join()
        return owner

    def open(
        self,
        command_id: str = "c-1",
        *,
        down: int = INITIAL_WINDOW,
        up: int = INITIAL_WINDOW,
        interactive: bool = False,
    ) -> "Owner":
        """Open a stream that may send `down` bytes to the agent and `up` bytes to the master."""
        owner = self.ask(command_id, window=up, interactive=interactive)
        self.agent.open_stream(command_id, {"handle": "h"}, window=down, interactive=interactive)
        self.join()
        reply = self.events(ReplyReceived)[-1]
        owner.stream = Stream(reply.stream, may_send=reply.may_send, grants=reply.grants, most=reply.most)
        return owner

    def pass_time(self, seconds: float) -> None:
        """Let time pass in the ticks the ends ask for."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 1.0)
            self.at_agent += self.agent.tick(self.now)
            self.at_master += self.master.tick(self.now)
            self.join()

    def events(self, kind: type, side: str = "master") -> list[Event]:
        """The events of one kind seen at one side."""
        return [
            event
            for event in (self.at_master if side == "master" else self.at_agent)
            if isinstance(event, kind)
        ]


class Owner:
    """Who drives a stream of the master, without a worker between: what came is in `events`."""

    def __init__(self, master: MasterSession) -> None:
        self.stream = Stream(0, may_send=0, grants=0)  # until the reply opens one
        self.events: list[Event] = []
        self._master = master

    @property
    def number(self) -> int:
        return self.stream.number

    @property
    def data(self) -> bytes:
        """The bytes that came."""
        return b"".join(event.payload for event in self.events if isinstance(event, StreamData))

    def take(self, data: bytes) -> None:
        """Take what the holder passes on."""
        try:
            self.events += self.stream.receive(decode(data))
        except StreamBroken as exc:
            self.give(self.stream.reset(exc.code, exc.reason))

    def give(self, frame: "Frame | None") -> bool:
        """Send a frame, if there is one."""
        return frame is not None and self._master.relay(self.number, encode(frame))
