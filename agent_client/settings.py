"""The agent's settings, from the environment and `.env` files; a wrong one is one sentence and exit 2."""

import os
import ssl
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

from agent_client import env_file
from agent_client.address import Address, WrongAddress, exact_address, panel_address
from agent_client.protocol.handshake import valid_agent_id, valid_secret

SYSTEM_FILE = Path("/etc/yumna-agent/agent.env")
LOCAL_FILE = Path(".env")
USUAL_SHELL_KEEP = 1800  # seconds; a laptop that was closed for a lunch finds its shell again
LONGEST_SHELL_KEEP = 7 * 86_400  # seconds; longer is what tmux and services are for
MOST_MASTERS = 16  # more are a mistake, and a round through them would take minutes


class WrongSetting(Exception):
    """A setting that is wrong or missing, in one sentence."""


@dataclass(frozen=True)
class Setting:
    """One line of the table of settings."""

    name: str
    default: str
    meaning: str


TABLE = (
    Setting("CONNECTION_MODE", "tunnel", "how the agent is reached; tunnel is the only mode"),
    Setting("MASTER_URL", "", "address of the panel; several, separated by commas, are tried in turn"),
    Setting("MASTER_TUNNEL_URL", "", "exact address of the tunnel, used instead of MASTER_URL"),
    Setting("AGENT_ID", "", "the id the panel shows for this server"),
    Setting("AGENT_SECRET", "", "the secret the panel showed once"),
    Setting("AGENT_SECRET_FILE", "", "file that holds the secret, instead of AGENT_SECRET"),
    Setting("MASTER_CA_FILE", "", "certificates (PEM) to trust instead of the system's"),
    Setting("ALLOW_INSECURE", "0", "1 allows ws:// to a master on this machine"),
    Setting("SHELL_KEEP", "1800", "seconds a shell goes on while nobody looks at it"),
    Setting(
        "SHELL_USER", "", "whose shells are opened when the agent runs as root; the agent's own without it"
    ),
)
NAMES = frozenset(setting.name for setting in TABLE)
SWITCHES = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


@dataclass(frozen=True)
class Settings:
    """What the agent was told; `warnings` are sentences for the log."""

    connection_mode: str
    masters: tuple[Address, ...]
    agent_id: str
    secret: str = field(repr=False)
    ca_file: Optional[str] = None
    allow_insecure: bool = False
    shell_keep: float = USUAL_SHELL_KEEP
    shell_user: Optional[str] = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Source:
    """Where values came from, for sentences."""

    name: str
    values: Mapping[str, str]


class _Values:
    """The values of all sources; the first source that has a name decides."""

    def __init__(self, sources: list[_Source], unreadable: list[str]) -> None:
        self._sources = sources
        self._unreadable = unreadable
        self.warnings: list[str] = []

    def get(self, name: str) -> str:
        for source in self._sources:
            if source.values.get(name):
                return source.values[name].strip()
        return ""

    def needed(self, *names: str) -> WrongSetting:
        hint = "".join(f"; {sentence}" for sentence in self._unreadable)
        return WrongSetting(f"{' or '.join(names)} is not set: put it in the environment or in .env{hint}")


def load(
    environment: Mapping[str, str],
    *,
    file: Optional[Path] = None,
    local_file: Path = LOCAL_FILE,
    system_file: Path = SYSTEM_FILE,
) -> Settings:
    """Read the settings: the environment wins over `./.env`, that over `file`, that over `/etc`.

    Raises:
        WrongSetting: one is wrong or missing.
    """
    values = _read(environment, file, local_file, system_file)
    mode = values.get("CONNECTION_MODE") or "tunnel"
    if mode != "tunnel":
        raise WrongSetting(f"CONNECTION_MODE is {mode!r}, but this agent knows only 'tunnel'")
    allow_insecure = _switch(values, "ALLOW_INSECURE")
    return Settings(
        connection_mode=mode,
        masters=_masters(values, allow_insecure),
        agent_id=_agent_id(values),
        secret=_secret(values),
        ca_file=_ca_file(values),
        allow_insecure=allow_insecure,
        shell_keep=_seconds(values, "SHELL_KEEP", USUAL_SHELL_KEEP, LONGEST_SHELL_KEEP),
        shell_user=values.get("SHELL_USER") or None,
        warnings=tuple(values.warnings),
    )


def _read(environment: Mapping[str, str], file: Optional[Path], local: Path, system: Path) -> _Values:
    sources = [_Source("the environment", environment)]
    unreadable: list[str] = []
    for path in (local, file, system):
        if path is None:
            continue
        try:
            sources.append(_read_file(path))
        except OSError as exc:
            if path is file:
                raise WrongSetting(f"{path} cannot be read: {exc.strerror}") from exc
            if not isinstance(exc, FileNotFoundError):
                unreadable.append(f"{path} cannot be read: {exc.strerror}")
    return _Values(sources, unreadable)


def _read_file(path: Path) -> _Source:
    with path.open("rb") as opened:
        content = opened.read(env_file.LARGEST)
    try:
        return _Source(str(path), env_file.parse(content.decode("utf-8", "replace"), NAMES))
    except env_file.WrongLine as exc:
        raise WrongSetting(f"{path}: {exc}") from exc


def _switch(values: _Values, name: str) -> bool:
    text = values.get(name).lower() or "0"
    if text not in SWITCHES:
        raise WrongSetting(f"{name} is {text!r}, expected 1 or 0")
    return SWITCHES[text]


def _seconds(values: _Values, name: str, usual: int, longest: int) -> float:
    text = values.get(name) or str(usual)
    if not (text.isascii() and text.isdigit()) or int(text) > longest:
        raise WrongSetting(f"{name} is {text!r}, expected 0 to {longest} seconds")
    return float(text)


def _masters(values: _Values, allow_insecure: bool) -> tuple[Address, ...]:
    name = "MASTER_TUNNEL_URL" if values.get("MASTER_TUNNEL_URL") else "MASTER_URL"
    parse: Callable[[str], Address] = exact_address if name == "MASTER_TUNNEL_URL" else panel_address
    texts = [text.strip() for text in values.get(name).split(",") if text.strip()]
    if not texts:
        raise values.needed("MASTER_URL")
    if len(texts) > MOST_MASTERS:
        raise WrongSetting(f"{name} names {len(texts)} masters, at most {MOST_MASTERS} can be tried in turn")
    found: list[Address] = []
    for text in texts:
        address = _master(name, text, parse, allow_insecure)
        if address not in found:
            found.append(address)
    return tuple(found)


def _master(name: str, text: str, parse: Callable[[str], Address], allow_insecure: bool) -> Address:
    try:
        address = parse(text)
    except WrongAddress as exc:
        shown = text if "@" not in text else "the address"  # what stands before an @ may be a password
        raise WrongSetting(f"{name}: {shown} {exc}") from exc
    if address.secure:
        return address
    if not address.loopback:
        raise WrongSetting(f"{name}: {text} is not encrypted, use wss:// or https://")
    if not allow_insecure:
        raise WrongSetting(
            f"{name}: {text} is not encrypted, use wss:// or set ALLOW_INSECURE=1 to try it here"
        )
    return address


def _agent_id(values: _Values) -> str:
    agent_id = values.get("AGENT_ID")
    if not agent_id:
        raise values.needed("AGENT_ID")
    if not valid_agent_id(agent_id):
        raise WrongSetting(
            f"AGENT_ID is {agent_id!r}, expected 3 to 64 letters, digits, dots, dashes or underscores, "
            "a letter or digit first"
        )
    return agent_id


def _secret(values: _Values) -> str:
    secret, path = values.get("AGENT_SECRET"), values.get("AGENT_SECRET_FILE")
    if secret and path:
        raise WrongSetting("AGENT_SECRET and AGENT_SECRET_FILE are both set, remove one of them")
    if not secret and not path:
        raise values.needed("AGENT_SECRET", "AGENT_SECRET_FILE")
    name = "AGENT_SECRET"
    if path:
        name, secret = f"the secret in {path}", _secret_from(path, values)
    if not valid_secret(secret.encode("utf-8", "surrogateescape")):
        raise WrongSetting(f"{name} is not 1 to 256 printable ASCII characters")
    return secret


def _secret_from(path: str, values: _Values) -> str:
    try:
        with Path(path).open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            content = opened.read(env_file.LARGEST)
    except OSError as exc:
        raise WrongSetting(f"AGENT_SECRET_FILE: {path} cannot be read: {exc.strerror}") from exc
    if stat.S_ISREG(mode) and mode & (stat.S_IRGRP | stat.S_IROTH):
        values.warnings.append(f"{path} can be read by other users, run: chmod 600 {path}")
    return content.decode("utf-8", "replace").strip("\r\n")


def _ca_file(values: _Values) -> Optional[str]:
    path = values.get("MASTER_CA_FILE")
    if not path:
        return None
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError as exc:
        raise WrongSetting(f"MASTER_CA_FILE: {path} holds no certificate in PEM form") from exc
    except OSError as exc:
        raise WrongSetting(f"MASTER_CA_FILE: {path} cannot be read: {exc.strerror}") from exc
    return str(Path(path).resolve())
