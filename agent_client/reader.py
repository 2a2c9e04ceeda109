"""Turn the bytes a master sends into WebSocket messages (RFC 6455 §5), within limits and without a socket.

websocket-client's own reader takes frames of any length, masked ones too, and cannot be fed; this one judges
a frame by its header, before its payload is there.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Optional, Union

from agent_client.protocol.codes import CloseCode
from agent_client.protocol.errors import ProtocolError
from agent_client.protocol.limits import MAX_BINARY, MAX_TEXT

LARGEST_CONTROL = 125  # bytes, RFC 6455 §5.5
MOST_FRAGMENTS = 1024  # of one message: with fewer than 256 bytes each somebody wastes our time
NO_STATUS = 1005  # a close frame without a code, RFC 6455 §7.4.1

_FIN, _RSV, _MASK = 0x80, 0x70, 0x80
_LENGTH_16, _LENGTH_64 = 126, 127
_FORBIDDEN_CODES = frozenset({1004, NO_STATUS, 1006, 1015})


class Opcode(IntEnum):
    """What a frame is."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class WrongFrame(ProtocolError):
    """Bytes that are no WebSocket frame we take; `code` is what to close the connection with."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True)
class Pinged:
    """The master's server wants a pong with this payload."""

    payload: bytes


@dataclass(frozen=True)
class Closed:
    """The master closes the connection."""

    code: int
    reason: str


Item = Union[str, bytes, Pinged, Closed]


@dataclass(frozen=True)
class _Head:
    opcode: Opcode
    final: bool
    length: int
    size: int  # of the header itself


class Reader:
    """Feed it bytes as they come; it returns whole messages: str, bytes, `Pinged` or `Closed`."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: Optional[_Head] = None
        self._kind: Optional[Opcode] = None  # of the message whose fragments are collected
        self._fragments: list[bytes] = []
        self._collected = 0

    def feed(self, data: bytes) -> list[Item]:
        """Take bytes and return the messages they complete, in order.

        Raises:
            WrongFrame: the master broke a rule; nothing that follows can be understood.
        """
        self._buffer += data
        items: list[Item] = []
        while True:
            if self._head is None:
                self._head = self._read_head()
            if self._head is None or len(self._buffer) < self._head.size + self._head.length:
                return items
            head, self._head = self._head, None
            payload = bytes(self._buffer[head.size : head.size + head.length])
            del self._buffer[: head.size + head.length]
            item = self._take(head, payload)
            if item is not None:
                items.append(item)

    def _read_head(self) -> Optional[_Head]:
        """Judge a frame by its header; None while the header is not complete."""
        if len(self._buffer) < 2:
            return None
        first, second = self._buffer[0], self._buffer[1]
        opcode = _opcode(first)
        if second & _MASK:
            raise WrongFrame(CloseCode.PROTOCOL_ERROR, "a frame from the master was masked")
        length, size = second, 2
        if length >= _LENGTH_16:
            form = "!H" if length == _LENGTH_16 else "!Q"
            size += struct.calcsize(form)
            if len(self._buffer) < size:
                return None
            (length,) = struct.unpack_from(form, self._buffer, 2)
            if length < (_LENGTH_16 if form == "!H" else 1 << 16):
                raise WrongFrame(
                    CloseCode.PROTOCOL_ERROR, "a frame's length was not written the shortest way"
                )
        head = _Head(opcode, bool(first & _FIN), length, size)
        self._judge(head)
        return head

    def _judge(self, head: _Head) -> None:
        if head.opcode >= Opcode.CLOSE:
            if not head.final or head.length > LARGEST_CONTROL:
                raise WrongFrame(CloseCode.PROTOCOL_ERROR, "a control frame was fragmented or too long")
            return
        if (head.opcode is Opcode.CONTINUATION) != (self._kind is not None):
            raise WrongFrame(CloseCode.PROTOCOL_ERROR, "a fragment came out of order")
        limit = MAX_TEXT if (self._kind or head.opcode) is Opcode.TEXT else MAX_BINARY
        if self._collected + head.length > limit:
            raise WrongFrame(CloseCode.TOO_BIG, f"a message exceeds the limit of {limit} bytes")
        if len(self._fragments) >= MOST_FRAGMENTS:
            raise WrongFrame(CloseCode.TOO_BIG, f"a message came in more than {MOST_FRAGMENTS} fragments")

    def _take(self, head: _Head, payload: bytes) -> Optional[Item]:
        if head.opcode is Opcode.PING:
            return Pinged(payload)
        if head.opcode is Opcode.CLOSE:
            return _closed(payload)
        if head.opcode is Opcode.PONG:
            return None  # we send no pings that it could answer
        return self._data(head, payload)

    def _data(self, head: _Head, payload: bytes) -> Optional[Item]:
        kind = self._kind or head.opcode
        if not head.final:
            self._kind = kind
            self._fragments.append(payload)
            self._collected += len(payload)
            return None
        whole = b"".join([*self._fragments, payload])
        self._kind, self._fragments, self._collected = None, [], 0
        return _text(whole) if kind is Opcode.TEXT else whole


def _opcode(first: int) -> Opcode:
    if first & _RSV:
        raise WrongFrame(CloseCode.PROTOCOL_ERROR, "a frame used an extension that was not agreed on")
    try:
        return Opcode(first & 0x0F)
    except ValueError:
        raise WrongFrame(CloseCode.PROTOCOL_ERROR, f"a frame had the unknown opcode {first & 0x0F}") from None


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise WrongFrame(CloseCode.INVALID_TEXT, "a text message was not UTF-8") from exc


def _closed(payload: bytes) -> Closed:
    if not payload:
        return Closed(NO_STATUS, "")
    if len(payload) == 1:
        raise WrongFrame(CloseCode.PROTOCOL_ERROR, "a close frame held half a code")
    (code,) = struct.unpack_from("!H", payload)
    if not 1000 <= code < 5000 or code in _FORBIDDEN_CODES:
        raise WrongFrame(CloseCode.PROTOCOL_ERROR, f"a close frame held the code {code}")
    return Closed(code, _text(payload[2:]))
