"""The Indonesian catalogues: complete, and compiled from what stands in the source."""

import ast
import gettext
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from yumna_panel.demo.places import CHECKOUT

CALLS = {"_", "gettext", "gettext_lazy", "ngettext", "ngettext_lazy"}
TEMPLATE_TEXT = re.compile(r'{%\s*translate\s+"([^"]+)"')
TEMPLATE_BLOCK = re.compile(r"{%\s*blocktranslate[^%]*%}(.*?){%\s*endblocktranslate\s*%}", re.DOTALL)


@pytest.fixture(params=["servers", "tunnel", "yumna_panel"])
def app(request) -> Path:
    return CHECKOUT / request.param


def folder(app: Path) -> Path:
    return app / "locale" / "id" / "LC_MESSAGES"


def entries(app: Path) -> Iterator[tuple[str, list[str], str]]:
    """The msgid, msgstrs and comments of each entry of the .po file."""
    for block in (folder(app) / "django.po").read_text(encoding="utf-8").split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if match := re.match(r"(msgid|msgid_plural|msgstr(?:\[\d\])?) (\".*\")$", line):
                name = match[1]
                fields[name] = ast.literal_eval(match[2])
            elif line.startswith('"'):
                fields[name] += ast.literal_eval(line)
        comments = "\n".join(line for line in block.splitlines() if line.startswith("#"))
        yield fields["msgid"], [text for name, text in fields.items() if name.startswith("msgstr")], comments


def texts_of_the_source(app: Path) -> set[str]:
    found = set()
    for path in app.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
                found.add(ast.literal_eval(node.args[0]))
    for path in app.rglob("*.html"):
        source = path.read_text(encoding="utf-8")
        found.update(TEMPLATE_TEXT.findall(source))
        blocks = [re.split(r"{%\s*plural\s*%}", text)[0] for text in TEMPLATE_BLOCK.findall(source)]
        found.update(re.sub(r"{{\s*(\w+)\s*}}", r"%(\1)s", text) for text in blocks)
    return found


def test_no_entry_is_empty_or_fuzzy(app):
    listed = list(entries(app))
    assert listed
    assert [msgid for msgid, msgstrs, comments in listed if not all(msgstrs) or "fuzzy" in comments] == []


def test_every_text_of_the_source_is_in_the_catalogue_and_no_other(app):
    assert {msgid for msgid, _, _ in entries(app) if msgid} == texts_of_the_source(app)


def test_the_compiled_catalogue_is_made_from_this_source(app):
    with (folder(app) / "django.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)._catalog
    held = {key[0] if isinstance(key, tuple) else key: text for key, text in compiled.items() if key}
    assert held == {msgid: msgstrs[0] for msgid, msgstrs, _ in entries(app) if msgid}


@pytest.mark.parametrize(
    "placeholder",
    ["%(least)d", "%(name)s", "%(active)s", "%(total)s", "{time}", "{n}", "{text}", "{number}", "{active}"],
)
def test_translations_keep_their_placeholders(app, placeholder: str):
    for msgid, msgstrs, _ in entries(app):
        for text in msgstrs:
            assert text.count(placeholder) == msgid.count(placeholder), msgid
