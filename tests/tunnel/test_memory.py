"""Memory that a process has freed goes back to the system."""

import subprocess
import sys

import pytest

from tests.docs.pages import ROOT

# Of many small pieces every two-hundredth stays, so that the C library keeps all pages between them.
PROGRAM = """
import ctypes, pathlib
from tunnel import memory

def resident():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096

c = ctypes.CDLL(None)
c.malloc.restype, c.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
pieces = [c.malloc(1000) for _ in range(60_000)]
for piece in pieces:
    ctypes.memset(piece, 1, 1000)
for number, piece in enumerate(pieces):
    if number % 200:
        c.free(piece)
before = resident()
print(memory.give_back(), before - resident())
"""


@pytest.mark.linux
def test_pages_that_hold_hardly_anything_are_given_back():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    given, count = done.stdout.split()
    assert given == "True"
    assert int(count) > 40_000_000
