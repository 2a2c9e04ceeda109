"""Session rows and leases: the newest wins, nobody else's session is ended, the dead are noticed."""

import math
import threading
import time
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.models.functions import Now
from django.utils import timezone

from servers import identity, records
from servers.access import CONSOLE
from servers.models import CommandRecord, Server
from tunnel import background, presence, sessions
from tunnel.models import CloseReason, Lease, Session, Worker
from tunnel.presence import State
from tunnel.sessions import ClaimedTooLate, NoLongerWelcome, Welcome

pytestmark = pytest.mark.django_db


@pytest.fixture
def server():
    return identity.create("web-01")[0]


@pytest.fixture
def worker():
    return make_worker()


def make_worker() -> uuid.UUID:
    worker = uuid.uuid4()
    sessions.open_worker(worker, f"inbox-{worker}")
    return worker


def welcome(server: Server) -> Welcome:
    return Welcome(server.pk, server.agent_id, server.secret_version)


def claim(server: Server, worker: uuid.UUID) -> tuple[uuid.UUID, sessions.Loser | None]:
    session = uuid.uuid4()
    return session, sessions.claim(welcome(server), session, worker, basic=True, address="203.0.113.9")


def state_of(server: Server) -> presence.Presence:
    server.refresh_from_db()
    return presence.of([server])[server.pk]


def lapse(worker: uuid.UUID, ago: float = 1.0) -> None:
    Worker.objects.filter(pk=worker).update(lease_until=Now() - timedelta(seconds=ago))


def test_a_claim_opens_a_session_and_makes_an_unknown_server_active(server, worker):
    session, loser = claim(server, worker)
    assert loser is None
    assert state_of(server).state is State.ACTIVE
    assert state_of(server).session == session
    assert server.status == Server.Status.ACTIVE


def test_the_newest_claim_wins_and_names_the_loser(server, worker):
    other = make_worker()
    first, _ = claim(server, worker)
    second, loser = claim(server, other)
    assert (loser.session, loser.inbox) == (str(first), f"inbox-{worker}")
    assert Session.objects.get(pk=first).close_reason == CloseReason.REPLACED
    assert state_of(server).session == second


def test_two_machines_with_one_id_are_told_of_in_the_log(server, worker, caplog):
    for _ in range(sessions.TWINS_AFTER):
        claim(server, worker)
    assert "if two machines have this id" not in caplog.text
    claim(server, worker)
    assert "replaced 3 times within 10 minutes: if two machines have this id" in caplog.text
    assert f"agent={server.agent_id}" in caplog.text


def test_the_late_close_of_a_loser_changes_nothing(server, worker):
    first, _ = claim(server, worker)
    second, _ = claim(server, worker)
    assert not sessions.close(first, CloseReason.NETWORK_LOST)
    assert Session.objects.get(pk=first).close_reason == CloseReason.REPLACED
    assert state_of(server).session == second
    assert sessions.close(second, CloseReason.NETWORK_LOST)


def test_a_claim_that_waited_too_long_ends_nobodys_session(server, worker):
    session, _ = claim(server, worker)
    late = {"basic": True, "address": None, "before": time.monotonic() - 0.1}
    with pytest.raises(ClaimedTooLate):
        sessions.claim(welcome(server), uuid.uuid4(), make_worker(), **late)
    assert state_of(server).session == session
    assert Session.objects.count() == 1


@pytest.mark.parametrize(("before", "tries"), [(math.inf, sessions.CLAIM_TRIES), (-math.inf, 1)])
def test_a_claim_is_tried_again_while_its_agent_waits(server, worker, monkeypatch, before, tries):
    tried = []

    def locked(*arguments: Any, **options: Any) -> None:
        tried.append(options["before"])
        raise OperationalError("database is locked")

    monkeypatch.setattr(sessions, "CLAIM_PAUSE", 0.0)
    monkeypatch.setattr(sessions, "_claim", locked)
    with pytest.raises(OperationalError):
        sessions.claim(welcome(server), uuid.uuid4(), worker, basic=True, address=None, before=before)
    assert tried == [before] * tries


def test_an_end_that_a_locked_database_held_up_is_left_for_later(server, worker, monkeypatch):
    session, _ = claim(server, worker)
    tried = []

    def locked(*arguments: Any) -> int:
        tried.append(arguments)
        raise OperationalError("database is locked")

    monkeypatch.setattr(sessions, "RACE", -1.0)
    monkeypatch.setattr(sessions, "_end", locked)
    with pytest.raises(OperationalError):
        sessions.close(session, CloseReason.NETWORK_LOST)
    assert len(tried) == 1


def test_a_worker_that_loses_a_race_for_its_first_lease_takes_it_all_the_same(monkeypatch):
    opened, open_worker = [], sessions._open_worker

    def locked_once(*arguments: Any) -> None:
        opened.append(arguments)
        if len(opened) == 1:
            raise OperationalError("database is locked")
        open_worker(*arguments)

    monkeypatch.setattr(sessions, "CLAIM_PAUSE", 0.0)
    monkeypatch.setattr(sessions, "_open_worker", locked_once)
    worker = make_worker()
    assert sessions.renew(worker)
    assert len(opened) == 2


@pytest.mark.parametrize("change", ["suspend", "rotate_secret", "connection_type", "agent_id", "delete"])
def test_a_server_that_changed_during_the_handshake_is_not_claimed(server, worker, change):
    seen = welcome(server)
    if change == "delete":
        server.delete()
    elif hasattr(identity, change):
        getattr(identity, change)(server)
    else:
        Server.objects.filter(pk=server.pk).update(
            **{change: "http" if change == "connection_type" else "other-id"}
        )
    with pytest.raises(NoLongerWelcome):
        sessions.claim(seen, uuid.uuid4(), worker, basic=True, address=None)
    assert not Session.objects.exists()


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE servers SET status='suspended'",
        "UPDATE servers SET connection_type='http'",
        "UPDATE servers SET secret_version=secret_version+1",
        "UPDATE servers SET agent_id='other-id'",
    ],
)
def test_a_change_by_plain_sql_is_seen_by_the_holder(server, worker, sql):
    session, _ = claim(server, worker)
    held = {str(session): welcome(server)}
    assert sessions.unwelcome(worker, held) == {}
    with connection.cursor() as cursor:
        cursor.execute(sql)
    assert sessions.unwelcome(worker, held) == {str(session): CloseReason.REVOKED}


def test_a_replaced_or_deleted_session_is_seen_by_its_old_holder(server, worker):
    first, _ = claim(server, worker)
    held = {str(first): welcome(server)}
    claim(server, make_worker())
    assert sessions.unwelcome(worker, held) == {str(first): CloseReason.REPLACED}


def test_plain_sql_makes_an_agent_welcome(worker):
    server = Server.objects.create(name="web-02", agent_id="web-02", connection_type="ssh")
    with pytest.raises(NoLongerWelcome):
        claim(server, worker)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE servers SET connection_type='tunnel' WHERE agent_id='web-02'")
    claim(server, worker)
    assert state_of(server).state is State.ACTIVE


def test_a_node_is_offline_as_soon_as_the_lease_of_its_worker_ran_out(server, worker):
    claim(server, worker)
    lapse(worker)
    assert state_of(server).state is State.RECONNECTING
    assert state_of(server).close_reason == CloseReason.WORKER_LOST
    lapse(worker, ago=61)
    assert state_of(server).state is State.OFFLINE


def test_sessions_of_dead_workers_are_ended_at_the_end_of_their_lease(server, worker):
    session, _ = claim(server, worker)
    assert sessions.end_lost() == []
    lapse(worker, ago=100)
    assert sessions.end_lost() == [server.agent_id]
    row = Session.objects.select_related("worker").get(pk=session)
    assert (row.close_reason, row.closed_at) == (CloseReason.WORKER_LOST, row.worker.lease_until)


def test_a_worker_that_was_only_late_takes_its_sessions_back(server, worker):
    session, _ = claim(server, worker)
    lapse(worker)
    sessions.end_lost()
    assert not sessions.renew(worker)
    assert sessions.reclaim(worker, [str(session)]) == {str(session)}
    assert state_of(server).state is State.ACTIVE


def test_a_late_worker_does_not_take_back_what_somebody_else_has(server, worker):
    session, _ = claim(server, worker)
    lapse(worker)
    sessions.end_lost()
    newer, _ = claim(server, make_worker())
    sessions.renew(worker)
    assert sessions.reclaim(worker, [str(session)]) == set()
    assert state_of(server).session == newer


def test_of_two_lost_sessions_of_a_server_only_the_newest_is_taken_back(server, worker):
    other = make_worker()
    older, _ = claim(server, worker)
    lapse(worker)
    sessions.end_lost()
    newer, _ = claim(server, other)
    lapse(other)
    sessions.end_lost()
    assert sessions.reclaim(worker, [str(older)]) == set()
    assert sessions.reclaim(other, [str(newer)]) == {str(newer)}


def test_a_lease_is_one_holders_until_it_runs_out():
    assert sessions.take_lease("sweep", "a", 10)
    assert sessions.take_lease("sweep", "a", 10)
    assert not sessions.take_lease("sweep", "b", 10)
    Lease.objects.update(until=Now() - timedelta(seconds=1))
    assert sessions.take_lease("sweep", "b", 10)


def test_nobodys_session_is_ended_until_the_database_was_there_for_a_lease(server, worker, monkeypatch):
    claim(server, worker)
    lapse(worker, ago=60)
    monkeypatch.setattr(background, "_reachable_since", None)
    background.sweep()
    assert Session.objects.filter(closed_at=None).exists()
    monkeypatch.setattr(background, "_reachable_since", background.time.monotonic() - 10)
    background.sweep()
    assert not Session.objects.filter(closed_at=None).exists()


def test_a_worker_that_is_only_just_late_may_renew_before_its_sessions_are_ended(server, worker, monkeypatch):
    claim(server, worker)
    monkeypatch.setattr(background, "_reachable_since", background.time.monotonic() - 10)
    for overdue, still_open in ((4, True), (6, False)):
        lapse(worker, ago=overdue)
        background.sweep()
        assert Session.objects.filter(closed_at=None).exists() is still_open


def test_a_database_that_held_up_the_sweep_held_up_the_workers_too(server, worker, monkeypatch):
    claim(server, worker)
    lapse(worker, ago=60)
    monkeypatch.setattr(background, "_reachable_since", background.time.monotonic() - 10)
    monkeypatch.setattr(background, "HELD_UP", 0.0)
    background.sweep()
    assert Session.objects.filter(closed_at=None).exists()


def test_a_command_whose_caller_died_ends_as_unknown(server, monkeypatch):
    made = timezone.now() - background.FORGOTTEN_AFTER
    for seconds in (-1, 60):
        records.begin(command := uuid.uuid4(), server, "system", "exec", {}, CONSOLE)
        records.hand_over(command)
        CommandRecord.objects.filter(pk=command).update(created_at=made + timedelta(seconds=seconds))
    monkeypatch.setattr(background, "_ended_forgotten", -math.inf)
    background.sweep()
    assert list(CommandRecord.objects.order_by("created_at").values_list("state", flat=True)) == [
        "unknown",
        "sent",
    ]


def test_what_is_too_old_is_pruned_and_nothing_else(server, worker, settings):
    settings.TUNNEL_KEEP_SESSIONS = 30
    old, _ = claim(server, worker)
    Session.objects.filter(pk=old).update(closed_at=Now() - timedelta(days=31))
    new, _ = claim(server, worker)
    gone = make_worker()
    lapse(gone, ago=2 * 86400)
    assert {"sessions": 1, "commands": 0, "workers": 1}.items() <= background.prune().items()
    assert list(Session.objects.values_list("pk", flat=True)) == [new]


def test_newer_figures_replace_older_ones_only(server):
    assert (
        background.write_figures(
            [[server.pk, {"cpu": 5}, 0.02, 1000.0], [server.pk, {"cpu": 6}, 0.03, 1001.0]]
        )
        == 1
    )
    assert (
        background.write_figures([[server.pk, {"cpu": 1}, 0.01, 999.0], [999_999, {"cpu": 1}, None, 1.0]])
        == 0
    )
    server.refresh_from_db()
    assert (server.last_usage, server.rtt_seconds) == ({"cpu": 6}, 0.03)


def test_presence_takes_two_queries_whatever_the_number(worker, django_assert_num_queries):
    servers = [identity.create(f"web-{number:02}")[0] for number in range(20)]
    for server in servers:
        claim(server, worker)
    with django_assert_num_queries(2):
        found = presence.of(servers)
    assert {one.state for one in found.values()} == {State.ACTIVE}


@pytest.mark.django_db(transaction=True)
def test_of_many_claims_at_once_exactly_one_session_stays_open():
    server, worker = identity.create("web-01")[0], make_worker()
    errors: list[Exception] = []

    def claim_often() -> None:
        try:
            for _ in range(5):
                claim(server, worker)
        except Exception as exc:  # noqa: BLE001 - shown by the assertion below
            errors.append(exc)
        finally:
            connection.close()

    threads = [threading.Thread(target=claim_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert Session.objects.filter(closed_at=None).count() == 1
    assert Session.objects.count() == 20
