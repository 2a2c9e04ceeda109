"""The last bytes of an output, by their position in the whole."""

LIMIT = 1024 * 1024  # bytes; a screen is about 10 KiB, a long build's log some hundred


class Ring:
    """Keeps the last `limit` bytes of what was added; positions count from the first byte ever."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._kept = bytearray()
        self.start = 0  # position of the first byte that is kept

    @property
    def end(self) -> int:
        """Position after the last byte."""
        return self.start + len(self._kept)

    def add(self, chunk: bytes) -> None:
        """Append bytes; what is too old falls out."""
        self._kept += chunk
        excess = len(self._kept) - self._limit
        if excess > 0:
            del self._kept[:excess]
            self.start += excess

    def read(self, position: int, most: int) -> bytes:
        """Return at most `most` bytes from `position` on; it must be kept or be the end."""
        begin = position - self.start
        with memoryview(self._kept) as kept:
            return bytes(kept[begin : begin + most])
