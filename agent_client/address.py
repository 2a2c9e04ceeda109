"""Where a master listens: the forms people write, and the one WebSocket address they mean."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from agent_client.protocol.handshake import PATH

SCHEMES = {"wss": True, "https": True, "ws": False, "http": False}  # True: encrypted
USUAL_PORTS = {True: 443, False: 80}

_PATH = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@%/]*")
_NAME = re.compile(
    r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*"
)  # RFC 1035 §2.3.4, with the underscore people use


class WrongAddress(ValueError):
    """Text that names no master; the sentence goes behind the name of the setting."""


@dataclass(frozen=True)
class Address:
    """One WebSocket address of a master."""

    secure: bool
    host: str
    port: int
    path: str

    @property
    def url(self) -> str:
        """The address as text; a usual port is left out."""
        scheme = "wss" if self.secure else "ws"
        port = "" if self.port == USUAL_PORTS[self.secure] else f":{self.port}"
        return f"{scheme}://{bracketed(self.host)}{port}{self.path}"

    @property
    def loopback(self) -> bool:
        """Tell whether the address stays on this machine."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def bracketed(host: str) -> str:
    """Return `host` as URLs and HTTP write it: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def panel_address(text: str) -> Address:
    """Read the address of a panel (MASTER_URL): the path of the tunnel is added where it is missing.

    Raises:
        WrongAddress: it is not the address of a web server.
    """
    parts, secure = _split(text)
    path = parts.path.rstrip("/")
    if path.rsplit("/", 1)[-1] != PATH.strip("/"):
        path += PATH
    return _address(parts, secure, path)


def exact_address(text: str) -> Address:
    """Read the address of the tunnel itself (MASTER_TUNNEL_URL): the path stays as it stands.

    Raises:
        WrongAddress: it is not the address of a web server.
    """
    parts, secure = _split(text)
    return _address(parts, secure, parts.path or "/")


def _split(text: str) -> tuple[SplitResult, bool]:
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - reading it checks it
    except ValueError as exc:
        raise WrongAddress(f"is no URL ({exc})") from exc
    if parts.scheme.lower() not in SCHEMES or not text.lower().startswith(f"{parts.scheme.lower()}://"):
        raise WrongAddress("must begin with wss:// or https://")
    for part, name in (
        ("@" in parts.netloc, "a user name"),
        ("?" in text, "a query"),
        ("#" in text, "a fragment"),
    ):
        if part:
            raise WrongAddress(f"must not hold {name}")
    return parts, SCHEMES[parts.scheme.lower()]


def _address(parts: SplitResult, secure: bool, path: str) -> Address:
    port = parts.port
    if port == 0:
        raise WrongAddress("names port 0")
    if not _PATH.fullmatch(path):
        raise WrongAddress("has a path with characters that must be percent-encoded")
    return Address(secure, _host(parts), port or USUAL_PORTS[secure], path)


def _host(parts: SplitResult) -> str:
    host = (parts.hostname or "").rstrip(".")
    if not host:
        raise WrongAddress("names no host")
    if ":" in host:
        return host
    try:
        name = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError as exc:
        raise WrongAddress("names no host that can exist") from exc
    if not _NAME.fullmatch(name):
        raise WrongAddress("names no host that can exist")
    return name
