"""`make coverage` counts what the tests take, in child processes too, and says what they do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import covered

ROOT = Path(__file__).resolve().parents[2]
RULE = """
import sys


def rule(number):
    if number > 1:
        return "many"
    return "few"


if __name__ == "__main__":
    print(rule(int(sys.argv[1])))
"""
TEST = """
import subprocess
import sys
from pathlib import Path

import rule


def test_few():
    assert rule.rule(1) == "few"


def test_many():
    done = subprocess.run([sys.executable, rule.__file__, "2"], capture_output=True, text=True)
    assert done.stdout.strip() == "many"
"""


def test_what_is_taken_in_a_child_counts_and_what_nobody_takes_is_named(tmp_path, monkeypatch, capfd):
    (tmp_path / "rule.py").write_text(RULE)
    (tmp_path / "unused.py").write_text(RULE)
    (tmp_path / "test_rule.py").write_text(TEST)
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    monkeypatch.setattr(covered, "ROOT", tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    notes = tmp_path / "notes"
    notes.mkdir()
    code, parts = covered.measured({"rule": ["rule.py"], "no": ["unused.py"]}, ["test_rule.py"], notes)
    assert code == 0, capfd.readouterr().out
    rule, unused = parts["rule"]["rule.py"], parts["no"]["unused.py"]
    assert (rule.lines, rule.lines_missed, rule.branches, rule.branches_missed) == (7, 0, 4, 0)
    assert (unused.lines_missed, unused.branches_missed) == (7, 4)
    assert covered.told(parts) == ["no"]
    told = capfd.readouterr().out
    assert "less than 95 % of no is taken by the tests near it" in told
    assert "not taken: 2, 5, 6" in told


def test_ninety_four_of_a_hundred_branches_are_not_enough_whatever_the_lines_say():
    lines = {"lines": 1000, "lines_missed": 0, "branches": 100}
    assert not covered.Taken(**lines, branches_missed=6).enough
    assert covered.Taken(**lines, branches_missed=5).enough


def test_a_part_whose_files_are_gone_is_a_mistake():
    with pytest.raises(RuntimeError, match=r"no file is called tunnel/no_such_file\.py"):
        covered._files(["tunnel/no_such_file.py"])


def test_each_part_has_its_files_and_each_test_near_it_is_there():
    for patterns in covered.PARTS.values():
        for pattern in patterns:
            assert covered._files([pattern])
    assert [name for name in covered.NEAR if not (ROOT / name).exists()] == []
