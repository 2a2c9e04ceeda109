"""The files of deploy/, with only ports, paths and names of this machine put in."""

import re
import shlex
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
HOST = "panel.example.org"  # the name that stands in every file
SBIN = "/usr/sbin:/sbin"  # where nginx is, and not on everybody's PATH


def text(name: str) -> str:
    """Return a file of deploy/ as it is shipped."""
    return (DEPLOY / name).read_text(encoding="utf-8")


def replaced(content: str, changes: dict[str, str]) -> str:
    """Return the content with each of these put in place; what does not occur is an error of the test."""
    for old, new in changes.items():
        assert old in content, old
        content = content.replace(old, new)
    return content


def variables(content: str) -> dict[str, str]:
    """Return the settings of an environment file."""
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", content, re.MULTILINE))


def command(unit: str) -> list[str]:
    """Return the program of a unit and its arguments."""
    joined = text(f"systemd/{unit}").replace("\\\n", " ")
    return shlex.split(re.search(r"^ExecStart=(.*)$", joined, re.MULTILINE)[1])


def program(name: str) -> str:
    """Return the path of a program of the system."""
    found = shutil.which(name) or shutil.which(name, path=SBIN)
    assert found, f"{name} is not installed"
    return found
