"""What a page shows of a command: how it ended and what it wrote, or why it failed, as text in which all is visible."""

import json
import signal
from dataclasses import asdict, dataclass
from typing import Any, Final

from django.utils import formats
from django.utils.translation import gettext

from servers.errors import CommandError
from servers.text import visible
from tunnel.pages import error_words

MAX_SHOWN: Final = 64 * 1024  # characters of one output on a page; an agent keeps as many bytes of each

Facts = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """One answer as a page shows it; what there is not is empty."""

    good: bool
    headline: str  # how it ended
    took: str  # how long that was
    stdout: str = ""
    stderr: str = ""
    data: str = ""
    note: str = ""  # what was left out
    error: str = ""
    code: str = ""
    ran: str = ""

    def for_script(self) -> Facts:
        """Return it as JSON has it."""
        return asdict(self)


def of_answer(data: Any, seconds: float) -> Reply:
    """Return the page's words of a command that was answered after so many seconds."""
    if _is_of_program(data):
        return _of_program(data, seconds)
    text = json.dumps(data, ensure_ascii=False, indent=2)
    shown, left_out = _bounded(text)
    note = _left_out(left_out)
    return Reply(good=True, headline=gettext("Answered"), took=duration(seconds), data=shown, note=note)


def of_error(error: CommandError, seconds: float) -> Reply:
    """Return the page's words of a command that failed after so many seconds."""
    ran = {
        "no": gettext("It did not run."),
        "yes": gettext("It ran."),
        "unknown": gettext("Whether it ran is not known: look on the node before you repeat it."),
    }
    return Reply(
        good=False,
        headline=gettext("Failed"),
        took=duration(seconds),
        error=error_words.sentence(error),
        code=visible(error.code),
        ran=ran[error.ran],
    )


def duration(seconds: float) -> str:
    """Return how long something took, in the unit that people read it in."""
    if seconds < 1:
        return gettext("{number} ms").format(number=round(seconds * 1000))
    return gettext("{number} s").format(number=formats.number_format(round(seconds, 1), 1))


def output(text: str) -> str:
    """Return the output of a program with its lines and tabs, every other control character made visible."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("\t".join(visible(part) for part in line.split("\t")) for line in lines)


def _is_of_program(data: Any) -> bool:
    """Tell whether this is what `system.exec` answers; of an agent nothing is believed."""
    if not isinstance(data, dict):
        return False
    number = data.get("exitCode")
    texts = (data.get("stdout", ""), data.get("stderr", ""))
    is_number = isinstance(number, int) and not isinstance(number, bool) and abs(number) < 2**32
    return is_number and all(isinstance(text, str) for text in texts)


def _of_program(data: Facts, seconds: float) -> Reply:
    number = int(data["exitCode"])
    stdout, lost = _bounded(data.get("stdout", ""))
    stderr, lost_too = _bounded(data.get("stderr", ""))
    notes = [_left_out(lost + lost_too)]
    if data.get("truncated"):
        notes.append(gettext("The node kept only the beginning of this output."))
    return Reply(
        good=number == 0,
        headline=_ending(number),
        took=duration(seconds),
        stdout=stdout,
        stderr=stderr,
        note=" ".join(filter(None, notes)),
    )


def _ending(number: int) -> str:
    if number >= 0:
        return gettext("Exit code {number}").format(number=number)
    try:
        name = signal.Signals(-number).name
    except ValueError:
        name = str(-number)
    return gettext("Ended by signal {name}").format(name=name)


def _bounded(text: str) -> tuple[str, int]:
    """Return what is shown of a text, and how many characters are not."""
    return output(text[:MAX_SHOWN]), max(0, len(text) - MAX_SHOWN)


def _left_out(characters: int) -> str:
    if not characters:
        return ""
    number = formats.number_format(characters, force_grouping=True)
    return gettext("{number} more characters are not shown here.").format(number=number)
