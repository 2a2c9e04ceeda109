"""The figures of the last hour for the charts, their table and their file; where figures are missing there is a gap."""

import csv
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from io import StringIO
from typing import Any, Final, TypedDict

from django.utils.translation import gettext

from servers.models import Server
from tunnel import samples
from tunnel.conf import settings
from tunnel.pages import server_words, words

MOST_POINTS: Final = 1200  # of an hour, the newest ones; a heartbeat may be as short as a second
USUAL_GAP: Final = 90.0  # seconds without a sample after which the line is broken; one comes about each 30
HEARTBEATS: Final = 3  # the same where heartbeats are rarer
AFTER: Final = 0.001  # seconds after the last point at which a gap begins: the times of a chart must rise

FILE_HEAD: Final = ("time", "cpu_percent", "memory_percent", "disk_percent", "round_trip_seconds")


class Columns(TypedDict):
    """The samples as columns of one length, oldest first: unix seconds, percent, and the round trip in seconds."""

    at: list[float]
    cpu: list[float | None]
    ram: list[float | None]
    disk: list[float | None]
    rtt: list[float | None]


Point = tuple[float, float | None, float | None, float | None, float | None]
_NAMES: Final = ("at", "cpu", "ram", "disk", "rtt")


def last_hour(server: Server) -> Columns:
    """Return the samples of the last hour; a row of nulls stands in each gap."""
    rows: list[list[Any]] = [[] for _ in _NAMES]
    for point in _with_gaps(_points(server), gap()):
        for column, value in zip(rows, point, strict=True):
            column.append(value)
    at, cpu, ram, disk, rtt = rows
    return {"at": at, "cpu": cpu, "ram": ram, "disk": disk, "rtt": rtt}


def gap() -> float:
    """Return after how many seconds without a sample the line is broken."""
    return max(USUAL_GAP, HEARTBEATS * float(settings.HEARTBEAT))


def drawn() -> list[dict[str, Any]]:
    """Return what is drawn: the column, its name, its unit, and the least top of its scale."""
    return [
        {"name": "cpu", "label": gettext("CPU"), "unit": "%", "top": 100},
        {"name": "ram", "label": gettext("Memory"), "unit": "%", "top": 100},
        {"name": "disk", "label": gettext("Disk"), "unit": "%", "top": 100},
        {"name": "rtt", "label": gettext("Round trip"), "unit": gettext("ms"), "top": 10},
    ]


def table(columns: Columns) -> list[dict[str, Any]]:
    """Return the same numbers for people who read them, newest first."""
    rows = zip(*(columns[name] for name in _NAMES), strict=True)
    return [
        {
            "iso": words.iso(at),
            "exact": words.exact(at),
            "moment": server_words.clock(at),
            "cells": [
                server_words.percent(cpu),
                server_words.percent(ram),
                server_words.percent(disk),
                words.round_trip(rtt) or "–",
            ],
        }
        for at, cpu, ram, disk, rtt in reversed(list(rows))
        if any(value is not None for value in (cpu, ram, disk, rtt))
    ]


def csv_text(columns: Columns) -> str:
    """Return the same numbers as a file; it holds numbers only, so that no cell is a formula of a node's."""
    text = StringIO()
    writer = csv.writer(text)
    writer.writerow(FILE_HEAD)
    for at, *values in zip(*(columns[name] for name in _NAMES), strict=True):
        if any(value is not None for value in values):
            time = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
            writer.writerow([time, *("" if value is None else value for value in values)])
    return text.getvalue()


def _points(server: Server) -> list[Point]:
    newest = samples.last_hour(server).order_by("-at")[:MOST_POINTS]
    rows = newest.values_list("at", "cpu", "ram", "disk", "rtt_seconds")
    return [(round(at.timestamp(), 3), *figures) for at, *figures in reversed(list(rows))]  # type: ignore[misc]


def _with_gaps(points: Iterable[Point], longest: float) -> Iterator[Point]:
    last: float | None = None
    for point in points:
        if last is not None and point[0] - last > longest:
            yield (last + AFTER, None, None, None, None)
        yield point
        last = point[0]
