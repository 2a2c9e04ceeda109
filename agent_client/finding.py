"""What a step of `yumna-agent doctor` found, and how it is told."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Optional, TextIO

SIGNS = {True: ("✓", "ok"), False: ("✗", "FAILED"), None: ("!", "note")}  # and where there is no such sign


class Exit(IntEnum):
    """Exit codes, the same numbers as those of the panel's commands (docs/command-line.md)."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 6
    NO_LAYER = 8  # the panel cannot be reached
    INTERRUPTED = 130


@dataclass(frozen=True)
class Finding:
    """`ok` is None for what is worth knowing and no fault; `fix` says what to do, `code` counts when ok is False."""

    step: str
    ok: Optional[bool]
    detail: str
    fix: str = ""
    code: Exit = Exit.NO_LAYER


def tell(finding: Finding, out: TextIO) -> None:
    """Print one step, and below it what to do."""
    encoding = out.encoding or "utf-8"
    sign, word = SIGNS[finding.ok]
    try:
        sign.encode(encoding)
    except UnicodeEncodeError:
        sign = word
    fix = f"\n    -> {finding.fix}" if finding.fix else ""
    text = f"{sign} {finding.step}: {finding.detail}{fix}\n"
    out.write(text.encode(encoding, "replace").decode(encoding))
    out.flush()
