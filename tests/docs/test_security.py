"""docs/security.md has a row for every threat, and each row names tests that are there."""

import ast

import pytest

from tests.docs.pages import ROOT, page, words

TEXT = page("docs/security.md")
NUMBERS = [*(f"T{number}" for number in range(1, 27)), *(f"W{number}" for number in range(1, 21))]
ROWS = [
    [cell.strip() for cell in line.split("|")[1:-1]]
    for line in TEXT.splitlines()
    if line.startswith(("| T", "| W"))
]


def names_in(path: str) -> set[str]:
    """The names of the tests in a file, read and not run."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        node.name for node in ast.walk(tree) if isinstance(node, functions) and node.name.startswith("test_")
    }


def test_every_threat_has_its_row_in_order():
    assert [row[0] for row in ROWS] == NUMBERS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_names_tests_that_are_there_or_says_what_is_not_built(row):
    _, _, answer, shown = row
    named = words(shown)
    assert named or answer.startswith("Not built: ")
    for name in named:
        path, _, test = name.partition("::")
        assert test in names_in(path), name
