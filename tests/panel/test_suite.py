"""`make test` says what it could not run, as the last thing, and by its exit code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import __main__ as suite
from yumna_panel.embedded_redis import find_binary

ROOT = Path(__file__).resolve().parents[2]
TESTS = """
import pytest

def test_plain(): pass

@pytest.mark.browser
def test_page(): pass
"""


@pytest.fixture
def make_test(tmp_path):
    """Run the suite's own command over two tests on a machine without browser and without a way to one."""
    (tmp_path / "test_two.py").write_text(TESTS)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "redis-server").symlink_to(find_binary())
    for name in ("nft", "ip", "unshare"):
        if found := shutil.which(name):
            (programs / name).symlink_to(found)
    nowhere = {"PLAYWRIGHT_BROWSERS_PATH": str(tmp_path), "PLAYWRIGHT_DOWNLOAD_HOST": "http://127.0.0.1:9"}
    inherited = {name: value for name, value in os.environ.items() if name not in ("CHROMIUM", "CI")}

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tests", "-c", str(ROOT / "pyproject.toml"), str(tmp_path), *arguments],
            cwd=ROOT,
            env={**inherited, **nowhere, "PATH": str(programs), **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    return run


@pytest.mark.parametrize("at_once", [(), ("-n", "2")])
def test_without_a_browser_the_rest_runs_and_the_last_line_says_so(make_test, at_once):
    done = make_test(*at_once)
    assert "1 passed" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("NOT RUN: 1 browser tests: no Chromium here")
    assert done.returncode == 3


SHAKY = """
from pathlib import Path

def test_of_a_busy_machine():
    mark = Path(__file__).with_name("was here")
    mark.touch() if (first := not mark.exists()) else None
    assert not first
"""


def test_what_fails_beside_others_is_run_once_more_alone_and_named(make_test, tmp_path):
    (tmp_path / "test_shaky.py").write_text(SHAKY)
    (tmp_path / "test_broken.py").write_text("def test_broken(): assert False")
    done = make_test("-n", "2", CHROMIUM=sys.executable)
    beside, _, alone = done.stdout.partition("ONCE MORE, ALONE: 2 tests failed beside others")
    assert "2 failed, 2 passed" in beside
    assert "1 failed, 1 passed" in alone
    assert done.returncode == 1


def test_in_ci_that_is_a_failure(make_test):
    assert make_test(CI="true").returncode == 1


@pytest.mark.parametrize(
    ("told", "missing"),
    [
        ("systemd 252 (252.38-1~deb12u1)", ""),
        ("systemd 249 (249.11)", "this systemd-analyze is 249, 250 is needed"),
        ("", "this systemd-analyze is none that tells its version, 250 is needed"),
    ],
)
def test_a_systemd_that_cannot_judge_is_said_and_not_passed_over(tmp_path, monkeypatch, told, missing):
    program = tmp_path / "systemd-analyze"
    program.write_text(f"#!/bin/sh\necho '{told}'\n")
    program.chmod(0o755)
    monkeypatch.setattr(suite, "SYSTEM_PATH", str(tmp_path))
    assert suite.no_new_systemd() == missing


def test_a_system_that_is_not_linux_is_said_and_not_passed_over(monkeypatch):
    assert suite.no_linux() == ("" if sys.platform == "linux" else f"this is {sys.platform}, not Linux")
    monkeypatch.setattr(suite.sys, "platform", "darwin")
    assert suite.no_linux() == "this is darwin, not Linux"


def test_no_test_is_skipped_by_itself():
    """A test that cannot run here has a mark, so that `NOT RUN` names it and CI fails."""
    words = re.compile(r"pytest\.(mark\.(skip|xfail)|skip\(|xfail\(|importorskip\()")
    files = (path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__).resolve())
    assert [path.name for path in files if words.search(path.read_text(encoding="utf-8"))] == []


def test_what_was_not_asked_for_is_not_missed(make_test):
    done = make_test("-k", "plain")
    assert done.returncode == 0
    assert "NOT RUN" not in done.stdout


def test_with_a_browser_all_run(make_test):
    done = make_test(CHROMIUM=sys.executable)
    assert "2 passed" in done.stdout
    assert done.returncode == 0


def test_a_browser_that_is_none_is_refused(make_test):
    done = make_test(CHROMIUM="/no/such/browser")
    assert "CHROMIUM is '/no/such/browser', which is no program" in done.stderr
    assert done.returncode == 1
