"""`pip install .` gives the programs, and everything the apps need beside their code."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from tests.e2e.cluster import ROOT

PACKAGES = ("agent_client", "servers", "tunnel", "yumna_panel")
SETUP = "import setuptools; setuptools.setup()"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a wheel is made of: the files in `lib`, its metadata in `meta`; built without a network."""
    folder = tmp_path_factory.mktemp("built")
    (folder / "meta").mkdir()
    build = ["build", "-b", folder / "base", "--build-lib", folder / "lib"]
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            SETUP,
            "-q",
            *build,
            "egg_info",
            "--egg-base",
            folder / "meta",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def files(folder: Path) -> set[str]:
    """The files of our packages below a folder, without what Python makes of them."""
    found = (path for name in PACKAGES for path in (folder / name).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)) for path in found if "__pycache__" not in path.parts}


def test_every_file_of_the_packages_is_in_the_wheel(built: Path):
    there = files(built / "lib")
    assert files(ROOT) == there
    for needed in (
        "tunnel/static/tunnel/nodes.js",
        "tunnel/templates/tunnel/nodes.html",
        "servers/locale/id/LC_MESSAGES/django.mo",
    ):
        assert needed in there


def test_nothing_else_is_in_the_wheel(built: Path):
    assert {path.name for path in (built / "lib").iterdir()} == set(PACKAGES)


def test_the_programs_are_there_and_lead_to_functions(built: Path):
    (metadata,) = (built / "meta").iterdir()
    points = {
        point.name: point
        for point in PathDistribution(metadata).entry_points
        if point.group == "console_scripts"
    }
    assert set(points) == {"yumna", "yumna-agent"}
    assert all(callable(point.load()) for point in points.values())


@pytest.mark.parametrize(
    ("program", "said"), [("yumna", "usage: yumna"), ("yumna-agent", "usage: yumna-agent")]
)
def test_a_program_runs_from_what_was_built_alone(built: Path, tmp_path: Path, program: str, said: str):
    module, _, function = scripts()[program].partition(":")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; from {module} import {function} as run; sys.exit(run(['--help']))",
        ],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(built / "lib")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(said)


def test_the_panel_s_libraries_are_those_of_requirements_txt():
    lines = (line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines())
    wanted = [line for line in lines if line]
    assert project()["optional-dependencies"]["panel"] == wanted
    assert set(project()["dependencies"]) <= set(wanted)


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def scripts() -> dict[str, str]:
    return project()["scripts"]
