"""What both sides agree on before the first message (docs/protocol.md §1)."""

import re

PATH = "/tunnel"
SUBPROTOCOL = "yumna.tunnel.v1"
CHECK_SUBPROTOCOL = "yumna.tunnel.check.v1"  # a handshake that is only tried: it claims no session
ID_HEADER = "X-Agent-ID"
SECRET_HEADER = "X-Agent-Secret"  # noqa: S105 - the name of a header
MAX_SECRET_BYTES = 256

_AGENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,63}")


def valid_agent_id(text: str) -> bool:
    """Tell whether `text` has the shape of an agent id: 3 to 64 letters, digits, dots, dashes, underscores."""
    return _AGENT_ID.fullmatch(text) is not None


def valid_secret(secret: bytes) -> bool:
    """Tell whether `secret` could be one: 1 to 256 printable ASCII bytes without spaces at the ends."""
    if not 1 <= len(secret) <= MAX_SECRET_BYTES:
        return False
    return all(0x20 <= byte < 0x7F for byte in secret) and secret == secret.strip()
