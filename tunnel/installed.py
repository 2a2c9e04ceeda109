"""Refuses to load what a panel includes of the tunnel while the apps themselves are not installed."""

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

APPS_LINE = 'INSTALLED_APPS = ["daphne", ..., "servers", "tunnel"]'


def require(*names: str) -> None:
    """Check that these apps are installed.

    Raises:
        ImproperlyConfigured: one is not; without this the models would fail with a sentence that names no line.
    """
    missing = [name for name in names if not apps.is_installed(name)]
    if missing:
        listed = " and ".join(f"`{name}`" for name in missing)
        plural = "apps are" if len(missing) > 1 else "app is"
        raise ImproperlyConfigured(
            f"{listed}: the {plural} not installed, so the tunnel cannot work; in settings.py: {APPS_LINE}"
        )
