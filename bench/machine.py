"""On what it was measured: versions, cores, memory."""

import os
import platform
import sqlite3
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

PACKAGES = ("Django", "channels", "channels_redis", "uvicorn", "daphne", "websockets", "djangorestframework")
GIBIBYTE = 1024**3


def lines() -> list[str]:
    """Return the facts as a list in Markdown."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    cores, memory = os.cpu_count(), psutil.virtual_memory().total / GIBIBYTE
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    return [
        f"* {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {platform.system()} on {platform.machine()}",
        f"* {cores} cores ({_processor()}), {memory:.0f} GiB of memory; load before: {load}",
        f"* Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {packages}",
    ]


def _processor() -> str:
    told = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in told.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
