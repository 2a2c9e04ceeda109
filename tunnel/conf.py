"""Settings of the tunnel: flat `TUNNEL_*` names in Django's settings, all optional, read on access.

from tunnel.conf import settings
settings.HEARTBEAT        # django.conf.settings.TUNNEL_HEARTBEAT, or the default below
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

PREFIX = "TUNNEL_"
UNIX = "unix"  # among the trusted proxies: one that connects over a unix socket, which has no address


def _wrong_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        fits = parts.scheme in ("https", "wss", "http", "ws") and bool(parts.hostname)
    except ValueError:
        fits = False
    return "" if fits or not value else f"is {value!r}, which is no address such as https://panel.example.org"


def _wrong_proxy(value: list[Any]) -> str:
    for proxy in value:
        try:
            proxy == UNIX or ipaddress.ip_network(proxy, strict=False)
        except ValueError:
            return f"holds {proxy!r}, which is no address, no network and not {UNIX!r}"
    return ""


@dataclass(frozen=True)
class Setting:
    """One knob: its type is that of its default; numbers lie between `least` and `most`.

    `problem` says of a value of the right type what is wrong with it, or nothing.
    """

    default: Any
    purpose: str
    least: float | None = None
    most: float | None = None
    problem: Callable[[Any], str] = lambda _value: ""

    def check(self, name: str, value: Any) -> Any:
        """Return the value.

        Raises:
            ImproperlyConfigured: it has the wrong type, lies outside its bounds, or cannot be used; it is named.
        """
        wanted = type(self.default)
        if wanted is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if wanted is list and isinstance(value, tuple):
            value = list(value)
        if not isinstance(value, wanted) or (wanted is not bool and isinstance(value, bool)):
            raise ImproperlyConfigured(
                f"{name} must be of type {wanted.__name__}, not {type(value).__name__}"
            )
        if self.least is not None and value < self.least:
            raise ImproperlyConfigured(f"{name} must be at least {self.least:g}, not {value:g}")
        if self.most is not None and value > self.most:
            raise ImproperlyConfigured(f"{name} must be at most {self.most:g}, not {value:g}")
        problem = self.problem(value)
        if problem:
            raise ImproperlyConfigured(f"{name} {problem}")
        return value


DEFAULTS: dict[str, Setting] = {
    "PUBLIC_URL": Setting(
        "",
        "Where agents reach the panel, like https://panel.example.org; shown in the lines to copy.",
        problem=_wrong_url,
    ),
    "TLS_ONLY": Setting(
        False,
        "True states that every listener of this panel speaks TLS, for servers that do not tell the scheme.",
    ),
    "TRUSTED_PROXIES": Setting(
        [],
        "Addresses or networks of the proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.",
        problem=_wrong_proxy,
    ),
    "PING": Setting(8.0, "Seconds between the pings of an agent.", 1, 300),
    "SILENCE": Setting(18.0, "Seconds without a byte after which the other side counts as dead.", 2, 900),
    "HEARTBEAT": Setting(30.0, "Seconds between fresh figures of a node.", 1, 3600),
    "REFUSAL_DELAY": Setting(
        1.0, "Seconds after its request at which every refused handshake is answered.", 0, 10
    ),
    "DRAIN": Setting(
        5.0, "Seconds a stopping worker waits for running commands before its server's own stop.", 0, 60
    ),
    "RECONNECT_SPREAD": Setting(
        5.0,
        "Seconds over which the agents of a stopping worker spread their reconnects at most; 100 a second need no more.",
        0,
        300,
    ),
    "API_READS_A_MINUTE": Setting(
        600, "REST requests that only read, a person and minute; 0 for no limit.", 0, 100_000
    ),
    "API_COMMANDS_A_MINUTE": Setting(
        120,
        "REST requests that run or change something, a person and minute; 0 for no limit.",
        0,
        100_000,
    ),
    "SECOND_FACTOR": Setting(
        0.0,
        "Seconds for which a second factor lets a person run commands and open shells; 0 asks for none.",
        0,
        86400,
    ),
    "METRICS_TOKEN": Setting(
        "", "Whoever shows it as `Authorization: Bearer` may read /tunnel/metrics; at least 16 characters."
    ),
    "METRICS_TOKEN_FILE": Setting("", "A file that holds it, instead of TUNNEL_METRICS_TOKEN."),
    "METRICS_ALLOW": Setting([], "Addresses or networks that may read /tunnel/metrics without the token."),
    "KEEP_SESSIONS": Setting(90, "Days an ended session stays in the history.", 1, 3650),
    "KEEP_SAMPLES": Setting(
        3, "Hours the figures of charts stay; each server makes one row a heartbeat.", 1, 168
    ),
    "KEEP_COMMANDS": Setting(90, "Days a finished command stays in the history.", 1, 3650),
    "RECORD_SHELLS": Setting(True, "Whether what shells write is recorded; never what is typed."),
    "RECORDING_MOST": Setting(
        64, "MiB of a recording's file, at which it ends while the shell goes on.", 1, 10_240
    ),
    "KEEP_RECORDINGS": Setting(30, "Days the file of an ended recording is kept.", 1, 3650),
    "ALERT_AFTER": Setting(5.0, "Minutes a node is away before somebody is told; 0 tells nobody.", 0, 10080),
    "ALERT_EMAILS": Setting([], "Mail addresses that are told."),
    "ALERT_WEBHOOK": Setting("", "An https:// address that is told by POST, see docs/alerts.md."),
    "ALERT_WEBHOOK_SECRET": Setting("", "Signs what is posted there; at least 16 characters."),
    "ALERT_WEBHOOK_SECRET_FILE": Setting("", "A file that holds this secret, instead."),
}


class Settings:
    """Reads `TUNNEL_<NAME>` when asked for `<NAME>`."""

    def __getattr__(self, name: str) -> Any:
        try:
            setting = DEFAULTS[name]
        except KeyError:
            raise AttributeError(name) from None
        return setting.check(PREFIX + name, getattr(django_settings, PREFIX + name, setting.default))


settings = Settings()
