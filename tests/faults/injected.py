"""A service of a package on the node, which breaks its own agent in the ways a test asks for."""

import os
import threading
from pathlib import Path
from typing import Any

from agent_client import pool
from agent_client.calls import Call
from agent_client.commands import ENTRY_POINTS, Action, Service
from agent_client.conversation import Conversation
from agent_client.figures import Sampler
from agent_client.params import Param, Text

RAN = "INJECTED_RAN"  # names a file; each `echo` adds its word as a line, so that a history can be judged
LONGEST = 200_000  # characters of a word; with its quotes it fits a message


def install(folder: Path) -> str:
    """Make what an installed package leaves in `folder`; returns the folder, which goes into PYTHONPATH."""
    metadata = folder / "yumna_injected-1.0.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: yumna-injected\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\nfaults = {__name__}:SERVICE\n")
    return str(folder)


def echo(call: Call) -> str:
    """Return the word, and write down that it ran."""
    word: str = call.params["word"]
    if path := os.environ.get(RAN):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{word}\n")
    return word


def strange(call: Call) -> Any:
    """Return what JSON or the protocol does not know."""
    endless: list[Any] = []
    endless.append(endless)
    deep: list[Any] = []
    for _ in range(40):
        deep = [deep]
    return {
        "bytes": b"\0",
        "circle": endless,
        "deep": deep,
        "half": "\ud800",
        "nan": float("nan"),
        "keys": {(1, 2): 3},
        "huge": "x" * 2_000_000,
    }[call.params["word"]]


def leave(_call: Call) -> None:
    """End as a script does that was made a service without a second look."""
    raise SystemExit(3)


def fail(_call: Call) -> None:
    """Raise as a handler with a mistake does."""
    raise ZeroDivisionError("the handler has a mistake")


def hang(_call: Call) -> None:
    """Never end, whatever the time limit says."""
    threading.Event().wait()


def break_link(call: Call) -> str:
    """Have the thread that owns the connection hang in its next turn, end, or meet an error of ours."""
    step, word = Conversation._step, call.params["word"]
    error: BaseException = SystemExit() if word == "end" else RuntimeError("injected")

    def once(self: Conversation) -> None:
        if word == "hang":
            threading.Event().wait()
        Conversation._step = step  # type: ignore[method-assign]
        raise error

    Conversation._step = once  # type: ignore[method-assign]
    return "broken"


def break_pool(_call: Call) -> str:
    """Have the thread that takes the next command end with it."""

    def end(_prepared: object) -> None:
        raise SystemExit

    pool.run = end  # type: ignore[assignment]
    return "broken"


def break_figures(_call: Call) -> str:
    """Have the thread for figures end when it measures next."""

    def end(_self: Sampler) -> None:
        raise SystemExit

    Sampler.usage = end  # type: ignore[assignment, method-assign]
    return "broken"


WORD = (Param("word", Text(longest=LONGEST), default=""),)
SERVICE = Service(
    "faults",
    tuple(
        Action(run.__name__.replace("_", "-"), run, WORD)
        for run in (echo, strange, leave, fail, hang, break_link, break_pool, break_figures)
    ),
)
