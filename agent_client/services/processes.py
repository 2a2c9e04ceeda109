"""`system.listProcesses`: who runs on this machine, page by page."""

from collections.abc import Callable
from typing import Any

from agent_client.calls import Call, Refused
from agent_client.figures.source import Process, Source
from agent_client.protocol.codes import Code
from agent_client.protocol.text import JsonObject
from agent_client.steady import steady

USUAL_PAGE = 100
LONGEST_PAGE = 200  # still one message when JSON writes every character as six, because …
LONGEST_COMMAND = 120  # … a command line is cut to so many characters …
LONGEST_NAME = 32  # … and a name to so many
SPAN = 0.25  # seconds over which CPU use is measured
MIB = 1024 * 1024

_ORDERS: dict[str, Callable[[JsonObject], Any]] = {
    "pid": lambda row: row["pid"],
    "cpu": lambda row: (-row["cpu"], row["pid"]),
    "ram": lambda row: (-row["ram"], row["pid"]),
}
SORTS = tuple(_ORDERS)


def list_processes(source: Source, call: Call) -> JsonObject:
    """Return {processes, total, cursor}: a page in the order of `sort`.

    Only the order by pid has further pages, their `cursor` is the last pid; the other orders change while one
    turns the page. Arguments may hold secrets, so that command lines come only with `full`.
    """
    params = call.params
    after = _cursor(params["cursor"], params["sort"])
    rows = _measured(source, call)
    rows.sort(key=_ORDERS[params["sort"]])
    page = [row for row in rows if row["pid"] > after][: params["limit"]]
    more = params["sort"] == "pid" and page and page[-1]["pid"] < rows[-1]["pid"]
    return {"processes": page, "total": len(rows), "cursor": str(page[-1]["pid"]) if more else None}


def _cursor(text: "str | None", sort: str) -> int:
    if text is None:
        return -1
    if sort != "pid":
        raise Refused(Code.INVALID_PARAMS, "parameter 'cursor' works with sort pid only")
    try:
        return int(text)
    except ValueError:
        raise Refused(Code.INVALID_PARAMS, "parameter 'cursor' is none that this command gave") from None


def _measured(source: Source, call: Call) -> list[JsonObject]:
    """Look twice, so that the CPU column says what a process does now and not since it began."""
    started = steady()
    before = {(row.pid, row.started): row.cpu_seconds for row in source.processes(full=False)}
    call.wait(SPAN)
    call.check()
    rows = list(source.processes(full=call.params["full"]))
    seconds = steady() - started
    return [_row(row, before.get((row.pid, row.started), row.cpu_seconds), seconds) for row in rows]


def _row(process: Process, cpu_before: float, seconds: float) -> JsonObject:
    row: JsonObject = {
        "pid": process.pid,
        "name": process.name[:LONGEST_NAME],
        "user": process.user[:LONGEST_NAME],
        "cpu": round(100.0 * max(0.0, process.cpu_seconds - cpu_before) / seconds, 1),
        "ram": round(process.memory / MIB, 1),
        "started": int(process.started),
    }
    if process.command is not None:
        row["command"] = process.command[:LONGEST_COMMAND]
    return row
