"""The measure of a rush: the most connects within any second."""

import pytest

from tests.faults.fleet import peak


@pytest.mark.parametrize(
    ("times", "most"),
    [([], 0), ([5.0], 1), ([3.0, 1.0, 2.0], 1), ([1.9, 2.1, 2.8, 2.95, 9.0], 3), ([1.0, 2.0], 1)],
)
def test_the_peak_is_the_most_within_any_second(times, most):
    assert peak(times) == most
