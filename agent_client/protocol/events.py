"""What a session tells the program that drives it."""

from dataclasses import dataclass
from typing import Any, Union

from agent_client.protocol.messages import Command, HandshakeAck, Hello, Reply
from agent_client.protocol.text import JsonObject


@dataclass(frozen=True)
class SessionOpened:
    """Agent: the master accepted us and told its timing."""

    ack: HandshakeAck


@dataclass(frozen=True)
class CommandReceived:
    """Agent: run this; answer once with `reply` or `fail`."""

    command: Command


@dataclass(frozen=True)
class CancelReceived:
    """Agent: stop this command, which has not been answered yet."""

    command_id: str


@dataclass(frozen=True)
class HeartbeatDue:
    """Agent: measure fresh figures and hand them to `heartbeat`."""


@dataclass(frozen=True)
class MasterLeaving:
    """Agent: the worker stops; reconnect about `retry_after` seconds after the close."""

    reason: str
    retry_after: float


@dataclass(frozen=True)
class HelloReceived:
    """Master: what the agent is and may do."""

    hello: Hello


@dataclass(frozen=True)
class HeartbeatReceived:
    """Master: fresh figures of the node."""

    usage: JsonObject


@dataclass(frozen=True)
class RttMeasured:
    """Master: the round trip the agent measured last, in seconds."""

    seconds: float


@dataclass(frozen=True)
class NodeEventReceived:
    """Master: something happened on the node."""

    name: str
    data: Any


@dataclass(frozen=True)
class ReplyReceived:
    """Master: the answer to a command; `owner` is what the command was sent with."""

    reply: Reply
    owner: Any


@dataclass(frozen=True)
class CommandLapsed:
    """Master: no reply before the deadline; the outcome is unknown and a late reply will be dropped."""

    command_id: str
    owner: Any


@dataclass(frozen=True)
class CloseRequired:
    """Both: close the connection with this code; nothing that arrives later counts."""

    code: int
    reason: str


Event = Union[
    SessionOpened,
    CommandReceived,
    CancelReceived,
    HeartbeatDue,
    MasterLeaving,
    HelloReceived,
    HeartbeatReceived,
    RttMeasured,
    NodeEventReceived,
    ReplyReceived,
    CommandLapsed,
    CloseRequired,
]
