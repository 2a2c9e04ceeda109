"""When the agent dials again."""

from random import Random

import pytest

from agent_client.address import Address
from agent_client.backoff import LONGEST_GOODBYE, SETTLED_AFTER, Backoff, Ending, uniform
from agent_client.masters import Masters


def highest(low: float, high: float) -> float:
    return high


def lowest(low: float, high: float) -> float:
    return low


def test_the_first_retry_comes_within_a_second_and_the_last_within_a_minute():
    backoff = Backoff(highest)
    waits = [backoff.wait(Ending.UNREACHABLE) for _ in range(15)]
    assert waits[:4] == [1.0, 1.5, 2.25, 3.375]
    assert set(waits[11:]) == {60.0}


def test_draws_lie_between_the_two_and_fill_the_space():
    draws = sorted(uniform(2.0, 4.0) for _ in range(1000))
    assert 2.0 <= draws[0] < 2.1
    assert 2.9 < draws[500] < 3.1 < 3.9 < draws[-1] < 4.0


def test_jitter_is_full():
    backoff = Backoff(lowest)
    assert [backoff.wait(Ending.LOST) for _ in range(5)] == [0.0] * 5
    drawn = {round(Backoff().wait(Ending.LOST), 6) for _ in range(50)}
    assert len(drawn) > 40
    assert all(0 <= wait <= 1 for wait in drawn)


def test_only_a_session_that_lived_a_while_starts_the_count_again():
    backoff = Backoff(highest)
    for _ in range(4):
        backoff.wait(Ending.LOST, lived=SETTLED_AFTER - 1)
    assert backoff.wait(Ending.LOST, lived=1.0) == 1.5**4
    assert backoff.wait(Ending.LOST, lived=SETTLED_AFTER) == 1.0


@pytest.mark.parametrize("ending", [Ending.REFUSED, Ending.REVOKED])
def test_a_refusal_slows_down_to_minutes(ending):
    backoff = Backoff(highest)
    waits = [backoff.wait(ending) for _ in range(8)]
    assert 60 <= waits[0] <= 75
    assert waits[-1] == 900


def test_who_was_replaced_waits_half_a_minute_to_a_minute():
    assert Backoff(lowest).wait(Ending.REPLACED) == 30.0
    assert Backoff(highest).wait(Ending.REPLACED) == 60.0


def test_two_agents_with_one_id_take_turns_three_times_in_five_minutes_and_rarely_then():
    for jitter in (lowest, highest, Random(4).uniform):
        turns, now = [0.0], 0.0  # the second one comes in, and the first one is out
        agents = [Backoff(jitter), Backoff(jitter)]
        while now < 3600:
            lived = now - (turns[-2] if len(turns) > 1 else -10_000.0)
            now += agents[(len(turns) - 1) % 2].wait(Ending.REPLACED, lived=lived)
            turns.append(now)
        assert sum(turn < 300 for turn in turns) <= 3
        assert len(turns) <= 20


def test_a_list_of_masters_makes_nobody_come_back_sooner_to_where_he_was_replaced():
    masters = Masters([Address(True, host, 443, "/tunnel") for host in ("a", "b")], lowest)
    first = masters.choose(0.0)
    assert masters.ended(first, Ending.REPLACED, 0.0) == 30.0
    other = next(one for one in masters._masters if one is not first)
    assert masters.ended(other, Ending.REPLACED, 30.0, lived=100.0) == 240.0


def test_restarts_on_purpose_do_not_make_the_next_waits_longer():
    backoff = Backoff(highest)
    for _ in range(3):
        backoff.wait(Ending.SENT_AWAY, lived=1.0)
        assert [backoff.wait(Ending.UNREACHABLE) for _ in range(2)] == [1.0, 1.5]


def test_goodbye_says_when_and_is_bounded():
    assert 7 <= Backoff().wait(Ending.SENT_AWAY, retry_after=7.0) <= 7.7
    assert (
        Backoff(highest).wait(Ending.SENT_AWAY, retry_after=0.0) == 0.5
    )  # nobody comes in step with the others
    assert Backoff(highest).wait(Ending.SENT_AWAY, retry_after=100.0) == 110.0
    assert Backoff(lowest).wait(Ending.SENT_AWAY, retry_after=1e9) == LONGEST_GOODBYE
    assert Backoff(lowest).wait(Ending.SENT_AWAY, retry_after=-5.0) == 0.0
