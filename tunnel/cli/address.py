"""Where a panel answers."""

import ipaddress
import os
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from tunnel.cli.exits import Exit, Failure

ALLOW_INSECURE: Final = "YUMNA_ALLOW_INSECURE"
API: Final = "/api/tunnel/v1"
PORTS: Final = {"https": 443, "http": 80}


@dataclass(frozen=True)
class Address:
    """Where a panel answers; `path` is what stands before /api/ and /tunnel/, without a slash at its end."""

    scheme: str
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"

    @property
    def secure(self) -> bool:
        """Whether the way there is encrypted."""
        return self.scheme == "https"

    @property
    def loopback(self) -> bool:
        """Whether it is this machine."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse(url: str) -> Address:
    """Return the address that a person wrote.

    Raises:
        Failure: it is none, holds a password, or would send the token unencrypted.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError as exc:
        raise _wrong(f"it cannot be read: {exc}") from exc
    if parts.scheme not in PORTS or not parts.hostname:
        raise _wrong("write it like https://panel.example.org")
    if parts.username is not None or parts.password is not None:
        raise _wrong("it must not hold a name or a password, the token says who you are")
    if parts.query or parts.fragment or not url.isascii() or not url.strip().isprintable():
        raise _wrong("it must end with a plain path, or with none")
    made = Address(parts.scheme, parts.hostname, port or PORTS[parts.scheme], _prefix(parts.path))
    if not made.secure and not made.loopback and os.environ.get(ALLOW_INSECURE) != "1":
        sentence = f"{made} is not encrypted and would show the token to everybody on the way, use https://"
        raise Failure(f"{sentence} (or set {ALLOW_INSECURE}=1 in a network of your own)", Exit.USAGE)
    return made


def _prefix(path: str) -> str:
    """Take the interface's own path off, for people who paste it."""
    return path.rstrip("/").removesuffix(API).rstrip("/")


def _wrong(why: str) -> Failure:
    return Failure(f"the address of the panel is wrong: {why}", Exit.USAGE)
