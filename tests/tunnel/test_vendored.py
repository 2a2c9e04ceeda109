"""The vendored libraries of the pages are the ones written down, with their licences, and survive collectstatic."""

import hashlib
import json
import re

import pytest
from django.core.management import call_command

from tests.docs.pages import ROOT

PLACES = [ROOT / "tunnel/static/tunnel/vendor", ROOT / "tests/vendor"]
LIBRARIES = [
    pytest.param(place, library, id=library["folder"])
    for place in PLACES
    for library in json.loads((place / "vendor.json").read_text(encoding="utf-8"))
]
OURS = [
    path
    for app in ("tunnel", "servers")
    for path in (ROOT / app / "static").rglob("*")
    if path.suffix in (".js", ".css") and "vendor" not in path.parts
]
PAGES = [path for app in ("tunnel", "servers") for path in (ROOT / app / "templates").rglob("*.html")]


@pytest.mark.parametrize(("place", "library"), LIBRARIES)
def test_each_file_is_the_one_written_down(place, library):
    folder = place / library["folder"]
    assert folder.name == f"{library['name'].removeprefix('@').replace('/', '-')}-{library['version']}"
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    facts = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for name, content in found.items()
    }
    assert facts == library["files"]


@pytest.mark.parametrize(("place", "library"), LIBRARIES)
def test_each_library_comes_with_its_licence_and_names_no_source_map(place, library):
    folder = place / library["folder"]
    assert library["licence"]
    assert (folder / "LICENSE").read_text(encoding="utf-8").strip()
    assert [path.name for path in folder.iterdir() if b"sourceMappingURL" in path.read_bytes()] == []


def test_nothing_is_kept_that_is_not_written_down():
    for place in PLACES:
        written = {library["folder"] for library in json.loads((place / "vendor.json").read_text())}
        assert {path.name for path in place.iterdir()} == written | {"vendor.json"}


@pytest.mark.parametrize("path", [*OURS, *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_page_of_ours_names_another_host(path):
    text = path.read_text(encoding="utf-8")
    assert (
        re.findall(r"(?:https?:)?//[\w-]+(?:\.[\w-]+)+", re.sub(r"https?://www\.w3\.org/\d+/svg", "", text))
        == []
    )


def test_collectstatic_takes_them_with_hashed_names(settings, tmp_path):
    settings.STATIC_ROOT = str(tmp_path)
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    }
    call_command("collectstatic", interactive=False, verbosity=0)
    names = json.loads((tmp_path / "staticfiles.json").read_text(encoding="utf-8"))["paths"]
    for path in [*OURS, *(ROOT / "tunnel/static/tunnel/vendor").glob("*/*")]:
        name = str(path.relative_to(next(up for up in path.parents if up.name == "static")))
        assert (tmp_path / names[name]).exists()
        assert names[name] != name


def test_the_vendored_folders_are_where_the_pages_look():
    looked = [
        name
        for path in PAGES
        for name in re.findall(r'{% static "(tunnel/vendor/[^"]+)"', path.read_text(encoding="utf-8"))
    ]
    assert any("uplot" in name for name in looked)
    assert [name for name in looked if not (ROOT / "tunnel/static" / name).exists()] == []
