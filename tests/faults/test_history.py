"""The judge itself: a history that lies is refused."""

import pytest

from tests.faults.history import History


def history(outcome: str) -> History:
    made = History()
    with made.operation("a") as operation:
        if outcome == "ok":
            operation.ok()
        if outcome == "fail":
            operation.failed("not_sent", "no")
        if outcome == "unknown":
            operation.failed("no_reply", "unknown")
    return made


@pytest.mark.parametrize(
    ("outcome", "ran"), [("ok", ["a"]), ("fail", []), ("unknown", []), ("unknown", ["a"])]
)
def test_a_true_history_passes(outcome, ran):
    history(outcome).check(ran)


@pytest.mark.parametrize(
    ("outcome", "ran", "why"),
    [
        ("ok", ["a", "a"], "twice"),
        ("unknown", ["a", "a"], "twice"),
        ("ok", [], "never ran"),
        ("fail", ["a"], "reported as not run"),
        ("ok", ["a", "b"], "nobody asked"),
    ],
)
def test_a_lie_is_named(outcome, ran, why):
    with pytest.raises(AssertionError, match=why):
        history(outcome).check(ran)


def test_an_operation_that_raises_is_unknown_and_ended():
    made = History()
    with pytest.raises(OSError, match="cut"), made.operation("a"):
        raise OSError("cut")
    assert made.outcomes() == {"unknown": 1}
    assert made.slowest() >= 0
