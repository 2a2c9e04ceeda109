"""How a shell ended, in words and exit codes, as the panel tells it."""

from typing import Any, Final

from tunnel.cli import exits
from tunnel.cli.exits import Exit, Failure

SIGNAL_BASE: Final = 128  # a program ended by signal n counts as exit code 128 + n, as in a shell

# Of an ending before there was a shell: words of the panel, whose codes `exits` does not know.
_REFUSED: Final = frozenset({"not_allowed", "suspended", "second_factor", "logged_out"})
WORDS: Final = {
    "not_connected": "the server is not connected, start its agent or wait until it is back",
    "not_allowed": "you may not open shells on this server, ask for this permission",
    "suspended": "this server is suspended, reactivate it first",
    "second_factor": "confirm with your second factor first",
    "logged_out": "this token is worth nothing any more",
    "deleted": "this server was deleted",
    "revoked": "the right to this shell is gone",
    "too_many_terminals": "you have too many terminals open, close one",
    "too_many_shells": "you have too many shells open on this server, end one",
    "not_found": "there is no such shell on this server",
    "gone": "the shell is gone: the agent was restarted, or nobody had it open for too long",
    "closed": "the shell was ended from the panel",
    "disconnected": "the tunnel was lost, and the shell ended with it",
    "relay_lost": "the way between two workers of the panel was lost, and the shell ended with it",
    "unknown_action": "this node's agent has no shells without a terminal, update it",
}


def exit_code(said: dict[str, Any], name: str, *, began: bool) -> int:
    """Return the exit code of a shell that ended so; `began` says whether there was one at all.

    Raises:
        Failure: it was not its program's end.
    """
    why, code = str(said.get("why")), said.get("exit")
    if why == "exited" and isinstance(code, int):
        return SIGNAL_BASE - code if code < 0 else min(code, Exit.OWN_FAILURE)
    raise failure(said, name, began=began)


def failure(said: dict[str, Any], name: str, *, began: bool, usual: str = "the shell ended") -> Failure:
    """Return why there is no shell, or none any more."""
    why = str(said.get("why"))
    sentence = said.get("text") or WORDS.get(why) or f"{usual}: {why}"
    return Failure(f"{name}: {sentence}", _exit(why, began=began))


def _exit(why: str, *, began: bool) -> Exit:
    if began:
        return Exit.OWN_FAILURE
    return Exit.REFUSED if why in _REFUSED else exits.of_code(why)
