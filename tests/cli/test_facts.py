"""The values between commands and panels: hostile JSON is refused whole, words are those of the panel."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.utils.translation import override

from tests.cli.test_rest import at
from tests.cli.web import Asked, problem, reply, serving
from tunnel.cli import doctor_node, remote, rest_facts, words
from tunnel.cli.exits import Exit, Failure
from tunnel.cli.facts import Secret
from tunnel.cli.remote import Remote
from tunnel.cli.rest_errors import NotThePanel
from tunnel.models import CloseReason, RefusalReason
from tunnel.presence import State

SERVER: dict[str, Any] = {
    "name": "alpha",
    "agent_id": "alpha",
    "connection_type": "tunnel",
    "status": "active",
    "state": "active",
}


def test_states_and_reasons_are_those_of_the_panel_in_english():
    with override("en"):
        assert {state.value: words.STATES[state][0] for state in State} == {
            state.value: str(state.label) for state in State
        }
        assert {reason.value: str(reason.label) for reason in CloseReason} == words.REASONS
        assert {reason.value: str(reason.label) for reason in RefusalReason} == words.REFUSALS
    assert set(doctor_node.REFUSED_FIXES) == set(words.REFUSALS)


def test_a_server_object_becomes_a_node():
    node = rest_facts.node(
        {**SERVER, "since": "2026-01-02T03:04:05.678901Z", "reason": None, "tags": ["a", "b"], "new": 1}
    )
    assert node.since == datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
    assert (node.tags, node.close_reason, node.active) == (("a", "b"), "", True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": None},
        {"name": 5},
        {"agent_id": ["x"]},
        {"state": {}},
        {"since": "yesterday"},
        {"since": 17},
        {"tags": "web"},
        {"rtt_seconds": "fast"},
        {"rtt_seconds": True},
        {"host_facts": []},
        {"usage": "much"},
    ],
    ids=str,
)
def test_a_member_of_a_wrong_type_is_one_sentence(wrong: dict[str, Any]):
    with pytest.raises(NotThePanel, match="is not what this program expects"):
        rest_facts.node({**SERVER, **wrong})


@pytest.mark.parametrize("answer", [{}, {"results": 5}, {"results": [5]}, {"results": {"a": 1}}], ids=str)
def test_a_list_that_is_none_is_refused(answer: Any):
    if answer:
        with pytest.raises(NotThePanel):
            rest_facts.page(answer)
    else:
        assert rest_facts.page(answer) == []


def test_a_secret_is_not_shown_by_accident():
    assert "s3cret" not in repr(Secret("a", "a", "s3cret"))


def pages(number: int) -> Any:
    """A panel with so many pages, each of which names a next one elsewhere."""

    def answer(asked: Asked) -> bytes:
        page = int(asked.path.rpartition("page=")[2])
        here = {**SERVER, "name": f"n{page}", "agent_id": f"id-{page}"}
        following = "https://evil.test/steal" if page < number else None
        return reply(200, {"count": number, "next": following, "previous": None, "results": [here]})

    return answer


def test_pages_are_asked_for_one_by_one_and_never_where_an_answer_says():
    with serving(pages(3)) as web:
        assert [node.name for node in Remote(at(web.port), "yumna").nodes()] == ["n1", "n2", "n3"]
    assert [asked.path.rpartition("&")[2] for asked in web.asked] == ["page=1", "page=2", "page=3"]


def test_a_list_without_end_is_given_up_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(remote, "MOST_PAGES", 3)
    with serving(pages(99)) as web, pytest.raises(Failure, match="more than 1500 servers"):
        Remote(at(web.port), "yumna").nodes()


def test_several_tags_are_any_of_them_though_the_panel_means_all():
    rows = [
        {**SERVER, "name": name, "agent_id": name, "tags": tags}
        for name, tags in (("a", ["x"]), ("b", ["y"]), ("c", []))
    ]
    with serving(reply(200, {"next": None, "results": rows})) as web:
        end = Remote(at(web.port), "yumna")
        assert [node.name for node in end.nodes(["x", "y"])] == ["a", "b"]
        assert [node.name for node in end.nodes(["x"])] == ["a"]
    assert "tag=" not in web.asked[0].path
    assert "tag=x" in web.asked[1].path


async def command(answer: Any, timeout: float = 5.0) -> Any:
    with serving(answer) as web:
        return await Remote(at(web.port), "yumna").ask(rest_facts.node(SERVER), "a", "b", {}, timeout)


ENDS = {
    "its own word": (problem(502, "timeout", "killed", ran="yes"), "timeout", "yes"),
    "a word of tomorrow": (problem(409, "tomorrow", "what", ran="unknown"), "tomorrow", "unknown"),
    "refused before": (problem(403, "not_permitted", "no"), "not_permitted", "no"),
    "token gone": (problem(401, "not_authenticated", "no"), "not_authenticated", "no"),
    "a failure inside": (problem(500, "internal", "oh"), "internal", "unknown"),
    "a lie about ran": (problem(500, "internal", "oh", ran="maybe"), "internal", "unknown"),
    "a proxy's page": (reply(502, b"<html>", "text/html"), "relay_lost", "unknown"),
    "no answer": (lambda asked: None, "relay_lost", "unknown"),
    "rubbish": (reply(200, b"{"), "relay_lost", "unknown"),
}


@pytest.mark.parametrize("case", ENDS)
async def test_a_command_that_fails_says_whether_it_ran(case: str):
    from servers.errors import CommandError

    answer, code, ran = ENDS[case]
    with pytest.raises(CommandError) as told:
        await command(answer)
    assert (told.value.code, told.value.ran) == (code, ran)


async def test_each_command_has_a_key_of_its_own():
    with serving(reply(200, {"data": {"pong": True}})) as web:
        end = Remote(at(web.port), "yumna")
        for _ in range(2):
            assert await end.ask(rest_facts.node(SERVER), "agent", "ping", {}, 3.0) == {"pong": True}
    first, second = (asked.headers["idempotency-key"] for asked in web.asked)
    assert first != second
    assert web.asked[0].json == {"service": "agent", "action": "ping", "params": {}, "timeout": 3.0}


def test_a_server_that_is_nowhere_is_3(monkeypatch: pytest.MonkeyPatch):
    def answer(asked: Asked) -> bytes:
        if "/servers/?" in asked.path:
            return reply(200, {"next": None, "results": []})
        return problem(404, "not_found", "none")

    with serving(answer) as web, pytest.raises(Failure, match="none was added yet") as told:
        Remote(at(web.port), "yumna").find("nobody")
    assert told.value.code is Exit.NO_SUCH_SERVER
