"""What happened on a link, from both ends: refused handshakes are counted, bounded, kept and told."""

import asyncio
import uuid
from datetime import timedelta

import pytest
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.db.models.functions import Now

from agent_client.protocol.messages import Hello, Last
from servers import identity
from servers.models import Server
from servers.threads import in_thread
from tests.tunnel.waiting import until
from tunnel import background, facts, history, refusals, samples, sessions
from tunnel.history import Kind
from tunnel.models import CloseReason, Refusal, RefusalReason, Sample, Session
from tunnel.pages import cards
from tunnel.routing import websocket_urlpatterns
from tunnel.sessions import Welcome

WRONG, SUSPENDED = RefusalReason.WRONG_SECRET, RefusalReason.SUSPENDED


@pytest.fixture
def server(db):
    return identity.create("web-01")[0]


@pytest.fixture(autouse=True)
def _nothing_seen():
    refusals._seen.clear()


def open_session(server: Server) -> uuid.UUID:
    worker, session = uuid.uuid4(), uuid.uuid4()
    sessions.open_worker(worker, f"inbox-{worker}")
    welcome = Welcome(server.pk, server.agent_id, server.secret_version)
    sessions.claim(welcome, session, worker, basic=False, address="203.0.113.9")
    return session


def test_alike_refusals_share_a_row_and_unknown_ids_make_none(server):
    assert refusals.write("web-01", WRONG, "203.0.113.9") == server.pk
    refusals.write("web-01", WRONG, "203.0.113.9", times=4)
    refusals.write("web-01", WRONG, "203.0.113.10")
    refusals.write("web-01", SUSPENDED, "203.0.113.9")
    assert refusals.write("Web-01", WRONG, "203.0.113.9") is None
    assert refusals.write("nobody", WRONG, "203.0.113.9") is None
    counted = Refusal.objects.order_by("pk").values_list("reason", "address", "times")
    assert list(counted) == [
        ("wrong_secret", "203.0.113.9", 5),
        ("wrong_secret", "203.0.113.10", 1),
        ("suspended", "203.0.113.9", 1),
    ]


def test_a_server_keeps_only_the_newest_refusals_however_many_addresses_guess(server):
    for number in range(refusals.MAX_ROWS + 5):
        refusals.write("web-01", WRONG, f"203.0.113.{number}")
    kept = set(Refusal.objects.values_list("address", flat=True))
    assert kept == {f"203.0.113.{number}" for number in range(5, refusals.MAX_ROWS + 5)}


def test_a_storm_of_refusals_is_one_write_each_few_seconds_and_none_is_forgotten():
    kind = ("web-01", WRONG, "203.0.113.9")
    assert [refusals._times_to_write(kind, now) for now in (0.0, 1.0, 2.0, 4.9, 5.0, 5.1)] == [
        1,
        0,
        0,
        0,
        4,
        0,
    ]
    for number in range(refusals.MAX_REMEMBERED + 5):
        refusals._times_to_write((f"id-{number}", WRONG, "203.0.113.9"), 6.0)
    assert len(refusals._seen) == refusals.MAX_REMEMBERED


def test_the_events_of_a_link_stand_newest_first_with_the_reasons_of_both_ends(
    server, django_assert_num_queries
):
    first = open_session(server)
    sessions.close(first, CloseReason.SILENT, "no byte for 18 s")
    refusals.write("web-01", WRONG, "203.0.113.9", times=3)
    second = open_session(server)
    facts.keep(server.pk, second, Hello("s", "1", last=Last("the network\x1b[31m is gone", 42.0)))
    with django_assert_num_queries(2):
        opened, refused, closed, _ = history.link_events(server)
    assert (opened.kind, opened.by_agent, opened.away) == (
        Kind.OPENED,
        "the network[31m is gone",
        timedelta(seconds=42),
    )
    assert (refused.kind, refused.reason, refused.words, refused.times) == (
        Kind.REFUSED,
        "wrong_secret",
        "wrong secret",
        3,
    )
    assert (closed.kind, closed.reason, closed.detail) == (Kind.CLOSED, "silent", "no byte for 18 s")
    assert len(history.link_events(server, limit=2)) == 2


def test_a_card_tells_of_the_newest_refusal_until_a_session_opens(server):
    def told():
        return cards.read(Server.objects.all())[server.pk]["refused"]

    assert told() is None
    refusals.write("web-01", SUSPENDED, "203.0.113.8")
    refusals.write("web-01", WRONG, "203.0.113.9", times=2)
    Refusal.objects.filter(reason=SUSPENDED).update(last_at=Now() - timedelta(seconds=30))
    assert (told()["reason"], told()["address"], told()["times"]) == ("wrong_secret", "203.0.113.9", 2)
    session = open_session(server)
    Session.objects.filter(pk=session).update(opened_at=Now() + timedelta(seconds=1))
    assert told() is None


@pytest.mark.django_db(transaction=True)
async def test_a_refused_handshake_is_kept_with_its_reason_and_address(redis_url, settings):
    settings.TUNNEL_REFUSAL_DELAY = 0.05
    settings.TUNNEL_TLS_ONLY = True
    server, secret = await in_thread(identity.create, "web-01")

    async def dial(agent_id: str, offered: str) -> None:
        headers = [(b"x-agent-id", agent_id.encode()), (b"x-agent-secret", offered.encode())]
        socket = WebsocketCommunicator(URLRouter(websocket_urlpatterns), "/tunnel", headers)
        socket.scope |= {"client": ["203.0.113.9", 1], "server": ["panel", 443]}
        connected, _ = await socket.connect(5)
        assert not connected

    await asyncio.gather(
        dial("web-01", "yts_wrong"), dial("web-01", "yts_wrong"), dial("nobody", "yts_wrong")
    )
    await in_thread(identity.suspend, server)
    await dial("web-01", secret)
    rows = Refusal.objects.order_by("pk").values_list("server", "reason", "address", "times")

    async def kept() -> list:
        return await in_thread(lambda: list(rows))

    await until(lambda: not refusals._under_way)
    assert await kept() == [
        (server.pk, "wrong_secret", "203.0.113.9", 1),
        (server.pk, "suspended", "203.0.113.9", 1),
    ]


def test_figures_become_samples_for_an_hour_of_charts_and_are_pruned(server, settings):
    now = server.created_at.timestamp()
    usage = {"cpu": 12.5, "ram": 1, "ramTotal": 4, "disk": 200, "netRx": 7, "evil": "<b>"}
    background.write_figures([[server.pk, usage, 0.02, now - 20]])
    background.write_figures([[server.pk, usage, 0.02, now - 20], [server.pk + 1, usage, 0.02, now - 20]])
    background.write_figures([[server.pk, {}, None, now - 10]])
    Sample.objects.create(server=server, at=server.created_at - timedelta(hours=2), cpu=1.0)
    first, second = samples.last_hour(server)
    assert (first.cpu, first.ram, first.disk, first.net_rx, first.rtt_seconds) == (12.5, 25.0, 100.0, 7, 0.02)
    assert (second.cpu, second.ram, second.rtt_seconds) == (None, None, None)
    settings.TUNNEL_KEEP_SAMPLES = 1
    assert background.prune()["samples"] == 1
    assert Sample.objects.count() == 2
