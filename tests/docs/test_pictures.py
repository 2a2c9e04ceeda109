"""The pictures of the documents are small, are what they are named, and are shown somewhere (`make shots`)."""

import re
import struct

import pytest

from tests.docs.pages import PAGES, ROOT

PICTURES = sorted((ROOT / "docs" / "pictures").glob("*.png"))
LARGEST = 150 * 1024  # bytes; a page with five of them opens on a phone's line


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_a_picture_is_a_small_png(picture):
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack("!II", content[16:24])
    assert 300 <= width <= 2560
    assert height <= 2560
    assert len(content) <= LARGEST


def test_every_picture_is_shown_and_every_shown_one_is_there():
    shown = {
        name
        for path in PAGES
        for name in re.findall(r"pictures/([\w.-]+\.png)", path.read_text(encoding="utf-8"))
    }
    assert shown == {picture.name for picture in PICTURES}
