"""How log records become lines: one record is one line, whatever a node or a stranger put into it.

A host panel names these classes in its own LOGGING: `"()": "tunnel.log_formats.JsonFormatter"`.
"""

import json
import logging
from datetime import UTC, datetime
from typing import Any, Final

from servers.text import visible

# What a line may be about; records of other apps have fields of their own, which may hold anything.
FIELDS: Final = ("agent", "session", "stream", "command", "worker", "user", "address", "duration_seconds")
MAX_EVENT: Final = 8_000  # characters; a line is read by people, and shipped by programs that cut them
MAX_TRACEBACK: Final = 20_000
MARGIN: Final = "    | "  # before each line of a traceback, so that none passes for a record


class LineFormatter(logging.Formatter):
    """Text for people: `time level logger message`, a traceback below it, indented."""

    def __init__(self) -> None:
        super().__init__("{asctime} {levelname} {name} {message}", style="{")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line, with everything escaped that would end it or move a cursor."""
        return visible(super().formatMessage(record)[:MAX_EVENT])

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Return a traceback whose lines are seen to belong to it."""
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - logging's name
        """Return a stack in the same way."""
        return _indented(stack_info)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `ts level logger event`, and the fields that are known, as text or as numbers."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; JSON escapes what would end it."""
        fields = {name: _plain(value) for name, value in vars(record).items() if name in FIELDS}
        line: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": _without(fields, record.getMessage())[:MAX_EVENT],
            **fields,
        }
        line["ts"] = line["ts"].replace("+00:00", "Z")
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)[-MAX_TRACEBACK:]
        return json.dumps(line)


def _without(fields: dict[str, Any], message: str) -> str:
    """Cut the fields off the end of a message, where `tunnel.logs` has put them for people."""
    words = "".join(f" {name}={value}" for name, value in fields.items())
    return message.removesuffix(words) if words else message


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float) else str(value)


def _indented(text: str) -> str:
    return "\n".join(MARGIN + visible(line) for line in text[-MAX_TRACEBACK:].splitlines())
