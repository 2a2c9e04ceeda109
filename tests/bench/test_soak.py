"""A soak reads what tests saw, and keeps in the page what did not run this time."""

import json

import pytest

from tests import soak
from tests.docs.pages import page

REPORT = """<testsuites><testsuite>
<testcase classname="tests.faults.test_x" name="test_a_worker_is_killed[uvicorn]" time="7200.0"/>
<testcase classname="tests.protocol.test_y" name="test_much_rubbish" time="3.2"><failure/></testcase>
</testsuite></testsuites>"""
SEEN = [
    {
        "test": "tests/faults/test_x.py::test_a_worker_is_killed[uvicorn]",
        "what": "back, p99",
        "value": 7.25,
        "unit": "s",
        "most": 10,
    },
    {
        "test": "tests/faults/test_x.py::test_a_worker_is_killed[uvicorn]",
        "what": "ran twice",
        "value": 0,
        "unit": "",
        "most": 0,
    },
]


@pytest.fixture
def tests(tmp_path):
    (tmp_path / "report.xml").write_text(REPORT)
    (tmp_path / "seen.jsonl").write_text("".join(json.dumps(one) + "\n" for one in SEEN))
    return soak.read(tmp_path / "report.xml", tmp_path / "seen.jsonl")


def test_each_figure_has_a_row_with_its_bound(tests):
    killed, rubbish = tests.values()
    assert killed.rows("abc1234", "2026-01-02 03:04") == [
        "| test_x.py: a worker is killed [uvicorn] | back, p99 | 7.25 s | ≤ 10 s | ok | abc1234 | 2026-01-02 03:04 | 120 min |",
        "| test_x.py: a worker is killed [uvicorn] | ran twice | 0 | ≤ 0 | ok | abc1234 | 2026-01-02 03:04 | 120 min |",
    ]
    assert "| **failed** |" in rubbish.rows("", "")[0]


def test_a_figure_beyond_its_bound_is_said(tests):
    killed = next(iter(tests.values()))
    killed.seen[0]["value"] = 11.0
    assert "| **missed** |" in killed.rows("", "")[0]


def test_cases_without_figures_share_a_row():
    tests = [soak.Ran(f"test_z.py: a form [{case}]", seconds=1.0) for case in "abc"]
    tests.append(soak.Ran("test_z.py: a form [d]", "failed"))
    whole, failed = soak.gathered(tests)
    assert whole.rows("", "")[0].startswith("| test_z.py: a form | 3 cases |")
    assert "**failed**" in failed.rows("", "")[0]


def test_rows_of_tests_that_did_not_run_stay(tests, monkeypatch, tmp_path):
    copy = tmp_path / "benchmarks.md"
    copy.write_text(page("docs/benchmarks.md"))
    monkeypatch.setattr(soak, "PAGE", copy)
    killed, rubbish = tests.values()
    soak.write(killed.rows("1st", ""))
    soak.write(rubbish.rows("1st", ""))
    soak.write(killed.rows("2nd", ""))
    rows = soak.FENCE.search(copy.read_text())[0]
    assert rows.count("| 2nd |") == 2
    assert rows.count("| 1st |") == 1
    assert "<!-- figures -->" in copy.read_text()


def test_whatever_has_a_number_for_soaks_is_run():
    assert soak.everything()[0] == "tests/faults"
    assert all(soak.ROOT.joinpath(name).exists() for name in soak.everything())
