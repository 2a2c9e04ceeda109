"""How to show a proxy who asks: name and password stand in its URL, percent-encoded."""

import base64
from urllib.parse import unquote, urlsplit


def authorization(proxy: str) -> str:
    """Return the value of Proxy-Authorization, empty for a proxy that asks nobody."""
    parts = urlsplit(proxy)
    if not parts.username:
        return ""
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return f"Basic {base64.b64encode(login.encode()).decode()}"
