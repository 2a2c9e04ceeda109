"""When agents of a stopping worker are told to come back."""

import pytest

from tunnel.stopping import spread


@pytest.mark.parametrize("agents", [500, 700, 2000])
def test_agents_are_told_to_come_back_one_in_each_slice_of_the_spread(agents):
    told = spread(agents, 5.0)
    assert sorted(int(min(one, 4.999) * agents / 5.0) for one in told) == pytest.approx(range(agents), abs=1)
    assert all(0 <= one <= 5.0 for one in told)


def test_a_few_agents_need_no_spread():
    assert max(spread(7, 5.0)) <= 0.07
    assert max(spread(300, 5.0)) <= 3.0


def test_the_order_of_sessions_is_not_the_order_of_return():
    assert spread(200, 5.0) != sorted(spread(200, 5.0))


def test_without_a_spread_or_without_agents_nobody_waits():
    assert spread(3, 0.0) == [0.0, 0.0, 0.0]
    assert spread(0, 5.0) == []
