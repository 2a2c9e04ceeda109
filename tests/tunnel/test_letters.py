"""A letter is read only by the process it was sealed for, and only if we sealed it."""

import pytest

from tunnel.letters import ForgedLetter, Letter, seal, unseal

LETTER = Letter("inbox-a", 7, 3, [{"kind": "ask", "params": {"argv": ["uptime"]}}])
FRAMES = Letter(
    "inbox-a",
    7,
    4,
    [
        {"kind": "frame", "call": "c", "frame": b"\x00\xff" * 40_000},
        {"kind": "alive"},
        {"kind": "frame", "call": "d", "frame": b""},
        {"kind": "frame", "call": "c", "frame": b"end"},
    ],
)


def test_a_letter_arrives_as_it_was_sent():
    assert unseal(seal(LETTER, "inbox-b"), "inbox-b") == LETTER


def test_frames_arrive_as_they_were_and_cost_their_bytes_alone():
    data = seal(FRAMES, "inbox-b")
    assert unseal(data, "inbox-b") == FRAMES
    assert len(data) < 80_000 + 300


def test_a_letter_for_another_address_is_forged():
    with pytest.raises(ForgedLetter):
        unseal(seal(LETTER, "inbox-b"), "inbox-c")


def test_every_changed_byte_breaks_the_seal():
    letter = Letter("inbox-a", 7, 3, [*LETTER.envelopes, {"kind": "frame", "frame": b"typed"}])
    data = seal(letter, "inbox-b")
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1
        with pytest.raises(ForgedLetter):
            unseal(bytes(changed), "inbox-b")


@pytest.mark.parametrize("data", [None, "text", b"", b"short", b"\0" * 200, {"a": 1}])
def test_what_is_no_letter_is_forged(data):
    with pytest.raises(ForgedLetter):
        unseal(data, "inbox-b")


def test_another_secret_key_makes_another_seal(settings):
    data = seal(LETTER, "inbox-b")
    settings.SECRET_KEY = "another-" * 8
    with pytest.raises(ForgedLetter):
        unseal(data, "inbox-b")
