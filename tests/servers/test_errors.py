"""The errors a caller sees."""

import pickle

import pytest

from agent_client.protocol.codes import AGENT_CODES, NOT_RUN_CODES, UNKNOWN_OUTCOME_CODES, Code
from agent_client.protocol.errors import TunnelError
from servers import errors


@pytest.mark.parametrize("code", sorted(Code))
def test_every_code_of_the_wire_becomes_an_error_that_says_whether_it_ran(code: Code):
    error = errors.from_code(code.value, "so it is")
    assert isinstance(error, TunnelError)
    assert (error.code, str(error)) == (code.value, "so it is")
    if code in NOT_RUN_CODES:
        assert error.ran == "no"
    if code in UNKNOWN_OUTCOME_CODES:
        assert error.ran == "unknown"
    if code in AGENT_CODES:
        assert type(error) is errors.CommandFailed


@pytest.mark.parametrize(
    ("code", "ran"),
    [
        ("expired", "no"),
        ("busy", "no"),
        ("forbidden", "no"),
        ("cancelled", "unknown"),
        ("duplicate", "unknown"),
        ("timeout", "yes"),
        ("internal", "yes"),
        ("permission_denied", "yes"),
        ("a_word_of_a_host_panel", "yes"),
    ],
)
def test_an_answered_error_ran_unless_the_agent_refused_it(code: str, ran: str):
    assert errors.CommandFailed(code, "x").ran == ran


@pytest.mark.parametrize("code", sorted(NOT_RUN_CODES | UNKNOWN_OUTCOME_CODES))
def test_an_error_without_a_sentence_makes_its_own(code: Code):
    sentence = str(errors.from_code(code.value))
    assert ", " in sentence
    assert sentence[0].islower()
    assert not sentence.endswith(".")


def test_an_answer_without_a_sentence_shows_its_code():
    assert str(errors.CommandFailed("no_space")) == "no_space"


@pytest.mark.parametrize(
    "error",
    [
        errors.NotConnected("gone"),
        errors.CommandFailed("busy", "later"),
        errors.StreamLost("relay_lost", "cut"),
    ],
)
def test_errors_survive_the_way_between_processes(error: errors.CommandError):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (again.code, again.message, again.ran) == (error.code, error.message, error.ran)


@pytest.mark.parametrize("code", sorted(AGENT_CODES | UNKNOWN_OUTCOME_CODES))
def test_a_broken_stream_says_why_and_that_nobody_knows_what_arrived(code: Code):
    error = errors.StreamLost(code.value)
    assert (error.code, error.ran) == (code.value, "unknown")
    assert str(error)[0].islower()
    assert len(str(error)) > len(code.value)
