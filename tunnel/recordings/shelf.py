"""Where the files of recordings are: in a storage of Django's, in parts, because storages cannot append.

A part's name is new for every turn of writing, so that a worker that was held up and has lost its turn without
knowing overwrites nothing. What no row names is rubbish, and goes with its folder.
"""

import logging
import uuid
from contextlib import suppress
from typing import Final

from django.core.files.base import ContentFile
from django.core.files.storage import Storage, storages

from tunnel.conf import settings

ALIAS: Final = "tunnel_recordings"  # in STORAGES; where it is missing nothing is recorded
FOLDER: Final = "recordings"

log = logging.getLogger("tunnel.recordings")


def is_there() -> bool:
    """Tell whether this panel has a storage for recordings; the default one is often served to everybody."""
    return ALIAS in storages.backends


def wanted() -> bool:
    """Tell whether what shells write is recorded."""
    return bool(settings.RECORD_SHELLS) and is_there()


def storage() -> Storage:
    """Return the storage.

    Raises:
        InvalidStorageError: there is none.
    """
    return storages[ALIAS]


def put(recording: uuid.UUID, number: int, turn: int, data: bytes) -> str:
    """Store a part and return the name that the storage gave it."""
    return storage().save(f"{_folder(recording)}/{number:06d}-{turn}.cast", ContentFile(data))


def read(name: str) -> bytes:
    """Return a part.

    Raises:
        OSError: it is not there; storages elsewhere have errors of their own.
    """
    with storage().open(name, "rb") as file:
        data: bytes = file.read()
        return data


def remove(recording: uuid.UUID) -> None:
    """Delete all parts of a recording, and those that no row names."""
    place, folder = storage(), _folder(recording)
    with suppress(FileNotFoundError):
        for name in place.listdir(folder)[1]:
            place.delete(f"{folder}/{name}")
    with suppress(OSError):  # it is a folder only where files lie in folders
        place.delete(folder)


def _folder(recording: uuid.UUID) -> str:
    return f"{FOLDER}/{recording}"
