"""A figure says what it is, keeps its promise or not, and finds its place in the page."""

import pytest

from bench import __main__ as bench
from bench.figures import HEAD, Figure
from tests.docs.pages import page

BASE = Figure("few", "ms", (10.0, 20.0, 30.0))


def test_a_row_says_least_middle_most_and_the_ratio_to_another():
    row = Figure("many", "ms", (40.0, 50.0, 900.0), most=60.0, base=BASE).row()
    assert row == "| many | 3 | 40.0 ms | 50.0 ms | 900 ms | 2.50 × few | median ≤ 60.0 ms | ok |"
    assert row.count("|") == HEAD.splitlines()[0].count("|")


def test_a_promise_of_each_run_is_broken_by_one():
    assert Figure("", "ms", (1.0, 1.0, 9.0), most=5.0).kept
    broken = Figure("", "ms", (1.0, 1.0, 9.0), most=5.0, always=True)
    assert not broken.kept
    assert "**too slow**" in broken.row()


def test_what_could_not_be_measured_keeps_no_promise():
    missing = Figure("", "ms", (), most=5.0)
    assert not missing.kept
    assert "**not measured**" in missing.row()


def test_the_figures_replace_the_older_ones_in_the_page(monkeypatch, tmp_path):
    copy = tmp_path / "benchmarks.md"
    copy.write_text(page("docs/benchmarks.md"))
    monkeypatch.setattr(bench, "PAGE", copy)
    bench.write("older \\1")
    bench.write("second")
    assert "older" not in copy.read_text()
    assert "<!-- figures -->\nsecond\n<!-- end of figures -->" in copy.read_text()


def test_a_broken_promise_is_said_last_and_in_the_exit_code(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["bench"])
    monkeypatch.setattr(bench, "measure", lambda: iter([BASE, Figure("slow", "ms", (9.0,), most=1.0)]))
    assert bench.main() == 1
    assert capsys.readouterr().out.splitlines()[-1] == "RED: slow"


@pytest.mark.parametrize("name", ["dispatch", "REST command", "pages", "queries", "state change"])
def test_the_page_says_how_each_is_measured(name):
    assert f"* **{name}**" in page("docs/benchmarks.md")
