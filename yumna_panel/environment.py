"""Typed readers of environment variables; a bad value is refused by name with one sentence."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from yumna_panel.private_files import ensure_private_folder

SECRET_KEY_LENGTH = 50  # characters; what Django's `check --deploy` asks for (security.W009)

ON = frozenset({"1", "true", "yes", "on"})
OFF = frozenset({"0", "false", "no", "off"})
# A name, a name with a leading dot (all below it), an address, or * for any.
HOST_PATTERN = re.compile(r"\*|\.?[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\]")


class BadSetting(ImproperlyConfigured):
    """An environment variable holds something this site cannot use; says which one and what it takes."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(name, reason)

    def __str__(self) -> str:
        return f"{self.name} {self.reason}"


@dataclass(frozen=True)
class Environment:
    """The environment of this process, read by type.

    An empty variable counts as unset, because that is what a line `NAME=` in a settings file means to people.
    Every reader raises BadSetting.
    """

    values: Mapping[str, str]

    @classmethod
    def of_process(cls) -> Environment:
        """Return the environment this process was started with."""
        return cls(os.environ)

    def is_set(self, *names: str) -> bool:
        """Tell whether any of these variables holds something."""
        return any(self.values.get(name) for name in names)

    def text(self, name: str, default: str = "") -> str:
        """Return the text as it stands."""
        return self.values.get(name) or default

    def boolean(self, name: str, *, default: bool) -> bool:
        """Return whether it is switched on (1, true, yes, on) or off (0, false, no, off)."""
        return parse_boolean(name, self.values[name]) if self.is_set(name) else default

    def integer(self, name: str, default: int, *, least: int = 0) -> int:
        """Return a whole number that is not below `least`."""
        return parse_integer(name, self.values[name], least=least) if self.is_set(name) else default

    def names(self, name: str, default: list[str]) -> list[str]:
        """Return the parts of a comma-separated list."""
        return parse_list(self.values[name]) if self.is_set(name) else default

    def choice(self, name: str, default: str, allowed: Mapping[str, object] | frozenset[str]) -> str:
        """Return one of the allowed words."""
        value = self.text(name, default)
        if value not in allowed:
            raise BadSetting(name, f"is {value!r}; it must be one of {', '.join(sorted(allowed))}")
        return value

    def hosts(self, name: str, default: list[str]) -> list[str]:
        """Return host names without scheme, port or path, as ALLOWED_HOSTS takes them."""
        hosts = self.names(name, default)
        for host in hosts:
            if not HOST_PATTERN.fullmatch(host):
                raise BadSetting(name, f"holds {host!r}; write host names only, without scheme, port or path")
        return hosts

    def origins(self, name: str) -> list[str]:
        """Return origins such as https://panel.example.com, as CSRF_TRUSTED_ORIGINS takes them."""
        origins = self.names(name, [])
        for origin in origins:
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or not parts.netloc or parts.path or parts.query:
                raise BadSetting(name, f"holds {origin!r}; write origins such as https://panel.example.com")
        return origins

    def url(self, name: str, schemes: tuple[str, ...]) -> str:
        """Return a URL of one of these schemes, or nothing when it is unset.

        The value is never repeated in the error: such a URL may hold a password.
        """
        value = self.text(name)
        if value:
            self._check_url(name, value, schemes)
        return value

    def _check_url(self, name: str, value: str, schemes: tuple[str, ...]) -> None:
        try:
            parts = urlsplit(value)
            port_is_fine = parts.port is None or parts.port > 0
        except ValueError as exc:
            raise BadSetting(name, "is not a URL; quote special characters in it as %XX") from exc
        if parts.scheme not in schemes or not port_is_fine or not (parts.netloc or parts.path.strip("/")):
            raise BadSetting(
                name, f"must be a URL that starts with {' or '.join(f'{s}://' for s in schemes)}"
            )

    def folder(self, name: str, default: Path) -> Path:
        """Return a folder of this user's alone, made when it is missing, in which we can write."""
        path = Path(self.text(name, str(default))).absolute()
        try:
            ensure_private_folder(path)
        except OSError as exc:
            raise BadSetting(name, f"is {str(path)!r}, which cannot be made: {exc.strerror}") from exc
        if not os.access(path, os.W_OK | os.X_OK):
            raise BadSetting(name, f"is {str(path)!r}, in which this user may not write")
        return path

    def secret(self, name: str, *, least: int = 0) -> str:
        """Return a secret from the variable, or from the file that the variable `<name>_FILE` names."""
        file_name = f"{name}_FILE"
        if self.is_set(name) and self.is_set(file_name):
            raise BadSetting(name, f"and {file_name} are both set; keep one of them")
        value, source = self.text(name), name
        if self.is_set(file_name):
            value, source = read_secret_file(file_name, Path(self.values[file_name])), file_name
        if value and len(value) < least:
            raise BadSetting(source, f"holds {len(value)} characters; it needs at least {least} random ones")
        return value


def read_secret_file(name: str, path: Path) -> str:
    """Return what the secret file holds, without the white space around it."""
    try:
        value = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not text"
        raise BadSetting(name, f"names {str(path)!r}, which cannot be read: {reason}") from exc
    if not value:
        raise BadSetting(name, f"names {str(path)!r}, which is empty")
    return value


def parse_boolean(name: str, value: str) -> bool:
    """Read a switch."""
    word = value.strip().lower()
    if word not in ON | OFF:
        raise BadSetting(name, f"is {value!r}; it must be 1 or 0 (true, yes, on; false, no, off)")
    return word in ON


def parse_integer(name: str, value: str, *, least: int | None = None) -> int:
    """Read a whole number."""
    try:
        number = int(value)
    except ValueError as exc:
        raise BadSetting(name, f"is {value!r}; it must be a whole number") from exc
    if least is not None and number < least:
        raise BadSetting(name, f"is {number}; it must be at least {least}")
    return number


def parse_number(name: str, value: str) -> float:
    """Read a finite number, such as a duration in seconds."""
    try:
        number = float(value)
    except ValueError as exc:
        raise BadSetting(name, f"is {value!r}; it must be a number") from exc
    if number != number or number in (float("inf"), float("-inf")):
        raise BadSetting(name, f"is {value!r}; it must be a finite number")
    return number


def parse_list(value: str) -> list[str]:
    """Read a comma-separated list."""
    return [part.strip() for part in value.split(",") if part.strip()]


def parse_like(name: str, value: str, example: object) -> object:
    """Read a value of the same type as `example` (switch, whole number, number, list or text)."""
    parsers: list[tuple[type, Callable[[], object]]] = [
        (bool, lambda: parse_boolean(name, value)),  # before int: a bool is one
        (int, lambda: parse_integer(name, value)),
        (float, lambda: parse_number(name, value)),
        (list, lambda: parse_list(value)),
        (tuple, lambda: tuple(parse_list(value))),
    ]
    for kind, parse in parsers:
        if isinstance(example, kind):
            return parse()
    return value
