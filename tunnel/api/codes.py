"""The `code` of every problem the REST interface answers with: what it means and what to do about it.

docs/troubleshooting.md holds the same table, and `problems/<code>/` serves it where a problem's `type` points to.
"""

from dataclasses import dataclass
from typing import Final

from agent_client.protocol.codes import UNKNOWN_OUTCOME_CODES, Code


@dataclass(frozen=True)
class Meaning:
    """A code: its usual HTTP status, what happened, and what to do."""

    status: int
    title: str
    advice: str


# Of the request itself; the codes of commands below are those of docs/protocol.md §2, unchanged.
INVALID: Final = "invalid"
MALFORMED: Final = "malformed"
NOT_AUTHENTICATED: Final = "not_authenticated"
NOT_PERMITTED: Final = "not_permitted"
CSRF_FAILED: Final = "csrf_failed"
NOT_FOUND: Final = "not_found"
METHOD_NOT_ALLOWED: Final = "method_not_allowed"
NOT_ACCEPTABLE: Final = "not_acceptable"
EXISTS: Final = "exists"
CHANGED_MEANWHILE: Final = "changed_meanwhile"
BODY_TOO_LARGE: Final = "body_too_large"
UNSUPPORTED_MEDIA_TYPE: Final = "unsupported_media_type"
KEY_REUSED: Final = "key_reused"
IN_PROGRESS: Final = "in_progress"
REPLY_NOT_KEPT: Final = "reply_not_kept"
THROTTLED: Final = "throttled"
INTERNAL: Final = "internal"
UNAVAILABLE: Final = "unavailable"

MEANINGS: Final[dict[str, Meaning]] = {
    INVALID: Meaning(400, "the request is not valid", "Correct what `errors` points at."),
    MALFORMED: Meaning(400, "the body is no JSON object", "Send JSON in UTF-8, nested at most 32 deep."),
    NOT_AUTHENTICATED: Meaning(
        401,
        "no valid login or token",
        "Send `Authorization: Token yta_…`. A token ends when it expires, is revoked, or its user is switched off: "
        "make a new one in the admin.",
    ),
    NOT_PERMITTED: Meaning(
        403, "you may not do this", "Ask for the permission, or use a token that has it among its scopes."
    ),
    CSRF_FAILED: Meaning(
        403,
        "the request does not come from a page of this panel",
        "A browser's session needs the header `X-CSRFToken`; programs use a token.",
    ),
    NOT_FOUND: Meaning(
        404,
        "there is no such thing, or not for you",
        "Check the agent ID and the path, which ends in a slash. With 502 the node did not find what the command named.",
    ),
    METHOD_NOT_ALLOWED: Meaning(
        405, "this address takes no such method", "The header `Allow` lists those it takes."
    ),
    NOT_ACCEPTABLE: Meaning(406, "the answer would be JSON", "Accept application/json."),
    EXISTS: Meaning(
        409,
        "there is one of this name already",
        "Take another name or agent ID. With 502 the node says that of a thing of its own.",
    ),
    CHANGED_MEANWHILE: Meaning(
        409, "somebody else changed it at the same time", "Look again before you repeat this."
    ),
    BODY_TOO_LARGE: Meaning(413, "the body is too large", "Send at most 256 KiB."),
    UNSUPPORTED_MEDIA_TYPE: Meaning(415, "the body is no JSON", "Send `Content-Type: application/json`."),
    KEY_REUSED: Meaning(
        422,
        "this idempotency key belongs to another request",
        "Take a fresh key for each command, the same one only to repeat the same command.",
    ),
    IN_PROGRESS: Meaning(
        409,
        "the command with this idempotency key has no reply yet",
        "Ask again later, or look at `commands/<id>/`. When the panel was stopped meanwhile there will be no reply; "
        "nothing is run twice.",
    ),
    REPLY_NOT_KEPT: Meaning(
        409,
        "the command with this idempotency key ended, but its reply was too large to keep",
        "It is not run again.",
    ),
    THROTTLED: Meaning(429, "too many requests", "Wait for `Retry-After` seconds."),
    INTERNAL: Meaning(
        500,
        "something failed inside",
        "The log of the panel says what. With 502 it failed in the agent, and its log says what.",
    ),
    UNAVAILABLE: Meaning(
        503, "the panel cannot use its database now", "Try again after `Retry-After` seconds."
    ),
    # -- of commands -----------------------------------------------------------------------------
    Code.NOT_CONNECTED.value: Meaning(
        409,
        "no agent of this server is connected",
        "Start the agent, or wait until it is back. Nothing was run.",
    ),
    Code.NOT_SENT.value: Meaning(503, "the command could not be sent in time", "Try again. Nothing was run."),
    Code.BUS_UNAVAILABLE.value: Meaning(
        503, "the workers of the panel cannot reach each other", "Check Redis and try again. Nothing was run."
    ),
    Code.DISCONNECTED.value: Meaning(
        502, "the connection ended before the answer", "Look on the server whether the command ran."
    ),
    Code.NO_REPLY.value: Meaning(
        504, "no answer came in time", "Look on the server whether the command ran; give it more `timeout`."
    ),
    Code.RELAY_LOST.value: Meaning(
        502, "the way between two workers of the panel broke", "Look on the server whether the command ran."
    ),
    Code.REVOKED.value: Meaning(
        502,
        "the server was cut off while the command was under way",
        "Look on the server whether the command ran.",
    ),
    Code.UNKNOWN_SERVICE.value: Meaning(
        502,
        "the agent has no such service",
        "`capabilities` of the server lists its services. Nothing was run.",
    ),
    Code.UNKNOWN_ACTION.value: Meaning(
        502,
        "the service has no such action, or the server is not reached through a tunnel",
        "Nothing was run.",
    ),
    Code.INVALID_PARAMS.value: Meaning(
        502, "the agent does not take these parameters", "Correct `params`. Nothing was run."
    ),
    Code.EXPIRED.value: Meaning(
        502,
        "the command was too old when the agent saw it",
        "Check the clocks of the panel's hosts. Nothing was run.",
    ),
    Code.DUPLICATE.value: Meaning(
        502, "the agent has seen this command before", "Look on the server whether it ran."
    ),
    Code.FORBIDDEN.value: Meaning(
        403,
        "the server is suspended, or the node's own policy forbids this",
        "Activate the server, or change the policy on the node. Nothing was run.",
    ),
    Code.BUSY.value: Meaning(502, "the agent has too much to do", "Try again later. Nothing was run."),
    Code.PERMISSION_DENIED.value: Meaning(
        502, "the node's system refused it", "The agent's user lacks a right on the node."
    ),
    Code.NO_SPACE.value: Meaning(502, "the node's disk is full", "Make room on the node."),
    Code.TOO_LARGE.value: Meaning(
        502, "what was asked for is too large for one answer", "Ask for less at a time."
    ),
    Code.CANCELLED.value: Meaning(
        502, "the command was stopped by its caller", "Look on the server what it has done until then."
    ),
    Code.TIMEOUT.value: Meaning(
        502,
        "the command took longer than its `timeout` and was killed on the node",
        "Give it more `timeout`.",
    ),
    Code.GAP.value: Meaning(502, "a stream lost bytes", "Try again."),
    Code.WINDOW.value: Meaning(
        502, "a stream was sent more than it took", "This is a fault of the agent or the panel."
    ),
    Code.PROTOCOL.value: Meaning(
        502,
        "the agent and the panel do not understand each other",
        "Install the agent of the panel's version.",
    ),
}

RETRY_AFTER: Final = {503: 5, 429: 60}  # seconds, where nobody knows better
UNKNOWN_OUTCOME: Final = frozenset(code.value for code in UNKNOWN_OUTCOME_CODES)
