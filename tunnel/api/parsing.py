"""Bodies: JSON objects of bounded size and depth, and nothing in them that cannot be kept or sent on."""

import json
import math
from typing import Any, Final, NoReturn

from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.parsers import JSONParser

from agent_client.protocol.limits import MAX_TEXT
from tunnel.api import codes
from tunnel.api.problems import Problem

MAX_BODY: Final = MAX_TEXT  # bytes; what is larger could not be sent to an agent either
MAX_DEPTH: Final = 32  # as on the wire
MAX_DIGITS: Final = 300  # of a number; a float has no more, and Python's own limit has other words


class BoundedJsonParser(JSONParser):
    """Reads a body; what is wrong with it is the sender's fault and never an internal error."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:  # noqa: ARG002
        """Return the object.

        Raises:
            Problem: it is too large.
            ParseError: it is no JSON object.
            ValidationError: it holds what no agent and no database takes.
        """
        raw = stream.read(MAX_BODY + 1)
        if len(raw) > MAX_BODY:
            raise Problem(codes.BODY_TOO_LARGE, f"the body has more than {MAX_BODY} bytes")
        try:
            value = json.loads(raw.decode("utf-8"), parse_constant=_refuse, parse_int=_integer)
        except (ValueError, RecursionError) as exc:
            raise ParseError("the body is no JSON in UTF-8, or nested too deep") from exc
        if not isinstance(value, dict):
            raise ParseError("the body is no JSON object")
        _check(value)
        return value


def _check(value: dict[str, Any]) -> None:
    waiting: list[tuple[Any, int]] = [(value, 1)]
    while waiting:
        item, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise ParseError(f"the body is nested more than {MAX_DEPTH} deep")
        if isinstance(item, dict):
            waiting += [(name, depth) for name in item] + [(inner, depth + 1) for inner in item.values()]
        elif isinstance(item, list):
            waiting += [(inner, depth + 1) for inner in item]
        elif isinstance(item, str) and not _whole(item):
            raise ValidationError({"non_field_errors": "half a surrogate pair is no text"})
        elif isinstance(item, float) and not math.isfinite(item):
            raise ValidationError({"non_field_errors": "a number is too large"})


def _whole(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError("a number is too large")
    return int(digits)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
