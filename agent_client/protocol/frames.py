"""Stream frames: the binary messages of a session (docs/protocol.md §4)."""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from agent_client.protocol.errors import MalformedFrame, MessageTooLarge
from agent_client.protocol.limits import FRAME_HEADER, MAX_BINARY

_HEADER = struct.Struct("!BIQ")


class Kind(IntEnum):
    """What a frame says about its stream."""

    DATA = 0
    WINDOW = 1
    END = 2
    RESET = 3


_KINDS = {kind.value: kind for kind in Kind}


class Header(NamedTuple):
    """What the holder of a socket reads of a frame; `size` is the payload's, in bytes."""

    kind: Kind
    stream: int
    offset: int
    size: int


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


def header(data: bytes) -> Header:
    """Return what stands before the payload of a binary message, and how long that is.

    Raises:
        MessageTooLarge: it is longer than any frame.
        MalformedFrame: too short, an unknown kind, stream 0, or a WINDOW with a payload.
    """
    if len(data) > MAX_BINARY:
        raise MessageTooLarge(len(data), MAX_BINARY)
    if len(data) < FRAME_HEADER:
        raise MalformedFrame(f"frame of {len(data)} bytes is shorter than its header")
    number, stream, offset = _HEADER.unpack_from(data)
    kind = _KINDS.get(number)
    if kind is None:
        raise MalformedFrame(f"unknown frame kind {number}")
    if stream == 0:
        raise MalformedFrame("stream 0 does not exist")
    if kind is Kind.WINDOW and len(data) > FRAME_HEADER:
        raise MalformedFrame("a WINDOW frame carries no payload")
    return Header(kind, stream, offset, len(data) - FRAME_HEADER)


def decode(data: bytes) -> Frame:
    """Return the frame in a binary message; raises what `header` does."""
    kind, stream, offset, _ = header(data)
    return Frame(kind, stream, offset, bytes(data[FRAME_HEADER:]))
