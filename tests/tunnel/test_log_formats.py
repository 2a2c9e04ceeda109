"""Log lines: one record is one line, whatever stands in it."""

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.docs.pages import ROOT
from tunnel.log_formats import MAX_EVENT, JsonFormatter, LineFormatter
from tunnel.logs import about

HOSTILE = [
    "a\n2026-11-25 10:00:00,000 ERROR tunnel.session forged",
    "a\r\nb",
    "a\x1b[2Jb",
    "a\u202eb",
    "a\u2028b\u2029c\x85d\x0be\x0cf",
    "a\0b",
    "a\udcffb",
    '"},{"level":"ERROR"',
    "100% {curly} %s",
]


@pytest.fixture
def lines() -> Callable[..., list[str]]:
    """Format what `say` logs, and return the lines as a program reads them."""

    def read(formatter: logging.Formatter, say: Callable[[], None]) -> list[str]:
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(formatter)
        logger = logging.getLogger("tunnel.test")
        logger.addHandler(handler)
        try:
            say()
        finally:
            logger.removeHandler(handler)
        text = stream.getvalue()
        text.encode()  # a file takes it
        return text.splitlines()

    return read


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("formatter", [LineFormatter(), JsonFormatter()], ids=["text", "json"])
def test_what_a_stranger_says_stays_in_its_line(
    lines: Callable[..., list[str]], formatter: logging.Formatter, hostile: str
):
    said = lines(formatter, lambda: about("tunnel.test", agent=hostile).warning("refused: %s", hostile))
    assert len(said) == 1
    assert said[0].isprintable()
    if isinstance(formatter, JsonFormatter):
        line = json.loads(said[0])
        assert (line["event"], line["agent"]) == (f"refused: {hostile}", hostile)


def test_a_json_line_has_its_fields(lines: Callable[..., list[str]]):
    log = about("tunnel.test", agent="web-1", session="s-1")
    (line,) = map(json.loads, lines(JsonFormatter(), lambda: log.warning("closed after %d s", 5)))
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "WARNING",
        "logger": "tunnel.test",
        "event": "closed after 5 s",
        "agent": "web-1",
        "session": "s-1",
    }


def _fail() -> None:
    try:
        raise ValueError("x\n2026-11-25 10:00:00,000 ERROR tunnel.session forged\x1b[2J")
    except ValueError:
        logging.getLogger("tunnel.test").exception("it failed")


def test_no_line_of_a_traceback_passes_for_a_record(lines: Callable[..., list[str]]):
    first, *rest = lines(LineFormatter(), _fail)
    assert first.endswith("ERROR tunnel.test it failed")
    assert rest
    assert all(line.startswith("    | ") and line.isprintable() for line in rest)
    (line,) = map(json.loads, lines(JsonFormatter(), _fail))
    assert "forged" in line["traceback"]


@pytest.mark.parametrize("formatter", [LineFormatter(), JsonFormatter()], ids=["text", "json"])
def test_a_line_is_bounded(lines: Callable[..., list[str]], formatter: logging.Formatter):
    (line,) = lines(formatter, lambda: logging.getLogger("tunnel.test").warning("x" * 1_000_000))
    assert len(line) < 2 * MAX_EVENT


def test_the_site_speaks_json_when_it_is_told_to(tmp_path: object):
    code = "import logging; logging.getLogger('tunnel.x').warning('a\\nb'); logging.getLogger('uvicorn.error').warning('up')"
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v0", "-c", code],
        cwd=ROOT,
        env=os.environ | {"LOG_FORMAT": "json", "DJANGO_SETTINGS_MODULE": "yumna_panel.settings"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    events = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    assert events == ["a\nb", "up"]
