"""`system.exec`: run a program and answer with how it ended and what it wrote."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from agent_client.calls import Call, Refused
from agent_client.execution import Program, begin, execute
from agent_client.protocol.codes import Code
from agent_client.protocol.text import JsonObject
from agent_client.settings import NAMES
from agent_client.streams import Opened
from agent_client.watch import Watch

# Bytes of JSON for each output: control characters take six, a reply holds 256 KiB.
LARGEST_SHOWN = 120 * 1024
SHELL = "/bin/sh"

# What systemd gives to a service and not to what the service starts; the last one leads to the secret.
_SERVICE_ONLY = frozenset(
    {
        "NOTIFY_SOCKET",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "CREDENTIALS_DIRECTORY",
    }
)


def run_program(call: Call) -> JsonObject:
    """Run `argv`, or the line `shell` by /bin/sh; exactly one of them is given.

    Raises:
        Refused: it cannot be started, was cancelled or took too long.
    """
    finished = execute(_program(call), call)
    stdout, stdout_cut = shown(finished.stdout)
    stderr, stderr_cut = shown(finished.stderr)
    return {
        "exitCode": finished.exit_code,
        "stdout": stdout,
        "stderr": stderr,
        "truncated": finished.truncated or stdout_cut or stderr_cut,
        "durationMs": round(finished.seconds * 1000),
    }


def stream_program(watch: Watch, call: Call) -> Opened:
    """Run the same for a stream: it has no time limit, and ends with its stream at the latest.

    Raises:
        Refused: it cannot be started, there are too many, or nobody wants it any more.
    """
    from agent_client.services.streamed import INPUT_WINDOW, Running

    program = _program(call)
    if watch.busy:
        raise Refused(Code.BUSY, "too many programs and shells run at streams, wait until one ends")
    running = Running(begin(program, stdin=True), program.stdin, watch.wake)
    watch.add(running)
    try:
        call.check()
    except Refused as exc:
        running.lost(exc.code, str(exc))
        raise
    return Opened({"pid": running.pid}, running, INPUT_WINDOW)


def child_environment(added: Mapping[str, str]) -> dict[str, str]:
    """The agent's own environment without its settings, its secret among them, and with `added`."""
    inherited = {name: value for name, value in os.environ.items() if name not in NAMES | _SERVICE_ONLY}
    return {**inherited, **added}


def _program(call: Call) -> Program:
    params = call.params
    if (params["argv"] is None) == (params["shell"] is None):
        raise Refused(Code.INVALID_PARAMS, "either parameter 'argv' or parameter 'shell' must be given")
    argv = params["argv"] or [SHELL, "-c", params["shell"]]
    if not argv[0]:
        raise Refused(Code.INVALID_PARAMS, "parameter 'argv' names no program")
    stdin = params["stdin"].encode("utf-8", "surrogatepass")
    return Program(argv, params["cwd"] or home(), child_environment(params["env"]), stdin)


def home() -> str:
    """The folder programs start in: the user's own where it exists, else the root."""
    folder = Path("~").expanduser() if os.environ.get("HOME") else Path("/")
    return str(folder) if folder.is_dir() else "/"


def shown(output: bytes) -> "tuple[str, bool]":
    """Return output as text that fits its share of a message, and whether some had to be left out."""
    text = output.decode("utf-8", "replace")
    if len(text) * 6 <= LARGEST_SHOWN:
        return text, False
    if len(json.dumps(text)) <= LARGEST_SHOWN:
        return text, False
    low, high = 0, len(text)
    while low < high:  # the longest beginning that fits
        middle = (low + high + 1) // 2
        if len(json.dumps(text[:middle])) <= LARGEST_SHOWN:
            low = middle
        else:
            high = middle - 1
    return text[:low], True
