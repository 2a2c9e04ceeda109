"""What a program at a stream wrote, out of the bytes of the stream: records `fd: u8 | length: u32 | bytes`."""

import struct

STDOUT, STDERR = 1, 2
RECORD = struct.Struct("!BI")  # which output, and how many bytes of it follow


class Outputs:
    """Takes the stream cut anywhere; a record is not waited for until it is whole, which may have any length."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._output = 0
        self._left = 0

    @property
    def whole(self) -> bool:
        """Tell whether what came ends with a record."""
        return not self._head and not self._left

    def feed(self, piece: bytes) -> "list[tuple[int, bytes]]":
        """Return which output and what was written there, in order."""
        found = []
        rest = memoryview(piece)
        while rest:
            if self._left:
                data = bytes(rest[: self._left])
                self._left -= len(data)
                rest = rest[len(data) :]
                found.append((self._output, data))
                continue
            missing = RECORD.size - len(self._head)
            self._head += rest[:missing]
            rest = rest[missing:]
            if len(self._head) == RECORD.size:
                self._output, self._left = RECORD.unpack(self._head)
                self._head.clear()
        return found
