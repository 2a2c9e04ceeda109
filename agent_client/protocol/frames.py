"""Stream frames: the binary messages of a session (docs/protocol.md §4)."""

import struct
from dataclasses import dataclass
from enum import IntEnum

from agent_client.protocol.errors import MalformedFrame, MessageTooLarge
from agent_client.protocol.limits import FRAME_HEADER, MAX_BINARY

_HEADER = struct.Struct("!BIQ")


class Kind(IntEnum):
    """What a frame says about its stream."""

    DATA = 0
    WINDOW = 1
    END = 2
    RESET = 3


@dataclass(frozen=True)
class Frame:
    """One frame; `offset` is an absolute position in the stream, in bytes."""

    kind: Kind
    stream: int
    offset: int
    payload: bytes = b""


def encode(frame: Frame) -> bytes:
    """Return the bytes of a frame.

    Raises:
        MessageTooLarge: the payload does not fit one message.
    """
    size = FRAME_HEADER + len(frame.payload)
    if size > MAX_BINARY:
        raise MessageTooLarge(size, MAX_BINARY)
    return _HEADER.pack(frame.kind, frame.stream, frame.offset) + frame.payload


def decode(data: bytes) -> Frame:
    """Return the frame in a binary message.

    Raises:
        MessageTooLarge: it is longer than any frame.
        MalformedFrame: too short, an unknown kind, stream 0, or a WINDOW with a payload.
    """
    if len(data) > MAX_BINARY:
        raise MessageTooLarge(len(data), MAX_BINARY)
    if len(data) < FRAME_HEADER:
        raise MalformedFrame(f"frame of {len(data)} bytes is shorter than its header")
    number, stream, offset = _HEADER.unpack_from(data)
    try:
        kind = Kind(number)
    except ValueError as exc:
        raise MalformedFrame(f"unknown frame kind {number}") from exc
    if stream == 0:
        raise MalformedFrame("stream 0 does not exist")
    if kind is Kind.WINDOW and len(data) > FRAME_HEADER:
        raise MalformedFrame("a WINDOW frame carries no payload")
    return Frame(kind, stream, offset, bytes(data[FRAME_HEADER:]))
