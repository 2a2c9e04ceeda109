"""The words for states and reasons: in English whatever the panel speaks, so that scripts may read them."""

from typing import Final

from tunnel.cli.facts import Node, Refused

# Of each value of `tunnel.presence.State`: its words, and the colour they are shown in.
STATES: Final = {
    "active": ("Tunnel Active", "green"),
    "reconnecting": ("Reconnecting…", "blue"),
    "offline": ("Offline", "red"),
    "never": ("Never connected", "grey"),
    "suspended": ("Suspended", "yellow"),
    "direct": ("Direct", "grey"),
}

# Of each value of `tunnel.models.CloseReason`.
REASONS: Final = {
    "agent_stopped": "the agent was stopped",
    "network_lost": "the connection was cut",
    "silent": "the node fell silent",
    "replaced": "a newer connection with the same agent id took over",
    "revoked": "suspended, secret rotated, or connection type changed",
    "no_hello": "the agent did not introduce itself",
    "rubbish": "the agent broke the protocol",
    "disconnected": "somebody disconnected it in the panel",
    "worker_restart": "the panel's worker was restarted",
    "worker_lost": "the panel's worker died",
    "internal": "the panel had an internal error",
}


# Of each value of `tunnel.models.RefusalReason`.
REFUSALS: Final = {
    "wrong_secret": "wrong secret",
    "suspended": "the server is suspended",
    "no_tunnel": "the connection type is not tunnel",
    "not_secure": "the connection is not secure",
    "too_many": "too many failed attempts from this address",
    "changed": "the server was changed at that moment",
}


def of_state(node: Node) -> tuple[str, str]:
    """Return the words of a node's state and their colour; a newer panel may have states unknown here."""
    return STATES.get(node.state, (node.state, ""))


def of_close(node: Node) -> str:
    """Return in words why the last session ended; empty when there is none."""
    return REASONS.get(node.close_reason, node.close_reason)


def of_refusal(refused: Refused) -> str:
    """Return in words why and from where handshakes were refused."""
    reason = REFUSALS.get(refused.reason, refused.reason)
    often = f", {refused.times} times" if refused.times > 1 else ""
    return f"{reason}, from {refused.address or 'here'}{often}"
