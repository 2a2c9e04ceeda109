"""What a session tells the program that drives it."""

from dataclasses import dataclass
from typing import Any, Optional, Union

from agent_client.protocol.codes import Code
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
class StreamData:
    """Stream: bytes came, in order; call `consumed` as they are taken."""

    number: int
    payload: bytes


@dataclass(frozen=True)
class StreamWritable:
    """Stream: the peer takes more bytes than before."""

    number: int


@dataclass(frozen=True)
class StreamEnded:
    """Stream: the peer sends no more; `detail` is what it says at the end."""

    number: int
    detail: Optional[JsonObject]


@dataclass(frozen=True)
class StreamReset:
    """Stream: over in both directions, what was not received is lost."""

    number: int
    code: Code
    error: str


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
    """Master: the round trip the agent measured last, in seconds, and whether windows may be large with it."""

    seconds: float
    calm: bool = True


@dataclass(frozen=True)
class NodeEventReceived:
    """Master: something happened on the node."""

    name: str
    data: Any


@dataclass(frozen=True)
class ReplyReceived:
    """Master: the answer to a command; `owner` is what the command was sent with.

    `stream` is the number of the stream that a success has opened; the agent's window is in `may_send`, what it was
    granted in `grants`, and `most` is what that may grow to, in bytes.
    """

    reply: Reply
    owner: Any
    stream: Optional[int] = None
    may_send: int = 0
    grants: int = 0
    most: int = 0


@dataclass(frozen=True)
class FrameReceived:
    """Master: a frame for the owner of a stream, `data` is the whole message. A RESET may be the holder's own."""

    number: int
    data: bytes
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
    StreamData,
    StreamWritable,
    StreamEnded,
    StreamReset,
    HelloReceived,
    HeartbeatReceived,
    RttMeasured,
    NodeEventReceived,
    ReplyReceived,
    FrameReceived,
    CommandLapsed,
    CloseRequired,
]
