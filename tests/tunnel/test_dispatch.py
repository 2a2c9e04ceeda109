"""`send_command` says what is wrong with a call before anything is sent."""

import pytest

from agent_client.execution import GRACE
from agent_client.protocol import InvalidState
from tunnel import dispatch
from tunnel.requests import REPLY_GRACE


async def test_it_refuses_to_block_an_event_loop():
    with pytest.raises(InvalidState, match="asend_command"):
        dispatch.send_command("web-01", "GET_STATS")


@pytest.mark.parametrize("command", ["", "get_stats", "system", ".getUsage", "system."])
def test_a_command_is_get_stats_or_a_service_and_an_action(command):
    with pytest.raises(ValueError, match=r"service\.action"):
        dispatch.send_command("web-01", command)


@pytest.mark.parametrize("timeout", [0, -1, 3601, float("nan"), float("inf")])
def test_patience_is_bounded(timeout):
    with pytest.raises(ValueError, match="timeout"):
        dispatch.send_command("web-01", "GET_STATS", timeout=timeout)


def test_a_dot_in_an_action_belongs_to_the_action():
    request = dispatch.parse("vendor.disk.check", {"a": 1}, 5)
    assert (request.service, request.action, request.params) == ("vendor", "disk.check", {"a": 1})


def test_the_agent_can_say_that_it_stopped_a_command_before_its_caller_gives_up():
    assert GRACE <= REPLY_GRACE / 2
