"""The arguments of a command: a parser that leaves what follows `--` alone, and types of options."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any


class SubParser(argparse.ArgumentParser):
    """A parser of one sub-command; with `takes_command`, what follows the first `--` goes to `remote` untouched."""

    takes_command = False

    def __init__(self, *args: Any, **how: Any) -> None:
        """Take options by their whole names only: `--token SECRET` must not count as `--token-file`."""
        super().__init__(*args, **{"allow_abbrev": False, **how})

    def parse_known_args(  # type: ignore[override] # argparse declares three overloads of one implementation
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Split at the first `--`, then parse what stands before it."""
        words = list(args or [])
        if not self.takes_command:
            return super().parse_known_args(words, namespace)
        at = words.index("--") if "--" in words else len(words)
        parsed, unknown = super().parse_known_args(words[:at], namespace)
        parsed.remote = words[at + 1 :]
        return parsed, unknown


def number(least: float, most: float | None, kind: type[int] | type[float] = float) -> Callable[[str], Any]:
    """Return the type of an option that is a number within bounds."""

    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
        if not value >= least or (most is not None and value > most):
            bounds = f"at least {least:g}" if most is None else f"between {least:g} and {most:g}"
            raise argparse.ArgumentTypeError(f"it must be {bounds}, not {text}")
        return value

    return read
