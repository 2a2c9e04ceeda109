"""Why a page has no terminal: there is none to be had, or this person may have none any more."""

from servers.errors import CommandError, NotAllowed, SecondFactorNeeded
from servers.text import visible
from tunnel.shells.standing import ShownOut


class Refused(Exception):
    """There is no terminal to be had; `why` is the code of an error, or a word of the page."""

    def __init__(self, why: str, text: str = "", exit_code: int | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.text = text
        self.exit_code = exit_code

    @classmethod
    def by(cls, exc: CommandError) -> "Refused":
        """Return what an error of the door or of the node comes to."""
        if isinstance(exc, SecondFactorNeeded):
            return cls("second_factor")
        if isinstance(exc, NotAllowed):
            return cls("not_allowed")
        return cls(exc.code, visible(str(exc)))


class Out(Exception):
    """This person may be here no more."""

    def __init__(self, shown_out: ShownOut) -> None:
        super().__init__(shown_out.why)
        self.shown_out = shown_out
