"""How a command ends: the numbers scripts rely on, and which error means which."""

from enum import IntEnum

from agent_client.protocol.codes import Code
from servers.errors import CommandError


class Exit(IntEnum):
    """Exit codes; `run` with one node gives the remote exit code instead, and OWN_FAILURE for failures of ours."""

    DONE = 0
    FAILED = 1  # some or all targets
    USAGE = 2
    NO_SUCH_SERVER = 3
    OFFLINE = 4
    TIMED_OUT = 5
    REFUSED = 6  # by a permission, by the node's policy, or because the server is suspended
    TRANSFER = 7  # broken, or the hash differs
    NO_LAYER = 8  # the panel, or its workers that hold the tunnels, cannot be reached
    INTERRUPTED = 130
    OWN_FAILURE = 255


class Failure(Exception):
    """A command cannot go on: one sentence for stderr, and the exit code."""

    def __init__(self, sentence: str, code: Exit) -> None:
        super().__init__(sentence)
        self.code = code


_OF_CODE = {
    Code.NOT_CONNECTED.value: Exit.OFFLINE,
    Code.DISCONNECTED.value: Exit.OFFLINE,
    Code.NO_REPLY.value: Exit.TIMED_OUT,
    Code.NOT_SENT.value: Exit.TIMED_OUT,
    Code.TIMEOUT.value: Exit.TIMED_OUT,
    Code.FORBIDDEN.value: Exit.REFUSED,
    Code.PERMISSION_DENIED.value: Exit.REFUSED,
    Code.REVOKED.value: Exit.REFUSED,
    Code.BUS_UNAVAILABLE.value: Exit.NO_LAYER,
    Code.RELAY_LOST.value: Exit.NO_LAYER,
    # words of the REST interface alone
    "not_permitted": Exit.REFUSED,
    "refused_by_node": Exit.REFUSED,
    "not_authenticated": Exit.REFUSED,
    "unavailable": Exit.NO_LAYER,
}


def of_code(code: str) -> Exit:
    """Return the exit code for the code of an error."""
    return _OF_CODE.get(code, Exit.FAILED)


def of_error(error: CommandError) -> Exit:
    """Return the exit code of a command that failed."""
    return of_code(error.code)
