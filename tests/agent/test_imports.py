"""An idle agent holds in memory what it uses, and no more."""

import subprocess
import sys

import pytest

from tests.e2e.cluster import ROOT

LARGE = ("importlib.metadata", "urllib.request", "subprocess", "email", "http.client", "zipfile")


@pytest.mark.skipif(sys.platform != "linux", reason="psutil brings some of them in")
def test_large_modules_wait_until_they_are_needed():
    code = "import sys, agent_client.__main__, agent_client.agent; print(*sys.modules)"
    clean = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"]
    loaded = subprocess.run(clean, capture_output=True, text=True, check=True, timeout=30).stdout.split()
    assert "agent_client.link" in loaded
    assert [name for name in LARGE if name in loaded] == []
