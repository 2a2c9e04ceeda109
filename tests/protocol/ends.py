"""Two ends of a session joined without a network, and a clock that moves only when told."""

from dataclasses import dataclass, field

from agent_client.protocol import AgentSession, MasterSession
from agent_client.protocol.agent import AgentFacts, Ended
from agent_client.protocol.events import Event
from agent_client.protocol.limits import Timing
from agent_client.protocol.messages import Command
from agent_client.protocol.replay import ReplayGuard

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
            for text in down:
                self.at_agent += self.agent.receive_text(str(text), self.now, self.wall + self.skew)
            for text in up:
                self.at_master += self.master.receive_text(str(text), self.now, self.wall)

    def command(self, command_id: str = "c-1", *, age: float = 0.0, timeout: float = 10.0) -> Command:
        """Send a command made `age` seconds ago and deliver it."""
        command = Command(command_id, "system", "getUsage", self.wall - age)
        self.master.send(command, deadline=self.now + timeout, owner="me")
        self.join()
        return command

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
