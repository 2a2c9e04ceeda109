"""The HTTP proxy a node may need to reach its master: which one, and how to ask it for a connection."""

import base64
import os
from dataclasses import dataclass
from typing import Optional
from urllib.parse import unquote, urlsplit

from agent_client.address import Address, bracketed

USUAL_PORT = 3128
LARGEST_ANSWER = 16 * 1024  # bytes of a proxy's answer to CONNECT


class WrongProxy(Exception):
    """The environment names a proxy the agent cannot use, or the proxy refused."""


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy; `authorization` is the value of the header, or None."""

    host: str
    port: int
    authorization: Optional[str] = None


def proxy_for(address: Address) -> Optional[Proxy]:
    """Return the proxy the environment names for a master: https_proxy or http_proxy, unless no_proxy says no.

    Raises:
        WrongProxy: what it names is no HTTP proxy.
    """
    name = "https" if address.secure else "http"
    if address.loopback or not any(variable.lower() == f"{name}_proxy" for variable in os.environ):
        return None
    import urllib.request  # it brings in HTTP and e-mail, 4 MiB that most agents never need

    value = urllib.request.getproxies_environment().get(name)
    if not value or urllib.request.proxy_bypass(address.host):
        return None
    return _parse(f"{name}_proxy", value)


def _parse(name: str, value: str) -> Proxy:
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        host, port = parts.hostname, parts.port or USUAL_PORT
    except ValueError as exc:
        raise WrongProxy(f"{name} is no URL") from exc
    if parts.scheme != "http" or not host:
        raise WrongProxy(f"{name} names no http:// proxy, the agent can use no other kind")
    if parts.username is None:
        return Proxy(host, port)
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return Proxy(host, port, f"Basic {base64.b64encode(login.encode()).decode()}")


def connect_request(proxy: Proxy, address: Address) -> bytes:
    """Return the request that asks a proxy for a connection to `address` (RFC 9110 §9.3.6)."""
    target = f"{bracketed(address.host)}:{address.port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.authorization is not None:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def check_answer(answer: bytes) -> None:
    """Judge the header of a proxy's answer.

    Raises:
        WrongProxy: it is no success.
    """
    words = answer.split(b"\r\n", 1)[0].decode("latin-1").split(None, 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
        raise WrongProxy("the proxy does not speak HTTP")
    if words[1] == "407":
        raise WrongProxy("the proxy wants a user name and a password (407), write them into its URL")
    if not words[1].startswith("2"):
        raise WrongProxy(f"the proxy refused the connection with status {words[1]}")
