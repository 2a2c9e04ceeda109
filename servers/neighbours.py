"""Apps of the panel that bear our names: told in words, before Django or Python trips over them."""

from importlib.util import find_spec
from pathlib import Path

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

PAGE = "docs/existing-panel.md"


def refuse_namesake(label: str) -> None:
    """Refuse to start beside another app with this label; called while Django loads the app that has it.

    Raises:
        ImproperlyConfigured: there is one.
    """
    before = apps.app_configs.get(label)
    for other in [before] if before else _namesakes(label):
        raise ImproperlyConfigured(
            f"the app `{other.name}` of this panel has the label `{label}`, which is Yumna Tunnel's; give yours "
            f'another one, like label = "{other.name.replace(".", "_")}" in its AppConfig: {PAGE} says what else '
            "that needs"
        )


def refuse_other_package(name: str, marker: str) -> None:
    """Refuse to start when `import name` finds a package of the panel's own, one without the module `marker`.

    Raises:
        ImproperlyConfigured: it does.
    """
    spec = find_spec(name) if name in settings.INSTALLED_APPS else None
    if spec is None or spec.origin is None or Path(spec.origin).with_name(f"{marker}.py").exists():
        return
    raise ImproperlyConfigured(
        f"`import {name}` finds {Path(spec.origin).parent}, which is not Yumna Tunnel's package of this name; move "
        f"yours into the package of your project, {PAGE} says how"
    )


def _namesakes(label: str) -> list[AppConfig]:
    """Return the other apps that get this label later; those whose names do not show it Django tells of itself."""
    entries = [entry for entry in settings.INSTALLED_APPS if label in entry.split(".")[1:]]
    configs = [AppConfig.create(entry) for entry in entries]
    return [config for config in configs if config.label == label]
