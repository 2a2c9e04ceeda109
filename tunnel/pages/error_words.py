"""The panel's own sentences of failed commands, in the language of whoever looks at a page.

`servers.errors` speaks English, for logs, programs and the command line. What a node says of itself stays as it is.
"""

from typing import Any, Final

from django.utils.translation import gettext_lazy as _

from servers import errors
from servers.errors import CommandError
from servers.text import visible

MAX_SENTENCE: Final = 2000  # characters of an error, as in the history

SENTENCES: Final[dict[type[CommandError], Any]] = {
    errors.NotConnected: _("the server is not connected, start its agent or wait until it is back"),
    errors.NotSent: _("the command could not be sent in time, try again"),
    errors.BusUnavailable: _("the workers of the panel cannot reach each other, check Redis and try again"),
    errors.NotAllowed: _("you may not do this on this server, ask whoever gives permissions here"),
    errors.SecondFactorNeeded: _("confirm with your second factor first, then repeat this"),
    errors.Disconnected: _(
        "the connection ended before the answer, look on the server whether the command ran"
    ),
    errors.NoReply: _("no answer came in time, look on the server whether the command ran"),
    errors.RelayLost: _("the way between two workers broke, look on the server whether the command ran"),
    errors.Revoked: _(
        "the server was cut off while the command was under way, look on it whether the command ran"
    ),
}


def sentence(error: CommandError) -> str:
    """Return what a page says of a failed command."""
    own = SENTENCES.get(type(error))
    if own is not None and error.message == getattr(error, "SENTENCE", None):
        return str(own)
    return visible(str(error)[:MAX_SENTENCE])
