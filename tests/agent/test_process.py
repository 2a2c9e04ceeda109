"""The agent as a program: what it loads, on which Pythons it runs, what travels with it."""

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

PACKAGE = ROOT / "agent_client"
VENDOR = PACKAGE / "vendor"
OLDEST, NEWEST = (3, 9), (3, 14)


def pythons() -> list[str]:
    """Every Python from 3.9 to 3.14 that this machine has; this one always."""
    names = [f"python3.{minor}" for minor in range(OLDEST[1], NEWEST[1] + 1)]
    found = [shutil.which(name) for name in names]
    found += [
        str(path)
        for path in Path("~/.pyenv/versions").expanduser().glob("3.*/bin/python3.*")
        if "-" not in path.name
    ]
    working = {}
    for path in [sys.executable, *filter(None, found)]:
        asked = subprocess.run(
            [path, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True
        )
        version = tuple(map(int, asked.stdout.split())) if asked.returncode == 0 else ()
        if OLDEST <= version <= NEWEST:
            working.setdefault(version, path)
    return [working[version] for version in sorted(working)]


@pytest.mark.parametrize("python", pythons())
def test_it_runs_from_a_bare_copy_on_every_python_here(python, tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "agent_client", ignore=shutil.ignore_patterns("__pycache__"))
    command = [
        python,
        "-I",
        "-c",
        "import sys; sys.path.insert(0, '.'); import runpy, agent_client.agent, agent_client.doctor;",
    ]
    command[-1] += (
        "sys.argv = ['agent_client', 'version']; runpy.run_module('agent_client', run_name='__main__')"
    )
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "0.1.0" in done.stdout


def test_every_file_is_python_3_9():
    for path in PACKAGE.rglob("*.py"):
        ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=OLDEST)


def test_a_fresh_interpreter_that_runs_the_agent_loads_nothing_of_the_panel():
    code = "import sys, agent_client.agent, agent_client.doctor, agent_client.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    roots = {name.split(".")[0] for name in done.stdout.split()}
    assert not roots & {"django", "channels", "servers", "tunnel", "yumna_panel", "redis", "twisted"}


def test_what_travels_with_it_is_what_was_published():
    listed = json.loads((VENDOR / "vendor.json").read_text())
    for library in listed.values():
        assert library["license"]
        for name, digest in library["files"].items():
            assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest, name
    known = {name for library in listed.values() for name in library["files"]}
    there = {str(path.relative_to(VENDOR)) for path in VENDOR.glob("websocket/**/*") if path.is_file()}
    assert {name for name in there if "__pycache__" not in name} <= known
    assert any("LICENSE" in path.name for path in VENDOR.rglob("*"))
    assert os.access(ROOT / "tools" / "vendor_websocket.py", os.R_OK)
