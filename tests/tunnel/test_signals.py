"""Agents that come and go are told once each, by whoever wrote it down."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from servers import identity
from servers.models import Server
from tests.servers.test_signals import told
from tunnel import sessions
from tunnel.models import CloseReason, Worker
from tunnel.sessions import Welcome
from tunnel.signals import agent_connected, agent_disconnected

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def heard() -> Iterator[list[tuple[Any, ...]]]:
    news: list[tuple[Any, ...]] = []

    def came(
        sender: type, server_id: int, agent_id: str, session: uuid.UUID, address: str, basic: bool, **_: Any
    ):
        assert sender is Server
        news.append(("connected", agent_id, session, address))

    def went(
        sender: type, server_id: int, agent_id: str, session: uuid.UUID, reason: str, detail: str, **_: Any
    ):
        assert sender is Server
        news.append((reason, agent_id, session, detail))

    agent_connected.connect(came)
    agent_disconnected.connect(went)
    yield news
    agent_connected.disconnect(came)
    agent_disconnected.disconnect(went)


def make_worker() -> uuid.UUID:
    worker = uuid.uuid4()
    sessions.open_worker(worker, f"inbox-{worker}")
    return worker


def claim(server: Server, worker: uuid.UUID) -> uuid.UUID:
    session = uuid.uuid4()
    welcome = Welcome(server.pk, server.agent_id, server.secret_version)
    sessions.claim(welcome, session, worker, basic=True, address="203.0.113.9")
    return session


def test_a_session_is_told_when_it_opens_and_when_it_ends(heard):
    server, _ = identity.create("web-01")
    session = claim(server, make_worker())
    for reason in (CloseReason.AGENT_STOPPED, CloseReason.NETWORK_LOST):
        sessions.close(session, reason, "bye\x1b[2J")
    told()
    assert heard == [
        ("connected", "web-01", session, "203.0.113.9"),
        ("agent_stopped", "web-01", session, "bye\\x1b[2J"),
    ]


def test_a_session_that_is_replaced_is_told_before_the_one_that_replaces_it(heard):
    server, _ = identity.create("web-01")
    first = claim(server, make_worker())
    second = claim(server, make_worker())
    sessions.close(first, CloseReason.NETWORK_LOST)
    told()
    assert [(what, session) for what, _, session, _ in heard] == [
        ("connected", first),
        ("replaced", first),
        ("connected", second),
    ]


def test_a_session_of_a_dead_worker_is_told_by_who_ends_it_and_again_when_it_is_taken_back(heard):
    server, _ = identity.create("web-01")
    worker = make_worker()
    session = claim(server, worker)
    Worker.objects.filter(pk=worker).update(lease_until=Now() - timedelta(seconds=1))
    assert [sessions.end_lost() for _ in range(2)] == [["web-01"], []]
    sessions.renew(worker)
    assert sessions.reclaim(worker, [str(session)]) == {str(session)}
    told()
    assert [what for what, *_ in heard] == ["connected", "worker_lost", "connected"]
    assert {one for _, _, one, _ in heard} == {session}


def test_a_claim_that_is_refused_is_not_told(heard):
    server, _ = identity.create("web-01")
    worker = make_worker()
    Server.objects.update(status=Server.Status.SUSPENDED)
    with pytest.raises(sessions.NoLongerWelcome):
        claim(server, worker)
    told()
    assert heard == []
