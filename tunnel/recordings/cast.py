"""asciicast v2 (docs.asciinema.org/manual/asciicast/v2): a line of JSON about the recording, then one for each event."""

import codecs
import json
from dataclasses import dataclass
from typing import Any, Final

from tunnel.shells.rows import Size

OUTPUT: Final = "o"
RESIZE: Final = "r"
MARKER: Final = "m"
_DIGITS: Final = 4  # of a second, after the point: a tenth of a millisecond


@dataclass(frozen=True)
class Written:
    """Lines for a file, and what they bring it to."""

    data: bytes
    position: int  # of the shell's output: all before it is in the file
    seconds: float  # of the last event
    missing: int  # bytes of output that could not be written, since the last time
    lines: int


def header(size: Size, at: float, title: str) -> bytes:
    """Return the first line of a file; `at` is in seconds since 1970."""
    facts = {"version": 2, "width": size.cols, "height": size.rows, "timestamp": int(at), "title": title}
    return _line(facts)


class Pen:
    """Makes lines of what a shell writes, from a position of its output on.

    A character that is not whole yet is kept back and counts as not written, so that whoever goes on from `position`
    writes it whole. Bytes that are no UTF-8 become U+FFFD, for JSON holds nothing else.
    """

    def __init__(self, position: int, seconds: float, size: Size) -> None:
        self.size = size
        self.bytes = 0  # that wait to be taken
        self._missing = 0  # bytes of the output that nobody has any more
        self._seen = position  # of the next byte
        self._seconds = seconds
        self._lines: list[bytes] = []
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def position(self) -> int:
        """Up to where the output is in lines."""
        return self._seen - len(self._decoder.getstate()[0])

    def output(self, at: float, data: bytes) -> None:
        """Write what came, `at` seconds after the recording began."""
        self._seen += len(data)
        self._text(at, self._decoder.decode(data))

    def resize(self, at: float, size: Size) -> None:
        """Write that the terminal has another size, if it has."""
        if size != self.size:
            self.size = size
            self._event(at, RESIZE, f"{size.cols}x{size.rows}")

    def go_on(self, at: float, position: int) -> None:
        """Go on at `position`, which is where it was, or later with a mark of what is missing."""
        lost = position - self.position
        self._decoder.reset()
        self._seen = position
        if lost > 0:
            self._missing += lost
            self.mark(at, f"{lost} bytes of output are missing here")

    def mark(self, at: float, words: str) -> None:
        """Write a marker, at which players can stop."""
        self._event(at, MARKER, words)

    def finish(self, at: float) -> None:
        """Write what was kept back: the rest of that character does not come."""
        self._text(at, self._decoder.decode(b"", True))

    def written(self) -> Written:
        """Return what waits; it waits on until `forget`."""
        data = b"".join(self._lines)
        return Written(data, self.position, self._seconds, self._missing, len(self._lines))

    def forget(self, written: Written) -> None:
        """Let go of what is in the file now; more may have come meanwhile."""
        del self._lines[: written.lines]
        self.bytes -= len(written.data)
        self._missing -= written.missing

    def _text(self, at: float, text: str) -> None:
        if text:
            self._event(at, OUTPUT, text)

    def _event(self, at: float, kind: str, data: str) -> None:
        self._seconds = max(self._seconds, round(at, _DIGITS))  # no clock of a player runs back
        line = _line([self._seconds, kind, data])
        self._lines.append(line)
        self.bytes += len(line)


def _line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": ")).encode() + b"\n"
