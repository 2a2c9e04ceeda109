"""The wire protocol as pure code: no socket, no thread, no clock, no Django; time comes in as an argument.

Both sides of the tunnel drive it. An I/O shell (the agent's link, the master's consumer) feeds what arrived
into a session and sends what the session has queued:

    session = AgentSession(facts, guard, now=now)        # or MasterSession(…)
    for event in session.receive_text(text, now, wall):  # typed events, see `events`
        ...
    while messages := session.to_send():                 # str or bytes, most urgent first
        ...
    session.tick(now)                                    # not later than session.next_tick()

Streams: a command is answered with `AgentSession.open_stream`, their frames become events; the master's session lets
frames pass between the agent and whoever owns a `Stream`, and reads no payloads.

`now` is seconds on the caller's own steady clock, `wall` is unix seconds. The rules are in docs/protocol.md.
"""

from agent_client.protocol.agent import AgentSession
from agent_client.protocol.codes import CloseCode, Code
from agent_client.protocol.errors import InvalidState, ProtocolError, TunnelError
from agent_client.protocol.master import MasterSession
from agent_client.protocol.streams import Stream

__all__ = [
    "AgentSession",
    "CloseCode",
    "Code",
    "InvalidState",
    "MasterSession",
    "ProtocolError",
    "Stream",
    "TunnelError",
]
