"""What can go wrong between here and the panel's REST interface.

Failure
├── Unreachable        no answer; `sent` is False when certainly nothing was asked
├── NotThePanel        something answered that is no panel's REST interface, or not whole
└── Problem            the panel refused or failed, in its own words (RFC 9457)
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from tunnel.cli.exits import Exit, Failure, of_code

LONGEST_DETAIL: Final = 2000  # characters of a sentence of the panel; longer ones are cut
MOST_ERRORS: Final = 20  # members of a body that one sentence names

_OF_STATUS: Final = {
    HTTPStatus.UNAUTHORIZED: Exit.REFUSED,
    HTTPStatus.FORBIDDEN: Exit.REFUSED,
    HTTPStatus.NOT_FOUND: Exit.NO_SUCH_SERVER,
    HTTPStatus.SERVICE_UNAVAILABLE: Exit.NO_LAYER,
    HTTPStatus.GATEWAY_TIMEOUT: Exit.TIMED_OUT,
}


class Unreachable(Failure):
    """The panel did not answer."""

    def __init__(self, sentence: str, *, sent: bool) -> None:
        super().__init__(sentence, Exit.NO_LAYER)
        self.sent = sent


class NotThePanel(Failure):
    """What answered is not the REST interface of a panel, or its answer cannot be read."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, Exit.NO_LAYER)


@dataclass(frozen=True)
class Told:
    """The members of a problem that are used here; what the panel left out is empty."""

    status: int
    code: str = ""
    title: str = ""
    detail: str = ""
    ran: str = ""
    errors: tuple[tuple[str, str], ...] = ()  # of a body: which member, and what is wrong with it
    retry_after: float | None = None  # seconds


class Problem(Failure):
    """The panel's own answer that it did not do as asked."""

    def __init__(self, told: Told) -> None:
        super().__init__(_sentence(told), _exit(told))
        self.told = told


def wrong_tls(where: object, cause: object) -> Unreachable:
    """Return what is wrong with the TLS of a panel at this address; nothing was sent there."""
    verify = getattr(cause, "verify_message", "")
    if verify:
        words = f"the certificate of {where} is not trusted: {verify}"
        return Unreachable(f"{words}; if its authority is your own, name its file with --ca-file", sent=False)
    reason = getattr(cause, "reason", None) or cause
    return Unreachable(f"no TLS with {where}: {reason}; check scheme and port", sent=False)


def read(status: int, body: dict[str, Any], retry_after: float | None) -> Told:
    """Take out of a problem's JSON what has the right type."""
    errors = body.get("errors")
    rows = [row for row in errors if isinstance(row, dict)] if isinstance(errors, list) else []
    return Told(
        status,
        _text(body, "code"),
        _text(body, "title"),
        _text(body, "detail"),
        _text(body, "ran"),
        tuple((_member(_text(row, "pointer")), _text(row, "detail")) for row in rows[:MOST_ERRORS]),
        retry_after,
    )


def _text(values: dict[str, Any], name: str) -> str:
    value = values.get(name)
    return value[:LONGEST_DETAIL] if isinstance(value, str) else ""


def _member(pointer: str) -> str:
    """Return the member a JSON pointer such as `#/agent_id` names."""
    return pointer.removeprefix("#").strip("/").replace("/", ".")


def _sentence(told: Told) -> str:
    if told.status == HTTPStatus.UNAUTHORIZED:
        return "the panel does not take this token: it is wrong, expired or revoked"
    if told.errors:
        return "; ".join(f"{member}: {detail}" if member else detail for member, detail in told.errors)
    words = told.detail or told.title or told.code or f"the panel answered {told.status}"
    if told.status == HTTPStatus.TOO_MANY_REQUESTS and told.retry_after is not None:
        return f"{words.rstrip('.')}: too many requests, try again in {told.retry_after:.0f} s"
    return words


def _exit(told: Told) -> Exit:
    known = of_code(told.code)
    if known is not Exit.FAILED:
        return known
    return next((code for status, code in _OF_STATUS.items() if status == told.status), Exit.FAILED)
