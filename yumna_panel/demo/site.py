"""How the demo is served: plain HTTP on loopback, or HTTPS under a name for other machines."""

from __future__ import annotations

import errno
import ipaddress
import re
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from yumna_panel.demo.certificate import Certificate
from yumna_panel.environment import SECRET_KEY_LENGTH, BadSetting, Environment
from yumna_panel.private_files import write_private_once

LOOPBACK = "127.0.0.1"
HTTP_PORT, HTTPS_PORT = 8000, 8443
PORTS_TRIED = 100  # upwards from the first; a machine with so many taken wants a look by a person
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
HOST_NAME = re.compile(
    rf"(?=.{{1,253}}$)(?:{LABEL}\.)*(?=.*[A-Za-z]){LABEL}"
)  # a letter: 10.0.0 is a mistyped address


class BadHost(ValueError):
    """What stands after HOST= is no name or address under which other machines reach this one."""

    def __init__(self, host: str) -> None:
        self.host = host
        super().__init__(host)

    def __str__(self) -> str:
        return (
            f"HOST={self.host!r} is no host name or IPv4 address; write what other machines reach this one by"
        )


class NoFreePort(Exception):
    """All the ports tried are taken."""

    def __init__(self, first: int) -> None:
        self.first = first
        super().__init__(first)

    def __str__(self) -> str:
        return f"ports {self.first} to {self.first + PORTS_TRIED - 1} are all taken; free one and try again"


@dataclass(frozen=True)
class Site:
    """Where the panel listens, and what browsers and agents call it; `host` is empty on loopback."""

    host: str
    port: int

    @property
    def bind(self) -> str:
        """Return the address to listen on."""
        return "0.0.0.0" if self.host else LOOPBACK  # noqa: S104 - asked for by HOST=

    @property
    def url(self) -> str:
        """Return the address for people, without a slash at its end."""
        return f"{'https' if self.host else 'http'}://{self.host or LOOPBACK}:{self.port}"

    @property
    def local_tunnel_url(self) -> str:
        """Return what the agent on this machine dials; the certificate holds that address too."""
        return f"{'wss' if self.host else 'ws'}://{LOOPBACK}:{self.port}"


def checked_host(host: str) -> str:
    """Return the host, or nothing for none.

    Raises:
        BadHost: it is neither a name nor an address of one machine.
    """
    if not host:
        return ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        fits = HOST_NAME.fullmatch(host) is not None
    else:
        fits = address.version == 4 and not address.is_unspecified
    if not fits:
        raise BadHost(host)
    return host


def free_port(bind: str, first: int) -> int:
    """Return the first port from `first` on that nobody listens on.

    Raises:
        NoFreePort: there is none among those tried.
    """
    for port in range(first, first + PORTS_TRIED):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((bind, port))
            except OSError as exc:
                if exc.errno != errno.EADDRINUSE:
                    raise
                continue
            return port
    raise NoFreePort(first)


def settings_for(site: Site, secret_key: Path) -> dict[str, str]:
    """Return the environment variables the site's settings need beside what the caller's environment holds.

    Raises:
        BadSetting: the caller switched DEBUG off, and there is no TLS.
    """
    environment = Environment.of_process()
    if not site.host:  # plain HTTP and ws, which the panel takes on loopback and with DEBUG alone
        if not environment.boolean("DEBUG", default=True):
            raise BadSetting(
                "DEBUG", "is off, and `make run` speaks plain HTTP: unset it, or `make run HOST=<name>`"
            )
        return {"DEBUG": "1", "ALLOWED_HOSTS": _hosts("localhost", LOOPBACK)}
    variables = {
        "DEBUG": "0",
        "ALLOWED_HOSTS": _hosts(site.host, "localhost", LOOPBACK),
        "SECURE_HSTS_SECONDS": "0",  # a browser would lock itself out of this name when the demo is gone
        "TUNNEL_PUBLIC_URL": site.url,
    }
    if not environment.is_set("SECRET_KEY", "SECRET_KEY_FILE"):
        write_private_once(secret_key, secrets.token_urlsafe(SECRET_KEY_LENGTH))
        variables["SECRET_KEY_FILE"] = str(secret_key)
    return variables


def _hosts(*needed: str) -> str:
    """The hosts the caller's environment names, and those by which the demo is reached."""
    named = Environment.of_process().hosts("ALLOWED_HOSTS", [])
    return ",".join(dict.fromkeys([*named, *needed]))


def tls_variables(certificate: Certificate) -> dict[str, str]:
    """Return the environment variables by which the web workers find their certificate."""
    return {"YUMNA_TLS_CERTIFICATE": str(certificate.chain), "YUMNA_TLS_KEY": str(certificate.key)}
