"""`make check`: everything that judges the code without running it as a program."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from yumna_panel.embedded_redis import EmbeddedRedis, find_binary
from yumna_panel.redis_keeper import ensure_running, stop

ROOT = Path(__file__).resolve().parent.parent
OLDEST_AGENT = (3, 9)
AT_ONCE = 2  # gates; the types take as long as all the others
PACKAGES = ["yumna_panel", "tunnel", "servers", "agent_client", "bootstrap.py"]
IMPORT_CONTRACTS = "import sys; from importlinter.cli import lint_imports_command as run; sys.exit(run())"
PRODUCTION = {
    "DEBUG": "0",
    "SECRET_KEY": "a-key-for-the-checks-only-0123456789-abcdefghijklmnopqrstuvwxyz",
    "ALLOWED_HOSTS": "panel.example.com",
    "SECURE_HSTS_SECONDS": "3600",
    "TUNNEL_PUBLIC_URL": "https://panel.example.com",
}
OURS = (
    "DEBUG",
    "SECRET_KEY",
    "ALLOWED_HOSTS",
    "CSRF_",
    "DATABASE_URL",
    "REDIS_URL",
    "SECURE_",
    "TUNNEL_",
    "BEHIND_",
    "AXES_",
)


def main() -> int:
    """Run every gate, all of them even when one fails; return 1 if one did."""
    os.chdir(ROOT)
    with site_environment() as environment:
        gates = [
            (title, command_gate(command, {**environment, **more})) for title, command, more in commands()
        ]
        gates.append(("agent and bootstrap are Python 3.9", old_syntax))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            running = [(title, pool.submit(judged, gate)) for title, gate in gates]
            failed = [title for title, told in running if not passes(title, *told.result())]
    print(
        f"\n{len(gates) - len(failed)} of {len(gates)} checks passed"
        + "".join(f"\nFAILED: {t}" for t in failed)
    )
    return 1 if failed else 0


def commands() -> list[tuple[str, list[str], dict[str, str]]]:
    """Return each gate that is a command: its title, the arguments of Python, and what it adds to the environment."""
    return [
        ("format", ["-m", "ruff", "format", "--check", "."], {}),
        ("lint", ["-m", "ruff", "check", "."], {}),
        ("types", ["-m", "mypy", *PACKAGES], {}),
        ("import contracts", ["-c", IMPORT_CONTRACTS], {}),
        ("migrations", ["manage.py", "makemigrations", "--check", "--dry-run"], {}),
        ("system checks", ["manage.py", "check", "--fail-level", "WARNING"], {}),
        ("deployment checks", ["manage.py", "check", "--deploy", "--fail-level", "WARNING"], PRODUCTION),
    ]


@contextmanager
def site_environment() -> Iterator[dict[str, str]]:
    """Give the environment in which the site is new: data in a fresh folder, nothing set, a Redis that answers."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    with tempfile.TemporaryDirectory(prefix="yumna-check-") as folder:
        environment = {**inherited, "DATA_DIR": f"{folder}/data"}
        binary = find_binary()
        if binary is None:
            yield environment
            return
        redis = EmbeddedRedis(binary, Path(folder))
        process = ensure_running(redis)
        try:
            yield {**environment, "REDIS_URL": redis.url}
        finally:
            if process:
                stop(process)


def command_gate(arguments: list[str], environment: dict[str, str]) -> Callable[[], str]:
    """Return a gate that runs Python with these arguments and gives its output when that fails."""

    def gate() -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return (done.stdout or f"exit code {done.returncode}") if done.returncode else ""

    return gate


def old_syntax() -> str:
    """Return where a file that runs on nodes uses syntax newer than Python 3.9."""
    problems = []
    for path in [ROOT / "bootstrap.py", *sorted((ROOT / "agent_client").rglob("*.py"))]:
        try:
            ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=OLDEST_AGENT)
        except SyntaxError as exc:
            problems.append(f"{path.relative_to(ROOT)}:{exc.lineno}: {exc.msg}")
    return "\n".join(problems)


def judged(gate: Callable[[], str]) -> tuple[str, float]:
    """Run one gate; return its problem and the seconds it took."""
    started = time.monotonic()
    return gate(), time.monotonic() - started


def passes(title: str, problem: str, seconds: float) -> bool:
    """Print how a gate went."""
    print(f"{'FAILED' if problem else 'ok':<7}{title} ({seconds:.1f} s)", flush=True)
    if problem:
        print(problem, flush=True)
    return not problem


if __name__ == "__main__":
    sys.exit(main())
