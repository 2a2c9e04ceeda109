"""Figures: psutil and /proc agree within 2 %, and nothing is invented."""

import time
from pathlib import Path

import pytest

from agent_client.figures import Sampler, best_source
from agent_client.figures.by_psutil import PsutilSource
from agent_client.figures.proc import ProcSource

TWO_PERCENT = 0.02


@pytest.mark.linux
def test_on_linux_the_figures_come_from_proc_even_where_psutil_is_installed():
    assert best_source().name == ProcSource.name


@pytest.fixture
def usages():
    """The figures of both sources over the same stretch of time, with a core at work."""
    samplers = [Sampler(source()) for source in (ProcSource, PsutilSource)]
    for sampler in samplers:
        sampler.start()
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        sum(range(1000))
    made = [sampler.usage() for sampler in samplers]
    for sampler in samplers:
        sampler.stop(5)
    return made


def test_both_sources_give_the_same_figures(usages):
    by_proc, by_psutil = usages
    assert set(by_proc) == set(by_psutil)
    for name in ("ram", "ramTotal", "diskUsed", "diskTotal", "uptime"):
        assert by_proc[name] == pytest.approx(by_psutil[name], rel=TWO_PERCENT), name
    for name in ("ramPercent", "disk"):
        assert by_proc[name] == pytest.approx(by_psutil[name], abs=2), name
    assert by_proc["cpu"] == pytest.approx(by_psutil["cpu"], abs=8)  # each looks at its own moment
    assert by_proc["load"] == pytest.approx(by_psutil["load"], abs=0.1)


def test_a_working_core_is_seen(usages):
    assert all(usage["cpu"] > 10 for usage in usages)
    assert all(0 <= usage["cpu"] <= 100 for usage in usages)


@pytest.mark.parametrize("source", [ProcSource, PsutilSource])
def test_this_process_is_listed_and_its_arguments_only_when_asked(source):
    import os

    listed = {process.pid: process for process in source().processes(full=False)}
    assert listed[os.getpid()].memory > 0
    assert listed[os.getpid()].command is None
    full = {process.pid: process for process in source().processes(full=True)}
    arguments = Path("/proc/self/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    assert full[os.getpid()].command == b" ".join(arguments).decode()
