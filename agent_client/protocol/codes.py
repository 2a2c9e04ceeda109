"""The names of everything that can go wrong, as they stand on the wire (docs/protocol.md §2)."""

from enum import Enum, IntEnum


class Code(str, Enum):
    """The `code` of an error: one word a program can act on."""

    # answered by the agent
    UNKNOWN_SERVICE = "unknown_service"
    UNKNOWN_ACTION = "unknown_action"
    INVALID_PARAMS = "invalid_params"
    EXPIRED = "expired"
    DUPLICATE = "duplicate"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    EXISTS = "exists"
    PERMISSION_DENIED = "permission_denied"
    NO_SPACE = "no_space"
    TOO_LARGE = "too_large"
    BUSY = "busy"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    GAP = "gap"
    WINDOW = "window"
    PROTOCOL = "protocol"
    INTERNAL = "internal"
    # known on the master: certainly not run
    NOT_CONNECTED = "not_connected"
    NOT_SENT = "not_sent"
    BUS_UNAVAILABLE = "bus_unavailable"
    # known on the master: sent, outcome unknown
    DISCONNECTED = "disconnected"
    NO_REPLY = "no_reply"
    RELAY_LOST = "relay_lost"
    REVOKED = "revoked"


NOT_RUN_CODES = frozenset({Code.NOT_CONNECTED, Code.NOT_SENT, Code.BUS_UNAVAILABLE})
UNKNOWN_OUTCOME_CODES = frozenset({Code.DISCONNECTED, Code.NO_REPLY, Code.RELAY_LOST, Code.REVOKED})
AGENT_CODES = frozenset(Code) - NOT_RUN_CODES - UNKNOWN_OUTCOME_CODES


class CloseCode(IntEnum):
    """WebSocket close codes of the tunnel; those below 4000 are RFC 6455 §7.4.1."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    ABNORMAL = 1006
    INVALID_TEXT = 1007
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    REPLACED = 4001
    NO_HELLO = 4002
    REVOKED = 4003
    RUBBISH = 4008
    WORKER_RESTART = 4012
