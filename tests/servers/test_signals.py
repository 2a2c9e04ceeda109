"""Signals: sent once, after the commit, in a thread of their own, and no receiver disturbs who tells."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.dispatch import Signal
from django.utils import timezone

from servers import access, identity, nodes, records, telling, transports
from servers.errors import CommandFailed
from servers.models import CommandRecord, Server
from servers.records import Outcome, State
from servers.signals import command_finished
from tests.e2e.cluster import until

pytestmark = pytest.mark.django_db(transaction=True)

Heard = list[dict[str, Any]]


@pytest.fixture
def heard() -> Iterator[Heard]:
    """What a receiver of `command_finished` heard, with the name of the thread it heard it in."""
    news: Heard = []

    def hear(sender: type, signal: Signal, **facts: Any) -> None:
        assert sender is Server
        news.append({**facts, "thread": threading.current_thread().name})

    command_finished.connect(hear)
    yield news
    command_finished.disconnect(hear)


def told() -> None:
    """Return when all that was handed over so far has been told."""
    telling._thread.submit(lambda: None).result(10)


@pytest.fixture
def transport(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Return a function that makes servers that dial in answer with what it is given."""

    class Answering(transports.Absent):
        def __init__(self, answer: Callable[[], Any]) -> None:
            super().__init__("tunnel", "")
            self.answer = answer

        def run(self, *_: Any, **__: Any) -> Any:
            return self.answer()

    def answer(with_what: Callable[[], Any]) -> None:
        monkeypatch.setitem(transports._transports, "tunnel", Answering(with_what))

    return answer


def fail() -> None:
    raise CommandFailed("not_found", "no such thing")


@pytest.mark.parametrize(
    ("answer", "state", "code"), [(dict, "succeeded", ""), (fail, "failed", "not_found")]
)
def test_a_finished_command_is_told_once(heard: Heard, transport: Any, answer: Any, state: str, code: str):
    server, _ = identity.create("web-01")
    transport(answer)
    try:
        nodes.run(server, "system", "getInfo", actor=access.CONSOLE)
    except CommandFailed:
        assert state == "failed"
    told()
    (news,) = heard
    record = CommandRecord.objects.get()
    assert news == {
        "server_id": server.pk,
        "agent_id": "web-01",
        "command_id": record.pk,
        "service": "system",
        "action": "getInfo",
        "state": state,
        "code": code,
        "duration_seconds": record.duration_seconds,
        "actor": str(access.CONSOLE),
        "thread": news["thread"],
    }
    assert news["thread"].startswith("servers-signals")


def test_the_panels_own_errands_are_not_told(heard: Heard, transport: Any):
    transport(dict)
    nodes.run(identity.create("web-01")[0], "system", "getInfo")
    told()
    assert heard == []


def begun(server: Server) -> uuid.UUID:
    command = uuid.uuid4()
    records.begin(command, server, "system", "getInfo", {}, access.CONSOLE)
    records.hand_over(command)
    return command


def test_a_command_that_ends_twice_is_told_once(heard: Heard):
    command = begun(identity.create("web-01")[0])
    records.end(command, Outcome(State.SUCCEEDED), 0.1)
    records.end(command, Outcome(State.FAILED), 0.2)
    told()
    assert [news["state"] for news in heard] == ["succeeded"]


def test_a_command_that_a_dead_process_left_behind_is_told_once(heard: Heard):
    server, _ = identity.create("web-01")
    command = begun(server)
    CommandRecord.objects.update(created_at=timezone.now() - timedelta(hours=2))
    assert [records.end_forgotten(timedelta(hours=1)) for _ in range(2)] == [1, 0]
    told()
    assert [(news["command_id"], news["state"]) for news in heard] == [(command, "unknown")]


def test_nothing_is_told_of_what_is_rolled_back(heard: Heard):
    command = begun(identity.create("web-01")[0])
    with transaction.atomic():
        records.end(command, Outcome(State.SUCCEEDED), 0.1)
        told()
        assert heard == []  # not before the commit
        transaction.set_rollback(True)
    told()
    assert heard == []
    with transaction.atomic():
        records.end(command, Outcome(State.FAILED), 0.1)
    told()
    assert [news["state"] for news in heard] == ["failed"]


def test_the_error_of_a_receiver_is_logged_and_hits_nobody(heard: Heard, caplog: pytest.LogCaptureFixture):
    def fall(**_: Any) -> None:
        raise RuntimeError("a receiver fell over")

    command_finished.connect(fall)
    try:
        assert records.end(begun(identity.create("web-01")[0]), Outcome(State.SUCCEEDED), 0.1)
        told()
    finally:
        command_finished.disconnect(fall)
    assert len(heard) == 1
    assert "a receiver fell over" in caplog.text


def test_a_slow_receiver_delays_nobody_and_what_waits_for_it_is_bounded(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(telling, "_room", threading.BoundedSemaphore(3))
    reached, go_on, signal = threading.Event(), threading.Event(), Signal()
    numbers = []

    def slow(number: int, **_: Any) -> None:
        reached.set()
        go_on.wait(10)
        numbers.append(number)

    signal.connect(slow)
    for number in range(5):
        telling.tell(signal, Server, {"number": number})
    assert reached.wait(10)
    assert numbers == []  # nobody waited for it
    assert caplog.text.count("one is dropped") == 2
    go_on.set()
    until(lambda: numbers == [0, 1, 2], 10, "the rest is told in order")
