"""JSON text to objects and back, within the limits (docs/protocol.md §2)."""

import json
import math
import re
from typing import Any

from agent_client.protocol.errors import MalformedMessage, MessageTooDeep, MessageTooLarge
from agent_client.protocol.limits import MAX_DEPTH, MAX_TEXT

JsonObject = dict[str, Any]

_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS = re.compile(r"[\[\]{}]")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def loads(text: str) -> JsonObject:
    """Return the JSON object in a text message.

    Raises:
        MessageTooLarge: more than 256 KiB of UTF-8.
        MessageTooDeep: nested deeper than 32 levels.
        MalformedMessage: not JSON, not an object, NaN, a number no double holds, or text that is no Unicode.
    """
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_TEXT:
        raise MessageTooLarge(size, MAX_TEXT)
    _check_depth(text)
    try:
        value = _DECODER.decode(text)
    except ValueError as exc:
        raise MalformedMessage("message is not JSON") from exc
    if not isinstance(value, dict):
        raise MalformedMessage("message is not a JSON object")
    if _SURROGATE.search(text):
        _check_unicode(value)
    return value


def dumps(value: JsonObject) -> str:
    """Return a JSON object as text.

    Raises:
        MessageTooLarge: the text exceeds 256 KiB.
        MessageTooDeep: nested deeper than 32 levels, which the other side would count as a wrong message.
        MalformedMessage: a value JSON does not know, or text that is no Unicode.
    """
    try:
        text = _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError) as exc:
        raise MalformedMessage(f"message cannot be written as JSON: {exc}") from exc
    if len(text) > MAX_TEXT:
        raise MessageTooLarge(len(text), MAX_TEXT)
    _check_depth(text)
    if _SURROGATE.search(text):
        _check_unicode(value)
    return text


def _no_constant(name: str) -> None:
    raise MalformedMessage(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):  # 1e999 is JSON, and yet nothing that could be written as JSON again
        raise MalformedMessage("a number is too large")
    return number


# `json.loads` and `json.dumps` would make a new one of these for each message.
_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def _check_depth(text: str) -> None:
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return  # most messages end here: so few brackets cannot nest deeper
    depth = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise MessageTooDeep(MAX_DEPTH)


def _check_unicode(value: JsonObject) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as exc:
        raise MalformedMessage("message holds half a surrogate pair") from exc
