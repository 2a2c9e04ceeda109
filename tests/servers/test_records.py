"""The history of commands: legal steps, what is kept of parameters, and what a died process left open."""

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from servers import records
from servers.access import CONSOLE
from servers.models import CommandRecord, Server
from servers.records import OPEN, STEPS, Outcome, State
from servers.redaction import MAX_BYTES, NOT_KEPT, redacted
from servers.text import visible


def begun(server: Server, state: State = State.PENDING, age: float = 0.0) -> uuid.UUID:
    command = uuid.uuid4()
    records.begin(command, server, "system", "exec", {}, CONSOLE)
    made = timezone.now() - timedelta(seconds=age)
    CommandRecord.objects.filter(pk=command).update(state=state, created_at=made)
    return command


def test_every_state_is_in_the_table_of_steps():
    assert set(STEPS) == set(State)
    assert {state for state, following in STEPS.items() if not following} == set(State) - set(OPEN)


@pytest.mark.django_db
@pytest.mark.parametrize("before", list(State))
@pytest.mark.parametrize("after", [State.SUCCEEDED, State.FAILED, State.CANCELLED, State.UNKNOWN])
def test_only_legal_steps_are_taken(server: Server, before: State, after: State):
    command = begun(server, before)
    assert records.end(command, Outcome(after, "code", "error"), 1.5) == (after in STEPS[before])
    record = CommandRecord.objects.get(pk=command)
    assert record.state == (after if after in STEPS[before] else before)
    assert (record.finished_at is not None) == (after in STEPS[before])


@pytest.mark.django_db
@pytest.mark.parametrize("before", list(State))
def test_a_command_is_handed_over_only_once(server: Server, before: State):
    command = begun(server, before)
    assert records.hand_over(command) == (before == State.PENDING)
    assert not records.hand_over(command)


@pytest.mark.django_db
def test_a_command_that_waits_for_nothing_is_handed_over_from_the_beginning(server: Server):
    records.begin(command := uuid.uuid4(), server, "system", "exec", {}, CONSOLE, handed_over=True)
    assert CommandRecord.objects.get(pk=command).state == State.SENT
    assert not records.hand_over(command)


@pytest.mark.django_db
def test_what_a_died_process_left_open_is_ended_truthfully(server: Server):
    old_sent, old_pending = begun(server, State.SENT, 3600), begun(server, State.PENDING, 3600)
    old_done, new_sent = begun(server, State.SUCCEEDED, 3600), begun(server, State.SENT, 1)
    assert records.end_forgotten(timedelta(minutes=10)) == 2
    states = dict(CommandRecord.objects.values_list("pk", "state"))
    assert states == {old_sent: "unknown", old_pending: "failed", old_done: "succeeded", new_sent: "sent"}
    assert CommandRecord.objects.get(pk=old_pending).code == "not_sent"
    assert not records.hand_over(old_pending)  # what was reported as not run is never sent later


def test_small_parameters_are_kept_as_they_are():
    params = {"argv": ["df", "-h"], "cwd": "/", "depth": 3, "ratio": 0.5, "all": True, "none": None}
    assert redacted(params) == params


@pytest.mark.parametrize("name", ["env", "stdin", "ENV", "content", "secret", "password", "token"])
def test_secret_parameters_are_named_but_not_kept(name: str):
    assert redacted({name: {"A": "hunter2"}, "list": [{name: "hunter2"}]}) == {
        name: NOT_KEPT,
        "list": [{name: NOT_KEPT}],
    }


@pytest.mark.parametrize("text", ["x" * 10_000, '"\\' * 5_000, "€" * 5_000])
def test_large_parameters_are_cut_and_marked(text: str):
    kept = redacted({"shell": text})
    assert kept["truncated"] is True
    assert kept["bytes"] > MAX_BYTES
    assert kept["start"].startswith('{"shell": "')
    assert len(json.dumps(kept)) <= MAX_BYTES


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text() | st.integers(), inner, max_size=5),
    max_leaves=50,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(), anything))
def test_whatever_the_parameters_are_the_record_is_bounded_json(params: dict[str, Any]):
    text = json.dumps(redacted(params), allow_nan=False)
    assert len(text) <= MAX_BYTES
    json.loads(text)
    assert "\\u0000" not in text  # PostgreSQL's JSON has no NUL


def test_endless_nesting_and_huge_numbers_are_kept_out():
    loop: list[Any] = []
    loop.append(loop)
    assert redacted({"loop": loop, "huge": 10**5000, "nan": float("nan")})["huge"] == "(int)"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain — été 日本", "plain — été 日本"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\u202eb", "a\\u202eb"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_cannot_be_seen_is_made_visible(text: str, shown: str):
    assert visible(text) == shown
