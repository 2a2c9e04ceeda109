"""Read settings from `.env` files: NAME=value lines, as shells, systemd and Docker write them."""

import re
from collections.abc import Collection

LARGEST = 64 * 1024  # bytes; a settings file is a few lines

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*")
_QUOTED = {
    '"': re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?'),
    "'": re.compile(r"'([^']*)'\s*(?:#.*)?"),
}


class WrongLine(ValueError):
    """A line that cannot be read; the sentence names it."""


def parse(text: str, names: Collection[str]) -> dict[str, str]:
    """Return the values of `names` in `text`; all other lines belong to somebody else and are not judged.

    Raises:
        WrongLine: a quote is not closed.
    """
    values = {}
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match and match[1] in names:
            values[match[1]] = _value(match[2], number)
    return values


def _value(raw: str, number: int) -> str:
    if raw[:1] in _QUOTED:
        match = _QUOTED[raw[0]].fullmatch(raw)
        if match is None:
            raise WrongLine(f"line {number} has a quote that is not closed")
        return re.sub(r"\\(.)", r"\1", match[1]) if raw[0] == '"' else match[1]
    return re.split(r"\s#", raw, maxsplit=1)[0].rstrip() if not raw.startswith("#") else ""
