"""docs/rights.md names the rights, settings and limits of the code, and its example is Python."""

import ast
import re

from django.conf import settings
from django.core.management import get_commands

from servers import second_factor
from servers.rights import LABELS, PERMISSIONS
from tests.docs.pages import blocks, page, rows, words

TEXT = page("docs/rights.md")


def test_every_right_is_told_in_the_words_of_the_admin():
    told = [(words(right)[0], allows) for right, allows in rows(TEXT, "right")]
    assert told == [(right, str(LABELS[right])) for right in PERMISSIONS]


def test_the_numbers_of_the_lock_out_are_those_of_the_settings():
    assert settings.AXES_FAILURE_LIMIT == 10
    assert "Ten wrong passwords" in TEXT
    minutes = re.search(r"lock a name out for (\d+) minutes", TEXT)
    assert minutes
    assert settings.AXES_COOLOFF_TIME.total_seconds() == 60 * int(minutes[1])


def test_the_example_uses_what_is_there():
    (example,) = blocks(TEXT, "python")
    used = {
        node.attr
        for node in ast.walk(ast.parse(example))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "second_factor"
    }
    assert used == {"vouch", "page"}
    assert all(hasattr(second_factor, name) for name in used)


def test_the_commands_that_end_a_lock_out_are_there():
    named = set(re.findall(r"manage\.py (axes_\w+)", TEXT))
    assert named
    assert named <= get_commands().keys()
