"""What the history keeps of a command's parameters: enough to tell what was asked, no secrets, and bounded."""

import json
import math
from typing import Any

MAX_BYTES = 4096  # of JSON a record; a history of a million commands stays a few gigabytes
MAX_START = (MAX_BYTES - 100) // 2  # its quotes are escaped once more, and the other members need room
MAX_DEPTH = 32  # as on the wire
MAX_INTEGER_BITS = 64  # what every database's JSON takes
NOT_KEPT = "(not kept)"
# Environment and input hold passwords, contents are other people's files, whoever knows a handle may use its shell.
SECRET_NAMES = frozenset({"env", "stdin", "content", "secret", "password", "token", "handle"})


def redacted(params: dict[str, Any]) -> dict[str, Any]:
    """Return a copy for the record; beyond 4 KiB of JSON only its beginning, marked `truncated`."""
    kept: dict[str, Any] = _plain(params, 0)
    text = json.dumps(kept)
    if len(text) <= MAX_BYTES:
        return kept
    return {"truncated": True, "bytes": len(text), "start": text[:MAX_START]}


def bounded(text: str, limit: int) -> str:
    """Return `text` as any database takes it, at most `limit` characters."""
    clean = text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def _plain(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        return "…"
    if isinstance(value, dict):
        return {
            bounded(str(name), MAX_BYTES): NOT_KEPT
            if str(name).lower() in SECRET_NAMES
            else _plain(item, depth + 1)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    return _plain_scalar(value)


def _plain_scalar(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and value.bit_length() <= MAX_INTEGER_BITS:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, str):
        return bounded(value, 2 * MAX_BYTES)
    return f"({type(value).__name__})"  # nothing JSON knows; the transport will refuse it in words
