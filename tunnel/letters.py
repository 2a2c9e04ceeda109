"""Letters between the processes of the master: what they hold, and the seal that keeps strangers out.

A letter is one message of the channel layer. It carries a batch of envelopes (JSON objects) over one *link*,
which is one direction between two processes; its number counts up by one, so that a lost letter is noticed.
An envelope may hold a frame of a stream: its bytes stand behind the JSON, as they are.
The seal is a keyed BLAKE2b over everything, the address included: a write to Redis runs no command.
"""

import hashlib
import hmac
import json
import struct
from dataclasses import dataclass
from typing import Any

from django.conf import settings

Envelope = dict[str, Any]

SEAL_BYTES = 32
MAX_ENVELOPES = 256  # in one letter; at 64 concurrent callers a letter holds 20 to 60
MAX_LETTER = 2 * 1024 * 1024  # bytes; a few replies of the largest size, far below what Redis takes
FRAME = "frame"  # the member of an envelope that is bytes; in the JSON stands their number
_HEAD = struct.Struct("!QQI")  # epoch, number, bytes of JSON
_ENCODER = json.JSONEncoder(separators=(",", ":"))  # `json.dumps` would make one for each letter


class ForgedLetter(Exception):
    """A letter whose seal is not ours, or that is none."""


@dataclass(frozen=True)
class Letter:
    """`epoch` numbers the links a sender opened to one address, `number` the letters on a link, from 1."""

    sender: str
    epoch: int
    number: int
    envelopes: list[Envelope]


def seal(letter: Letter, address: str) -> bytes:
    """Return the sealed bytes of a letter to `address`."""
    frames = [envelope[FRAME] for envelope in letter.envelopes if FRAME in envelope]
    told = [_without_bytes(envelope) for envelope in letter.envelopes] if frames else letter.envelopes
    text = _ENCODER.encode([letter.sender, told]).encode()
    rest = b"".join([_HEAD.pack(letter.epoch, letter.number, len(text)), text, *frames])
    return _mac(rest, address) + rest


def unseal(data: object, address: str) -> Letter:
    """Return the letter that was sent to `address`.

    Raises:
        ForgedLetter: nobody who knows our key sent these bytes to this address.
    """
    if not isinstance(data, bytes) or len(data) < SEAL_BYTES + _HEAD.size:
        raise ForgedLetter("too short to be a letter")
    rest = memoryview(data)[SEAL_BYTES:]
    if not hmac.compare_digest(data[:SEAL_BYTES], _mac(rest, address)):
        raise ForgedLetter("the seal does not fit")
    epoch, number, length = _HEAD.unpack_from(rest)
    frames = _HEAD.size + length
    sender, envelopes = json.loads(bytes(rest[_HEAD.size : frames]))
    for envelope in envelopes:
        if FRAME in envelope:
            end = frames + envelope[FRAME]
            envelope[FRAME] = bytes(rest[frames:end])
            frames = end
    return Letter(sender, epoch, number, envelopes)


def _without_bytes(envelope: Envelope) -> Envelope:
    return envelope | {FRAME: len(envelope[FRAME])} if FRAME in envelope else envelope


def _mac(data: bytes | memoryview, address: str) -> bytes:
    key = hashlib.blake2b(settings.SECRET_KEY.encode(), person=b"yumna.letters.2").digest()
    mac = hashlib.blake2b(key=key, digest_size=SEAL_BYTES)
    mac.update(struct.pack("!I", len(address.encode())) + address.encode())
    mac.update(data)
    return mac.digest()
