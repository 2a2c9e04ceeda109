"""Log lines that name what they are about: `agent=` and `session=` at their end, and as fields for formatters."""

import logging
from collections.abc import MutableMapping
from typing import Any


class FieldLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds its fields to each line."""

    def process(self, msg: str, kwargs: MutableMapping[str, Any]) -> tuple[str, MutableMapping[str, Any]]:
        """Append `name=value` to the message and hand the fields to the formatter."""
        fields = dict(self.extra or {})
        words = "".join(f" {name}={value}" for name, value in fields.items())
        return msg + words.replace("%", "%%"), {**kwargs, "extra": fields}


def about(name: str, **fields: object) -> FieldLogger:
    """Return the logger `name` with these fields on each line."""
    return FieldLogger(logging.getLogger(name), fields)
