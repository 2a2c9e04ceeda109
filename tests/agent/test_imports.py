"""An idle agent holds in memory what it uses, and no more."""

import subprocess
import sys

import pytest

from tests.e2e.cluster import ROOT

LARGE = (
    "argparse",
    "email",
    "encodings.idna",
    "http.client",
    "importlib.metadata",
    "platform",
    "psutil",
    "queue",
    "random",
    "shutil",
    "subprocess",
    "urllib.request",
    "zipfile",
)
UNIX = ("fcntl", "pty", "termios", "tty")  # modules that Windows has not
READ_SETTINGS = """
import sys
from agent_client import __main__, agent
from agent_client.settings import load
assert __main__._options([]).command == "run"
settings = load({"MASTER_URL": "https://panel.example", "AGENT_ID": "node", "AGENT_SECRET": "s"})
agent.Agent(settings)
print(*sys.modules)
"""


@pytest.mark.linux  # elsewhere psutil brings some of them in
def test_large_modules_wait_until_they_are_needed():
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{READ_SETTINGS}"
    clean = [sys.executable, "-I", "-S", "-c", code]
    loaded = subprocess.run(clean, capture_output=True, text=True, check=True, timeout=30).stdout.split()
    assert "agent_client.link" in loaded
    assert [name for name in LARGE if name in loaded] == []


@pytest.mark.linux
def test_an_agent_starts_where_python_knows_no_terminals():
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfor name in {UNIX}: sys.modules[name] = None\n"
    clean = [sys.executable, "-I", "-S", "-c", code + READ_SETTINGS]
    loaded = subprocess.run(clean, capture_output=True, text=True, check=True, timeout=30).stdout.split()
    assert "agent_client.link" in loaded
