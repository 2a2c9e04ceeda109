"""What a step of `tunnel doctor` found."""

from dataclasses import dataclass

from tunnel.cli.exits import Exit


@dataclass(frozen=True)
class Finding:
    """`ok` is None for what is worth knowing and no fault; `fix` is the line to change, `code` counts when ok is False."""

    step: str
    ok: bool | None
    detail: str
    fix: str = ""
    code: Exit = Exit.FAILED
