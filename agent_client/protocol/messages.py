"""The control messages as values, and the one place that knows their names on the wire (docs/protocol.md §2).

`from_master(text)` and `from_agent(text)` judge and decode what arrived; `to_text()` encodes.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Callable, Optional, Union

from agent_client.protocol.codes import AGENT_CODES, Code
from agent_client.protocol.errors import MalformedMessage, RejectedCommand
from agent_client.protocol.limits import (
    LAST_MILLISECOND,
    MAX_ID,
    MAX_SENTENCE,
    MAX_WORD,
    MILLISECONDS_ABOVE,
    Timing,
)
from agent_client.protocol.text import JsonObject, dumps, loads

MAX_LIST = 256  # entries of a HELLO's capabilities
MAX_STREAM = 2**32 - 1
MAX_REASON = 200  # characters of why a session ended; a sentence, not a log


@dataclass(frozen=True)
class HandshakeAck:
    """The session is open; `server_time` is unix seconds or None when the master does not tell it."""

    session: str
    server_time: Optional[float]
    timing: Timing = field(default_factory=Timing)
    limits: JsonObject = field(default_factory=dict)

    def to_text(self) -> str:
        """Encode for the wire."""
        return dumps(
            {
                "type": "HANDSHAKE_ACK",
                "status": "connected",
                "session": self.session,
                "serverTime": self.server_time,
                "ping": self.timing.ping,
                "silence": self.timing.silence,
                "heartbeat": self.timing.heartbeat,
                "limits": self.limits,
            }
        )

    @classmethod
    def from_members(cls, members: JsonObject) -> "HandshakeAck":
        """Decode; what a minimal master leaves out has its usual value."""
        usual = Timing()
        return cls(
            session=_string(members, "session", MAX_ID, default=""),
            server_time=_time(members, "serverTime"),
            timing=Timing(
                ping=_seconds(members, "ping", usual.ping),
                silence=_seconds(members, "silence", usual.silence),
                heartbeat=_seconds(members, "heartbeat", usual.heartbeat),
            ),
            limits=_object(members, "limits"),
        )


@dataclass(frozen=True)
class Last:
    """How the agent's last session ended as seen from the node, and for how many seconds it was away since."""

    reason: str
    away: float

    def to_members(self) -> JsonObject:
        """Return the members of HELLO's `last`; a long reason is cut."""
        return {"reason": self.reason[:MAX_REASON], "away": round(self.away, 3)}

    @classmethod
    def from_members(cls, members: JsonObject) -> "Last":
        """Decode."""
        away = _number(members, "away")
        return cls(_string(members, "reason", MAX_REASON, default=""), max(0.0, away or 0.0))


@dataclass(frozen=True)
class Hello:
    """What an agent is and may do, and how its last session ended; None when it was just started."""

    session: str
    version: str
    capabilities: tuple[str, ...] = ()
    policy: JsonObject = field(default_factory=dict)
    machine_id: str = ""
    host: JsonObject = field(default_factory=dict)
    last: Optional[Last] = None

    def to_text(self) -> str:
        """Encode for the wire."""
        return dumps(
            {
                "type": "HELLO",
                "session": self.session,
                "version": self.version,
                "capabilities": list(self.capabilities),
                "policy": self.policy,
                "machineId": self.machine_id,
                "host": self.host,
                "last": None if self.last is None else self.last.to_members(),
            }
        )

    @classmethod
    def from_members(cls, members: JsonObject) -> "Hello":
        """Decode."""
        return cls(
            session=_string(members, "session", MAX_ID, default=""),
            version=_string(members, "version", MAX_WORD),
            capabilities=tuple(_words(members, "capabilities")),
            policy=_object(members, "policy"),
            machine_id=_string(members, "machineId", MAX_ID, default=""),
            host=_object(members, "host"),
            last=Last.from_members(_object(members, "last")) if members.get("last") is not None else None,
        )


@dataclass(frozen=True)
class Command:
    """Run `service.action`. `short` is the GET_STATS form, which may come without a timestamp."""

    id: str
    service: str
    action: str
    timestamp: Optional[float]
    params: JsonObject = field(default_factory=dict)
    timeout: Optional[float] = None
    stream: Optional[int] = None
    short: bool = False

    def to_text(self) -> str:
        """Encode for the wire."""
        if self.short:
            return dumps({"type": "GET_STATS", "id": self.id, "timestamp": self.timestamp})
        members: JsonObject = {
            "id": self.id,
            "type": "EXEC_COMMAND",
            "service": self.service,
            "action": self.action,
            "timestamp": self.timestamp,
        }
        if self.params:
            members["params"] = self.params
        if self.timeout is not None:
            members["timeout"] = self.timeout
        if self.stream is not None:
            members["stream"] = self.stream
        return dumps(members)

    @classmethod
    def from_members(cls, members: JsonObject) -> "Command":
        """Decode an EXEC_COMMAND.

        Raises:
            RejectedCommand: the id is known, so that the sender can be told what is wrong.
        """
        command_id = _string(members, "id", MAX_ID)
        try:
            timestamp = _time(members, "timestamp")
            if timestamp is None:
                raise MalformedMessage("timestamp is missing, a command without one never runs")
            return cls(
                id=command_id,
                service=_string(members, "service", MAX_WORD),
                action=_string(members, "action", MAX_WORD),
                timestamp=timestamp,
                params=_object(members, "params"),
                timeout=_positive(members, "timeout"),
                stream=_stream(members),
            )
        except MalformedMessage as exc:
            raise RejectedCommand(command_id, Code.INVALID_PARAMS, exc.reason) from exc

    @classmethod
    def from_short_members(cls, members: JsonObject) -> "Command":
        """Decode a GET_STATS."""
        command_id = _string(members, "id", MAX_ID)
        return cls(command_id, "system", "getUsage", _time(members, "timestamp"), short=True)


@dataclass(frozen=True)
class Reply:
    """The one answer to a command; `code` is None in a success. `short` repeats the id for GET_STATS."""

    request_id: str
    data: Any = None
    code: Optional[Code] = None
    error: Optional[str] = None
    short: bool = False

    @property
    def ok(self) -> bool:
        """Tell a success from an error."""
        return self.code is None

    def to_text(self) -> str:
        """Encode for the wire."""
        members: JsonObject = {
            "requestId": self.request_id,
            "status": "success" if self.ok else "error",
            "data": self.data,
            "error": self.error,
        }
        if self.code is not None:
            members["code"] = self.code.value
        if self.short:
            members["id"] = self.request_id
        return dumps(members)

    @classmethod
    def from_members(cls, members: JsonObject) -> "Reply":
        """Decode; with neither `status` nor `error` it is a success."""
        key = "requestId" if "requestId" in members else "id"
        request_id = _string(members, key, MAX_ID)
        status, error = members.get("status"), members.get("error")
        if status not in (None, "success", "error"):
            raise MalformedMessage("status is neither success nor error")
        if error is not None and not isinstance(error, str):
            raise MalformedMessage("error is no sentence")
        if status == "success" or (status is None and error is None):
            return cls(request_id, data=members.get("data"))
        sentence = (error or "the agent gave no reason")[:MAX_SENTENCE]
        return cls(request_id, members.get("data"), _agent_code(members.get("code")), sentence)


@dataclass(frozen=True)
class Cancel:
    """Stop a command."""

    id: str

    def to_text(self) -> str:
        """Encode for the wire."""
        return dumps({"type": "CANCEL", "id": self.id})

    @classmethod
    def from_members(cls, members: JsonObject) -> "Cancel":
        """Decode."""
        return cls(_string(members, "id", MAX_ID))


@dataclass(frozen=True)
class Ping:
    """The agent lives; `rtt` is the round trip it measured last, in seconds."""

    timestamp: float
    rtt: Optional[float] = None

    def to_text(self) -> str:
        """Encode for the wire."""
        return dumps({"type": "PING", "timestamp": self.timestamp, "rtt": self.rtt})

    @classmethod
    def from_members(cls, members: JsonObject) -> "Ping":
        """Decode; a basic agent may leave out both members."""
        return cls(_number(members, "timestamp") or 0.0, _positive(members, "rtt", zero=True))


@dataclass(frozen=True)
class Pong:
    """The master lives; `timestamp` is the PING's, `server_time` unix seconds."""

    timestamp: float
    server_time: Optional[float]

    def to_text(self) -> str:
        """Encode for the wire."""
        return dumps({"type": "PONG", "timestamp": self.timestamp, "serverTime": self.server_time})

    @classmethod
    def from_members(cls, members: JsonObject) -> "Pong":
        """Decode."""
        return cls(_number(members, "timestamp") or 0.0, _time(members, "serverTime"))


@dataclass(frozen=True)
class Heartbeat:
    """Fresh figures of the node."""

    data: JsonObject

    def to_text(self) -> str:
        """Encode for the wire."""
        return dumps({"type": "HEARTBEAT", "data": self.data})

    @classmethod
    def from_members(cls, members: JsonObject) -> "Heartbeat":
        """Decode."""
        return cls(_object(members, "data"))


@dataclass(frozen=True)
class NodeEvent:
    """Something happened on the node."""

    name: str
    data: Any = None

    def to_text(self) -> str:
        """Encode for the wire."""
        return dumps({"type": "EVENT", "name": self.name, "data": self.data})

    @classmethod
    def from_members(cls, members: JsonObject) -> "NodeEvent":
        """Decode."""
        return cls(_string(members, "name", MAX_WORD), members.get("data"))


@dataclass(frozen=True)
class Goodbye:
    """The worker stops; come back `retry_after` seconds later."""

    reason: str
    retry_after: float

    def to_text(self) -> str:
        """Encode for the wire."""
        return dumps({"type": "GOODBYE", "reason": self.reason, "retryAfter": self.retry_after})

    @classmethod
    def from_members(cls, members: JsonObject) -> "Goodbye":
        """Decode."""
        reason = _string(members, "reason", MAX_SENTENCE, default="")
        return cls(reason, _positive(members, "retryAfter", zero=True) or 0.0)


@dataclass(frozen=True)
class Unknown:
    """A message of a type this version does not know, or that the other side never sends."""

    type: str


Message = Union[
    HandshakeAck, Hello, Command, Reply, Cancel, Ping, Pong, Heartbeat, NodeEvent, Goodbye, Unknown
]
Decoder = Callable[[JsonObject], Message]

FROM_MASTER: dict[str, Decoder] = {
    "HANDSHAKE_ACK": HandshakeAck.from_members,
    "EXEC_COMMAND": Command.from_members,
    "GET_STATS": Command.from_short_members,
    "CANCEL": Cancel.from_members,
    "PONG": Pong.from_members,
    "GOODBYE": Goodbye.from_members,
}
FROM_AGENT: dict[str, Decoder] = {
    "HELLO": Hello.from_members,
    "PING": Ping.from_members,
    "HEARTBEAT": Heartbeat.from_members,
    "EVENT": NodeEvent.from_members,
}


def from_master(text: str) -> Message:
    """Decode what a master sent.

    Raises:
        ProtocolError: it is no message of the protocol.
    """
    members = loads(text)
    return _typed(members, FROM_MASTER)


def from_agent(text: str) -> Message:
    """Decode what an agent sent; a message without `type` is a reply.

    Raises:
        ProtocolError: it is no message of the protocol.
    """
    members = loads(text)
    return _typed(members, FROM_AGENT) if "type" in members else Reply.from_members(members)


def _typed(members: JsonObject, decoders: dict[str, Decoder]) -> Message:
    name = _string(members, "type", MAX_WORD)
    decoder = decoders.get(name)
    return Unknown(name) if decoder is None else decoder(members)


def _agent_code(value: object) -> Code:
    """Trust an agent only with the codes that are an agent's to give."""
    try:
        code = Code(value)
    except ValueError:
        return Code.INTERNAL
    return code if code in AGENT_CODES else Code.INTERNAL


def _string(members: JsonObject, name: str, limit: int, *, default: Optional[str] = None) -> str:
    value = members.get(name, default)
    if not isinstance(value, str):
        raise MalformedMessage(f"{name} is missing or no string")
    if len(value) > limit or (default is None and not value):
        raise MalformedMessage(f"{name} is not 1 to {limit} characters long")
    return value


def _number(members: JsonObject, name: str) -> Optional[float]:
    value = members.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise MalformedMessage(f"{name} is no number")
    try:
        number = float(value)
    except OverflowError as exc:
        raise MalformedMessage(f"{name} is too large a number") from exc
    if not math.isfinite(number):
        raise MalformedMessage(f"{name} is no finite number")
    return number


def _time(members: JsonObject, name: str) -> Optional[float]:
    number = _number(members, name)
    if number is None or abs(number) <= MILLISECONDS_ABOVE:
        return number
    if abs(number) > LAST_MILLISECOND:  # a clock that jumps so far leaves no digits for the ids that are held
        raise MalformedMessage(f"{name} is no time")
    return number / 1000


def _positive(members: JsonObject, name: str, *, zero: bool = False) -> Optional[float]:
    number = _number(members, name)
    if number is not None and (number < 0 or (number == 0 and not zero)):
        raise MalformedMessage(f"{name} is not positive")
    return number


def _seconds(members: JsonObject, name: str, usual: float) -> float:
    number = _positive(members, name)
    return usual if number is None else number


def _object(members: JsonObject, name: str) -> JsonObject:
    value = members.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedMessage(f"{name} is no object")
    return value


def _words(members: JsonObject, name: str) -> list[str]:
    value = members.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > MAX_LIST:
        raise MalformedMessage(f"{name} is no list of at most {MAX_LIST} words")
    if not all(isinstance(word, str) and len(word) <= MAX_WORD for word in value):
        raise MalformedMessage(f"{name} holds something that is no word")
    return value


def _stream(members: JsonObject) -> Optional[int]:
    value = members.get("stream")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_STREAM:
        raise MalformedMessage("stream is no number between 1 and 2^32 - 1")
    return value
