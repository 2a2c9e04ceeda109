"""What waits to be sent: whole frames, the most urgent first, none cut short by another."""

import struct
from collections import deque
from enum import IntEnum
from typing import Optional, Union

from agent_client.reader import Opcode
from agent_client.vendor.websocket import ABNF

CHUNK = 64 * 1024  # bytes gathered for one write; more would delay what becomes urgent meanwhile
LONGEST_REASON = 123  # bytes of a close reason, RFC 6455 §5.5


class Lane(IntEnum):
    """How urgent a frame is."""

    WEBSOCKET = 0  # pong and close
    CONTROL = 1
    INTERACTIVE = 2
    BULK = 3


class Outbox:
    """Queues messages and hands out the bytes to write next."""

    def __init__(self) -> None:
        self._lanes: dict[Lane, deque[bytes]] = {lane: deque() for lane in Lane}
        self._pong: Optional[bytes] = None
        self._current = memoryview(b"")
        self.size = 0  # bytes that wait
        self.chunk = CHUNK  # less on a slow line

    def __bool__(self) -> bool:
        return self.size > 0

    def message(self, message: Union[str, bytes], lane: Lane = Lane.CONTROL) -> None:
        """Queue a text or a binary message."""
        opcode = Opcode.TEXT if isinstance(message, str) else Opcode.BINARY
        self._queue(_frame(opcode, message.encode() if isinstance(message, str) else message), lane)

    def pong(self, payload: bytes) -> None:
        """Answer a ping; of several that wait only the last is answered, as RFC 6455 §5.5.3 allows."""
        frame = _frame(Opcode.PONG, payload)
        self.size += len(frame) - len(self._pong or b"")
        self._pong = frame

    def close(self, code: int, reason: str = "") -> None:
        """Queue a close frame and drop what has not begun: nothing may follow it, nobody would read it."""
        for queue in self._lanes.values():
            queue.clear()
        self._pong = None
        self.size = len(self._current)
        cut = reason.encode()[:LONGEST_REASON].decode("utf-8", "ignore").encode()
        self._queue(_frame(Opcode.CLOSE, struct.pack("!H", code) + cut), Lane.WEBSOCKET)

    def peek(self) -> memoryview:
        """Return the bytes to write next; the same ones until `sent` took them, as TLS demands of a retry."""
        if not self._current:
            self._current = memoryview(self._gather())
        return self._current

    def sent(self, count: int) -> None:
        """Note that the first `count` bytes of `peek` were written."""
        self._current = self._current[count:]
        self.size -= count

    def _queue(self, frame: bytes, lane: Lane) -> None:
        self._lanes[lane].append(frame)
        self.size += len(frame)

    def _gather(self) -> bytes:
        frames = []
        gathered = 0
        if self._pong is not None:
            frames.append(self._pong)
            self._pong = None
        for queue in self._lanes.values():
            while queue and (not frames or gathered + len(queue[0]) <= self.chunk):
                frames.append(queue.popleft())
                gathered += len(frames[-1])
            if queue:
                break  # what is less urgent must not pass it
        return b"".join(frames)


def _frame(opcode: Opcode, payload: bytes) -> bytes:
    frame: bytes = ABNF.create_frame(payload, int(opcode)).format()
    return frame
