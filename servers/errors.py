"""Every error a caller of a server can see.

TunnelError
├── CommandError             a command did not end well; `code`, `message`, and whether it ran
│   ├── NotConnected         certainly not run: no agent is there
│   ├── NotSent              certainly not run: it did not get as far as the wire
│   ├── BusUnavailable       certainly not run: the workers of the panel cannot reach each other
│   ├── NotAllowed           certainly not run: this actor may not do that
│   │   └── SecondFactorNeeded  certainly not run: the person has to confirm first
│   ├── Disconnected         outcome unknown: the agent went away before it answered
│   ├── NoReply              outcome unknown: no answer in time
│   ├── RelayLost            outcome unknown: the way between two workers broke
│   ├── Revoked              outcome unknown: the server was suspended, rotated or changed meanwhile
│   ├── StreamLost           a stream broke after it was opened
│   └── CommandFailed        answered with an error
├── ChangedMeanwhile         somebody else changed the same thing first
├── TokenNotPossible         an API token that may not be made so
├── SecretTooShort           a chosen secret that could be guessed
└── SecretNotSendable        a chosen secret that no header can carry

The codes are those of docs/protocol.md §2.
"""

from typing import Any, ClassVar, Literal

from agent_client.protocol.codes import Code
from agent_client.protocol.errors import TunnelError

Ran = Literal["no", "unknown", "yes"]

# The agent answers these without having started the command.
_REFUSED_BY_AGENT = frozenset(
    {
        Code.UNKNOWN_SERVICE.value,
        Code.UNKNOWN_ACTION.value,
        Code.INVALID_PARAMS.value,
        Code.EXPIRED.value,
        Code.FORBIDDEN.value,
        Code.BUSY.value,
    }
)
# Killed half-way or never begun; delivered twice, of which one may have run.
_UNCLEAR = frozenset({Code.CANCELLED.value, Code.DUPLICATE.value})


class CommandError(TunnelError):
    """A command did not end well.

    `ran` is "no" when it certainly did not run, "yes" when it did and failed, "unknown" when nobody can tell.
    """

    def __init__(self, code: str, message: str, ran: Ran) -> None:
        super().__init__(code, message, ran)
        self.code = code
        self.message = message
        self.ran = ran

    def __str__(self) -> str:
        return self.message or self.code


class _KnownError(CommandError):
    """A command error whose class says its code, and a sentence where the caller has no better one."""

    CODE: ClassVar[Code]
    RAN: ClassVar[Ran]
    SENTENCE: ClassVar[str]

    def __init__(self, message: str = "") -> None:
        super().__init__(self.CODE.value, message or self.SENTENCE, self.RAN)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message,)


class NotConnected(_KnownError):
    """No agent of this server is connected."""

    CODE = Code.NOT_CONNECTED
    RAN = "no"
    SENTENCE = "the server is not connected, start its agent or wait until it is back"


class NotSent(_KnownError):
    """The command did not get as far as the agent's socket."""

    CODE = Code.NOT_SENT
    RAN = "no"
    SENTENCE = "the command could not be sent in time, try again"


class BusUnavailable(_KnownError):
    """The worker that holds the agent's socket cannot be reached."""

    CODE = Code.BUS_UNAVAILABLE
    RAN = "no"
    SENTENCE = "the workers of the panel cannot reach each other, check Redis and try again"


class NotAllowed(_KnownError):
    """The actor may not do this."""

    CODE = Code.FORBIDDEN
    RAN = "no"
    SENTENCE = "you may not do this on this server, ask whoever gives permissions here"


class SecondFactorNeeded(NotAllowed):
    """The person has not shown a second factor lately, and the panel asks for one."""

    SENTENCE = "confirm with your second factor first, then repeat this"


class Disconnected(_KnownError):
    """The agent's connection ended before its answer."""

    CODE = Code.DISCONNECTED
    RAN = "unknown"
    SENTENCE = "the connection ended before the answer, look on the server whether the command ran"


class NoReply(_KnownError):
    """No answer came in time."""

    CODE = Code.NO_REPLY
    RAN = "unknown"
    SENTENCE = "no answer came in time, look on the server whether the command ran"


class RelayLost(_KnownError):
    """The way between the asking worker and the one that holds the socket broke."""

    CODE = Code.RELAY_LOST
    RAN = "unknown"
    SENTENCE = "the way between two workers broke, look on the server whether the command ran"


class Revoked(_KnownError):
    """The server was suspended, its secret rotated or its type changed while the command was under way."""

    CODE = Code.REVOKED
    RAN = "unknown"
    SENTENCE = "the server was cut off while the command was under way, look on it whether the command ran"


class CommandFailed(CommandError):
    """The command was answered with an error."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(code, message, _ran(code))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.message)


class StreamLost(CommandError):
    """A stream broke before both sides had said that they were done; what was on its way may not have arrived."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(code, message or _LOST.get(code, f"the stream was ended: {code}"), "unknown")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.message)


_LOST = {
    Code.DISCONNECTED.value: "the server's connection ended, open the stream again once it is back",
    Code.RELAY_LOST.value: "the way between two workers of the panel broke, open the stream again",
    Code.REVOKED.value: "you may not do this on this server any more, or it was suspended",
    Code.CANCELLED.value: "the stream was closed on this side",
}


class ChangedMeanwhile(TunnelError):
    """A compare-and-set lost against somebody else's change."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"{self.what} was changed by somebody else meanwhile, look again before you repeat this"


class TokenNotPossible(TunnelError, ValueError):
    """An API token that this person may not make, or not so."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return self.why


class SecretTooShort(TunnelError, ValueError):
    """A chosen secret shorter than the panel accepts."""

    def __init__(self, least: int) -> None:
        super().__init__(least)
        self.least = least

    def __str__(self) -> str:
        return f"a chosen secret needs at least {self.least} characters, take a longer one or let the panel make it"


class SecretNotSendable(TunnelError, ValueError):
    """A chosen secret that the agent could not send in a header."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.most = most

    def __str__(self) -> str:
        return f"a secret is at most {self.most} printable ASCII characters without spaces at its ends"


def from_code(code: str, message: str = "") -> CommandError:
    """Return the error that stands for a code of the wire; codes this side does not know are answers of the agent."""
    known = _BY_CODE.get(code)
    return known(message) if known else CommandFailed(code, message)


_BY_CODE: dict[str, type[_KnownError]] = {
    known.CODE.value: known
    for known in (NotConnected, NotSent, BusUnavailable, Disconnected, NoReply, RelayLost, Revoked)
}  # not NotAllowed: `forbidden` on the wire is the node's own policy


def _ran(code: str) -> Ran:
    if code in _REFUSED_BY_AGENT:
        return "no"
    return "unknown" if code in _UNCLEAR else "yes"
