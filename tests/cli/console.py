"""`manage.py tunnel` again and again in one process, for tests: a call on each line of stdin, how it ended on stdout."""

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import django
from django.core.management import load_command_class


def main() -> None:
    """Answer until stdin ends."""
    django.setup()
    answers = sys.stdout
    for line in sys.stdin:
        answers.write(json.dumps(call(json.loads(line))) + "\n")
        answers.flush()


def call(words: list[str]) -> dict[str, Any]:
    """Run the command as a shell would."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for _ in range(2))
    code = 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            load_command_class("tunnel", "tunnel").run_from_argv(["manage.py", "tunnel", *words])
        except SystemExit as exc:
            code = int(exc.code or 0)
    for wrapper in (out, err):
        wrapper.flush()
    stdout, stderr = (wrapper.buffer.getvalue().decode() for wrapper in (out, err))  # type: ignore[attr-defined]
    return {"code": code, "stdout": stdout, "stderr": stderr}


if __name__ == "__main__":
    main()
