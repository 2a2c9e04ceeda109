"""A figure says what it is, keeps its promise or not, and finds its place in the page."""

import pytest

from bench import __main__ as bench
from bench.figures import HEAD, Figure
from tests.docs.pages import page

BASE = Figure("few", "ms", (10.0, 20.0, 30.0))


def test_a_row_says_least_middle_most_and_the_ratio_to_another():
    row = Figure("many", "ms", (40.0, 50.0, 900.0), limit=60.0, base=BASE).row()
    assert row == "| many | 3 | 40.0 ms | 50.0 ms | 900 ms | 2.50 × few |  | median ≤ 60.0 ms | ok |"
    assert row.count("|") == HEAD.splitlines()[0].count("|")


def test_a_promise_of_each_run_is_broken_by_one():
    assert Figure("", "ms", (1.0, 1.0, 9.0), limit=5.0).kept
    broken = Figure("", "ms", (1.0, 1.0, 9.0), limit=5.0, always=True)
    assert not broken.kept
    assert "**missed**" in broken.row()


def test_a_goal_that_is_not_reached_breaks_no_promise():
    short = Figure("", "ms", (2.0,), limit=3.0, goal=1.5)
    assert short.kept
    assert not short.reached
    assert short.row().endswith("| ≤ 1.50 ms | median ≤ 3.00 ms | short of the goal |")
    assert Figure("", "ms", (1.0,), limit=3.0, goal=1.5).row().endswith("| ok |")


def test_of_a_rate_more_is_better():
    rate = Figure("", "commands/s", (90.0, 100.0, 110.0), limit=95.0, goal=120.0, more=True)
    assert rate.kept
    assert not rate.reached
    assert "median ≥ 95 commands/s" in rate.row()
    assert not Figure("", "commands/s", (90.0, 100.0), limit=95.0, always=True, more=True).kept


def test_what_could_not_be_measured_keeps_no_promise():
    missing = Figure("", "ms", (), limit=5.0)
    assert not missing.kept
    assert "**not measured**" in missing.row()


def test_the_figures_replace_the_older_ones_in_the_page(monkeypatch, tmp_path):
    copy = tmp_path / "benchmarks.md"
    copy.write_text(page("docs/benchmarks.md"))
    monkeypatch.setattr(bench, "PAGE", copy)
    bench.write("the former figures \\1")
    bench.write("second")
    assert "the former figures" not in copy.read_text()
    assert "<!-- figures -->\nsecond\n<!-- end of figures -->" in copy.read_text()


def test_a_broken_promise_is_said_last_and_in_the_exit_code(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["bench"])
    monkeypatch.setattr(bench, "measure", lambda _: iter([BASE, Figure("slow", "ms", (9.0,), limit=1.0)]))
    assert bench.main() == 1
    assert capsys.readouterr().out.splitlines()[-1] == "RED: slow"


def test_parts_can_be_chosen(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["bench", "--only", "exec", "idle"])
    chosen = []
    monkeypatch.setattr(bench, "measure", lambda parts: iter(chosen.append(parts) or [BASE]))
    assert bench.main() == 0
    assert chosen == [{"exec", "idle"}]
    assert "RED" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "name",
    [
        "floor",
        "usual ways",
        "dispatch",
        "SQL",
        "exec",
        "idle agent",
        "memory",
        "restart",
        "outage",
        "REST command",
        "pages",
        "queries",
        "state change",
    ],
)
def test_the_page_says_how_each_is_measured(name):
    assert f"* **{name}**" in page("docs/benchmarks.md")
