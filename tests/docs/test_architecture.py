"""docs/architecture.md names numbers and files that are there."""

import importlib
import re

import pytest

from tests.docs.pages import PAGES, ROOT, blocks, page, rows, words

TEXT = page("docs/architecture.md")


@pytest.mark.parametrize(("name", "value"), [(words(row[0])[0], row[1]) for row in rows(TEXT, "name")])
def test_a_number_has_the_value_the_page_tells(name, value):
    module, _, constant = name.rpartition(".")
    assert getattr(importlib.import_module(module), constant) == float(value)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_file_a_page_names_is_there(path):
    text = path.read_text(encoding="utf-8")
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    for link in filter(None, links):
        assert (path.parent / link).exists(), link
    named = re.findall(r"(?<![\w/…-])((?:tests|tunnel|servers|yumna_panel|agent_client|docs)/[\w./-]+)", text)
    for name in named:
        assert (ROOT / name.rstrip("./")).exists(), name


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_command_of_make_and_manage_is_there(path):
    text = path.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", page("Makefile"), re.MULTILINE))
    assert set(re.findall(r"(?:^    |`)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    from tunnel.management.commands.tunnel import Command

    parser = Command().create_parser("manage.py", "tunnel")
    for name in re.findall(r"manage\.py tunnel ([a-z-]+)", text):
        choices = next(
            action.choices for action in parser._actions if action.choices and "list" in action.choices
        )
        assert name in choices


def test_every_picture_is_of_a_kind_that_readers_draw():
    for drawing in blocks(TEXT, "mermaid"):
        assert drawing.split()[0] in {"flowchart", "sequenceDiagram", "stateDiagram-v2"}
