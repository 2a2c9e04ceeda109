"""TUNNEL_* variables: read as the types `tunnel.conf` declares, unknown names refused."""

from difflib import get_close_matches
from typing import Any

from tunnel.conf import DEFAULTS, PREFIX
from yumna_panel.environment import BadSetting, Environment, parse_like


def tunnel_settings(environment: Environment) -> dict[str, Any]:
    """Return the tunnel's settings that the environment sets.

    Raises:
        ImproperlyConfigured: a name the tunnel does not know, a value of the wrong type, or one out of bounds.
    """
    names = [name for name in environment.values if name.startswith(PREFIX) and environment.is_set(name)]
    return {name: _value(name, environment.values[name]) for name in names}


def _value(name: str, text: str) -> Any:
    setting = DEFAULTS.get(name.removeprefix(PREFIX))
    if setting is None:
        raise BadSetting(name, f"is no setting of the tunnel{_nearest(name)}; docs/settings.md lists them")
    return setting.check(name, parse_like(name, text, setting.default))


def _nearest(name: str) -> str:
    nearest = get_close_matches(name, [PREFIX + known for known in DEFAULTS], n=1)
    return f", did you mean {nearest[0]}" if nearest else ""
