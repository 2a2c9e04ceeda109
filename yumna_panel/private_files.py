"""Files and folders that only this user may read, made without a moment in which others could."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


def ensure_private_folder(path: Path) -> Path:
    """Make the folder, for its owner only, and return it; one that stands already keeps its rights."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def write_private(path: Path, content: str | bytes) -> None:
    """Put the content in place in one step; a reader finds the old content or the new one."""
    draft = _draft_beside(path, content)
    draft.replace(path)


def write_private_once(path: Path, content: str | bytes) -> str:
    """Write the file unless it is there, and return what it holds: of two writers at once the first wins."""
    draft = _draft_beside(path, content)
    with contextlib.suppress(FileExistsError):  # somebody was first: theirs counts
        os.link(draft, path)
    draft.unlink()
    return path.read_text(encoding="utf-8")


def _draft_beside(path: Path, content: str | bytes) -> Path:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # 0600, O_EXCL
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content.encode() if isinstance(content, str) else content)
    return Path(name)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold the lock file, waiting for it; it is freed when the block or this process ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def try_lock(path: Path) -> int | None:
    """Take the lock file and return its descriptor, or nothing when another process holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
