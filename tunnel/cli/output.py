"""What commands print: tables for people, tabs for pipes, JSON lines for programs; nothing a node said moves a cursor."""

import copy
import io
import json
import os
import shutil
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

from servers.text import visible

COLOURS = {"green": 32, "red": 31, "yellow": 33, "blue": 34, "grey": 90}
GAP = "  "  # between the columns of a table

HOME, CLEAR, END_OF_LINE, END_OF_SCREEN = "\x1b[H", "\x1b[2J", "\x1b[K", "\x1b[J"
NO_WRAP, WRAP = "\x1b[?7l", "\x1b[?7h"

Cell = str | tuple[str, str]  # text, or text and a colour


class Stream(Protocol):
    """A text file, or what Django puts around one."""

    def write(self, text: str, /) -> object:
        """Write text that ends with its own newline."""

    def flush(self) -> None:
        """Hand over what was written."""

    def isatty(self) -> bool:
        """Tell whether a person looks at it."""


class Output:
    """Where a command writes to: `stdout` for results, `stderr` for progress and errors."""

    def __init__(self, stdout: Stream, stderr: Stream, *, as_json: bool, colour: bool) -> None:
        self._stdout, self._stderr = stdout, stderr
        self.as_json = as_json
        self.on_terminal = stdout.isatty()
        self._colour = (
            colour and self.on_terminal and not os.environ.get("NO_COLOR") and _terminal_has_colours()
        )

    def line(self, text: str, colour: str = "") -> None:
        """Write a line of the result."""
        self._stdout.write(self._painted(visible(text), colour) + "\n")

    def note(self, text: str) -> None:
        """Write a line about the result, to stderr."""
        self._stderr.write(visible(text) + "\n")

    def record(self, values: dict[str, Any]) -> None:
        """Write one object of a `--json` result."""
        self._stdout.write(json.dumps(values, default=_plain) + "\n")
        self._stdout.flush()  # a program reads each object when it is there

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Write columns that line up on a terminal, and are parted by one tab elsewhere."""
        cells = [[(head, "") for head in heads], *([_cell(cell) for cell in row] for row in rows)]
        if not self.on_terminal:
            for row in cells:
                self._stdout.write("\t".join(text for text, _ in row) + "\n")
            return
        widths = [max(_width(row[column][0]) for row in cells) for column in range(len(heads))]
        for row in cells:
            line = GAP.join(
                self._padded(text, colour, width) for (text, colour), width in zip(row, widths, strict=True)
            )
            self._stdout.write(line.rstrip() + "\n")

    def row(self, cells: Sequence[Cell]) -> None:
        """Write one line of cells parted by tabs, at once."""
        self._stdout.write("\t".join(_cell(cell)[0] for cell in cells) + "\n")
        self._stdout.flush()

    def frame(self, draw: "Callable[[Output], None]") -> None:
        """Draw over what the last frame drew; what the terminal has no lines for is left out."""
        text = io.StringIO()
        inner = copy.copy(self)
        inner._stdout = text
        draw(inner)
        lines = text.getvalue().splitlines()[: max(1, shutil.get_terminal_size().lines - 1)]
        self._stdout.write(HOME + "".join(f"{line}{END_OF_LINE}\n" for line in lines) + END_OF_SCREEN)
        self._stdout.flush()

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Let frames be drawn meanwhile: long lines are cut at the edge instead of moving what is below them."""
        self._stdout.write(NO_WRAP + CLEAR)
        try:
            yield
        finally:
            self._stdout.write(WRAP)
            self._stdout.flush()

    def raw(self, stdout: str, stderr: str) -> None:
        """Write what a remote command wrote, byte for byte, as ssh does."""
        for wrapper, text in ((self._stdout, stdout), (self._stderr, stderr)):
            binary = getattr(wrapper, "buffer", None)
            if not text:
                continue
            wrapper.flush()
            if binary is None:
                wrapper.write(text)
            else:
                binary.write(text.encode("utf-8", "surrogateescape"))
                binary.flush()

    def prefixed(self, name: str, text: str, *, to_stderr: bool = False) -> None:
        """Write the lines of one node among those of others."""
        wrapper = self._stderr if to_stderr else self._stdout
        for line in text.removesuffix("\n").split("\n") if text else ():
            shown = "\t".join(visible(part) for part in line.removesuffix("\r").split("\t"))
            wrapper.write(f"{visible(name)} | {shown}\n")

    def _padded(self, text: str, colour: str, width: int) -> str:
        return self._painted(text, colour) + " " * (width - _width(text))

    def _painted(self, text: str, colour: str) -> str:
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if colour and self._colour else text


def ago(moment: datetime | None, now: datetime) -> str:
    """Return how long ago, as short as a column needs."""
    if moment is None:
        return "-"
    seconds = max(0, int((now - moment).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def milliseconds(seconds: float | None) -> str:
    """Return a round trip as people read it."""
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"


def _cell(cell: Cell) -> tuple[str, str]:
    text, colour = cell if isinstance(cell, tuple) else (cell, "")
    return visible(text) or "-", colour


def _width(text: str) -> int:
    """Columns on a terminal: East Asian letters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value)


def _terminal_has_colours() -> bool:
    return os.environ.get("TERM", "dumb") != "dumb"
