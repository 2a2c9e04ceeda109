"""What a terminal page and the panel tell each other: text is JSON with `t`, binary is the bytes of the terminal.

page -> panel   open, attach, pipe, resize, ack, answer, eof, end, ping     binary: what was typed
panel -> page   hello, opened, size, state, rtt, viewers, pong, taken      binary: what the program wrote
"""

import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tunnel.shells.answers import MOST_POSITION
from tunnel.shells.rows import Size

MAX_TEXT: Final = 1024  # characters of a text message of a page; the longest has about 150
MAX_LINE: Final = 16 * 1024  # characters of a line for a shell, as the node takes it
MAX_PIPE: Final = (
    12 * MAX_LINE + MAX_TEXT
)  # characters of a message that holds one, each written as \uXXXX\uXXXX
LEAST_SIDE: Final = 2  # characters; xterm.js has no smaller terminal
MOST_COLS: Final = 1000
MOST_ROWS: Final = 500
ANSWERS: Final = {  # to CSI c and CSI > c: a VT100 with advanced video, and xterm.js
    "primary": b"\x1b[?1;2c",
    "secondary": b"\x1b[>0;276;0c",
}
_TERM: Final = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._+-]{0,63})?")
_LANGUAGE: Final = re.compile(r"^([a-z]{2,3})(?:-[A-Za-z]{4})?(?:-([A-Z]{2}))?(?:-.*)?$")


class BadMessage(ValueError):
    """A message that no page of ours sends."""


@dataclass(frozen=True)
class Open:
    """Open a new shell."""

    size: Size
    lang: str  # of the browser; the node looks which of its locales fits
    term: str = ""  # what kind of terminal it is, where that is not the page's


@dataclass(frozen=True)
class Attach:
    """Join a shell where the page has all bytes before `offset`."""

    shell: uuid.UUID
    offset: int
    size: Size
    write: bool


@dataclass(frozen=True)
class Pipe:
    """Run a shell without a terminal; without a line it reads its input."""

    lang: str
    line: str | None = None


@dataclass(frozen=True)
class Eof:
    """What was typed is all there is."""


@dataclass(frozen=True)
class Resize:
    """The window has another size."""

    size: Size


@dataclass(frozen=True)
class Ack:
    """The page has shown all bytes before this position."""

    position: int


@dataclass(frozen=True)
class Answer:
    """The program asked what this terminal is; `data` is what is sent back."""

    data: bytes


@dataclass(frozen=True)
class End:
    """End the shell."""


@dataclass(frozen=True)
class Ping:
    """How long is the way to the panel?"""

    n: int


Message = Open | Attach | Pipe | Eof | Resize | Ack | Answer | End | Ping


def parse(text: str) -> Message:
    """Return what a page says.

    Raises:
        BadMessage: no page of ours says this.
    """
    if len(text) > MAX_PIPE:
        raise BadMessage("too long")
    try:
        said = json.loads(text)
        found = _KINDS[said["t"]](said)
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise BadMessage(type(exc).__name__) from exc
    if len(text) > MAX_TEXT and not isinstance(found, Pipe):
        raise BadMessage("too long")
    return found


def said(kind: str, **members: Any) -> str:
    """Return a message to the page."""
    return json.dumps({"t": kind, **members}, separators=(",", ":"))


def language_of(tag: str) -> str:
    """Return language and country of a browser's language: `zh-Hant-TW` is zh-TW, and what is no language is empty."""
    found = _LANGUAGE.match(tag)
    return "-".join(part for part in found.groups() if part) if found else ""


def _size(said: Any) -> Size:
    return Size(
        _number(said["cols"], LEAST_SIDE, MOST_COLS),
        _number(said["rows"], LEAST_SIDE, MOST_ROWS),
    )


def _kind(value: Any) -> str:
    if not isinstance(value, str) or not _TERM.fullmatch(value):
        raise BadMessage("no kind of terminal")
    return value


def _line(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or len(value) > MAX_LINE or "\0" in value):
        raise BadMessage("no line for a shell")
    return value


def _number(value: Any, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise BadMessage("a number out of its range")
    return value


def _position(value: Any) -> int:
    return _number(value, 0, MOST_POSITION)


_KINDS: Final[dict[str, Callable[[Any], Message]]] = {
    "open": lambda said: Open(_size(said), language_of(str(said["lang"])), _kind(said.get("term", ""))),
    "attach": lambda said: Attach(
        uuid.UUID(str(said["shell"])), _position(said["offset"]), _size(said), said["write"] is True
    ),
    "pipe": lambda said: Pipe(language_of(str(said["lang"])), _line(said.get("line"))),
    "eof": lambda _: Eof(),
    "resize": lambda said: Resize(_size(said)),
    "ack": lambda said: Ack(_position(said["position"])),
    "answer": lambda said: Answer(ANSWERS[said["to"]]),
    "end": lambda _: End(),
    "ping": lambda said: Ping(_position(said["n"])),
}
