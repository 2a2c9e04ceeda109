"""Parameters of commands: declared once, checked before any service sees them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Optional, Union

from agent_client.calls import Refused
from agent_client.protocol.codes import Code
from agent_client.protocol.text import JsonObject


@dataclass(frozen=True)
class Text:
    """A string of `shortest` to `longest` characters, or one of `choices`."""

    longest: int
    shortest: int = 0
    choices: tuple[str, ...] = ()

    def problem(self, value: object) -> Optional[str]:
        """Say what is wrong with `value`."""
        if not isinstance(value, str):
            return "is no string"
        if self.choices and value not in self.choices:
            return f"is none of {', '.join(self.choices)}"
        if not self.shortest <= len(value) <= self.longest:
            return f"is not {self.shortest} to {self.longest} characters long"
        return "holds a NUL character" if "\0" in value else None


@dataclass(frozen=True)
class Whole:
    """A whole number between `lowest` and `highest`."""

    lowest: int
    highest: int

    def problem(self, value: object) -> Optional[str]:
        """Say what is wrong with `value`."""
        if isinstance(value, bool) or not isinstance(value, int):
            return "is no whole number"
        return None if self.lowest <= value <= self.highest else f"is not {self.lowest} to {self.highest}"


@dataclass(frozen=True)
class Flag:
    """true or false."""

    def problem(self, value: object) -> Optional[str]:
        """Say what is wrong with `value`."""
        return None if isinstance(value, bool) else "is neither true nor false"


@dataclass(frozen=True)
class TextList:
    """A list of `fewest` to `most` strings."""

    of: Text
    most: int
    fewest: int = 0

    def problem(self, value: object) -> Optional[str]:
        """Say what is wrong with `value`."""
        if not isinstance(value, list) or not self.fewest <= len(value) <= self.most:
            return f"is no list of {self.fewest} to {self.most} strings"
        return _first(value, self.of)


@dataclass(frozen=True)
class TextMap:
    """An object whose values are strings, with at most `most` members."""

    of: Text
    most: int

    def problem(self, value: object) -> Optional[str]:
        """Say what is wrong with `value`."""
        if not isinstance(value, dict) or len(value) > self.most:
            return f"is no object of at most {self.most} strings"
        if any(not name or "=" in name or "\0" in name for name in value):
            return "holds a name that is empty or contains = or NUL"
        return _first(value.values(), self.of)


Kind = Union[Text, Whole, Flag, TextList, TextMap]


@dataclass(frozen=True)
class Param:
    """One parameter of an action; without `required` a missing or null one becomes `default`."""

    name: str
    kind: Kind
    required: bool = False
    default: Any = None


def checked(declared: tuple[Param, ...], given: JsonObject) -> JsonObject:
    """Return the parameters with defaults filled in.

    Raises:
        Refused: one is missing, unknown or of the wrong kind; the sentence names it.
    """
    known = {param.name for param in declared}
    for name in given:
        if name not in known:
            raise Refused(Code.INVALID_PARAMS, f"parameter {name[:64]!r} is unknown")
    return {param.name: _value(param, given.get(param.name)) for param in declared}


def _value(param: Param, value: Any) -> Any:
    if value is None:
        if param.required:
            raise Refused(Code.INVALID_PARAMS, f"parameter {param.name!r} is missing")
        return param.default
    problem = param.kind.problem(value)
    if problem:
        raise Refused(Code.INVALID_PARAMS, f"parameter {param.name!r} {problem}")
    return value


def _first(values: Iterable[object], kind: Text) -> Optional[str]:
    for value in values:
        problem = kind.problem(value)
        if problem:
            return f"holds an entry that {problem}"
    return None
