"""Settings of the tunnel: flat `TUNNEL_*` names in Django's settings, all optional, read on access.

from tunnel.conf import settings
settings.HEARTBEAT        # django.conf.settings.TUNNEL_HEARTBEAT, or the default below
"""

from dataclasses import dataclass
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

PREFIX = "TUNNEL_"


@dataclass(frozen=True)
class Setting:
    """One knob: its type is that of its default; numbers lie between `least` and `most`."""

    default: Any
    purpose: str
    least: float | None = None
    most: float | None = None

    def check(self, name: str, value: Any) -> Any:
        """Return the value.

        Raises:
            ImproperlyConfigured: it has the wrong type or lies outside its bounds; the setting is named.
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
        return value


DEFAULTS: dict[str, Setting] = {
    "PUBLIC_URL": Setting(
        "", "Where agents reach the panel, like https://panel.example.org; shown in the lines to copy."
    ),
    "TLS_ONLY": Setting(
        False,
        "True states that every listener of this panel speaks TLS, for servers that do not tell the scheme.",
    ),
    "TRUSTED_PROXIES": Setting(
        [], "Addresses or networks of the proxies whose X-Forwarded-For and X-Forwarded-Proto are believed."
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
        5.0, "Seconds over which the agents of a stopping worker spread their reconnects.", 0, 300
    ),
    "KEEP_SESSIONS": Setting(90, "Days an ended session stays in the history.", 1, 3650),
    "KEEP_SAMPLES": Setting(
        3, "Hours the figures of charts stay; each server makes one row a heartbeat.", 1, 168
    ),
    "KEEP_COMMANDS": Setting(90, "Days a finished command stays in the history.", 1, 3650),
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
