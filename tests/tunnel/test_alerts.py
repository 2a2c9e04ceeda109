"""Alerts: one message for an outage and one for its end, to a real mail server and a real webhook."""

from __future__ import annotations

import http.client
import json
import logging
import math
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from email.header import decode_header, make_header
from email.message import Message
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db.models.functions import Now
from django.test import override_settings
from django.utils import timezone

from servers import identity
from servers.models import Server
from tests.tunnel.receivers import Mails, Posts, mail_server, web_server
from tunnel import alert_webhook, alerts, background, sessions
from tunnel.alert_news import MAX_LINES, MAX_NODES, Absence, Kind, News
from tunnel.alerts import Watch
from tunnel.cli import doctor_panel
from tunnel.models import CloseReason, Lease, Outage, Session, Worker
from tunnel.sessions import Welcome

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "a-secret-for-the-webhook"
PATIENCE = 30.0  # seconds


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rounds follow each other at once, and look at absences of a moment."""
    monkeypatch.setattr(alerts, "GAP", 0.0)
    monkeypatch.setattr(alerts, "PAUSES", (0.01, 0.01, 0.01))
    monkeypatch.setattr(alerts, "GRACE", timedelta(0))


@pytest.fixture
def mails(settings: Any) -> Iterator[Mails]:
    with mail_server() as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        settings.DEFAULT_FROM_EMAIL = "Panel <panel@example.org>"
        settings.TUNNEL_ALERT_EMAILS = ["ops@example.org", "boss@example.org"]
        yield server


@pytest.fixture
def posts(settings: Any) -> Iterator[Posts]:
    with web_server() as server:
        settings.TUNNEL_ALERT_WEBHOOK = server.url
        settings.TUNNEL_ALERT_WEBHOOK_SECRET = SECRET
        settings.DEBUG = True
        yield server


@pytest.fixture
def worker() -> uuid.UUID:
    """A web worker that has been there for an hour."""
    worker = uuid.uuid4()
    sessions.open_worker(worker, f"inbox-{worker}")
    Worker.objects.update(started_at=Now() - timedelta(hours=1))
    return worker


def come(server: Server, worker: uuid.UUID) -> uuid.UUID:
    session = uuid.uuid4()
    sessions.claim(
        Welcome(server.pk, server.agent_id, server.secret_version), session, worker, basic=True, address=None
    )
    return session


def went(name: str, worker: uuid.UUID, minutes: float = 10) -> Server:
    """A server whose session ended so long ago."""
    server = identity.create(name)[0]
    sessions.close(come(server, worker), CloseReason.NETWORK_LOST)
    since = Now() - timedelta(minutes=minutes)
    Session.objects.filter(server=server).update(opened_at=since - timedelta(minutes=1), closed_at=since)
    return server


def look(watch: Watch | None = None) -> Watch:
    """Look, and wait for the round this started."""
    watch = watch or Watch()
    watch.look()
    assert watch.wait(PATIENCE)
    return watch


def free_lease() -> None:
    Lease.objects.filter(name=alerts.NAME).delete()


def subject(message: Message) -> str:
    return str(make_header(decode_header(message["Subject"])))


def text(message: Message) -> str:
    return message.get_payload(decode=True).decode()


def events(posts: Posts) -> list[tuple[str, list[str]]]:
    bodies = [json.loads(body) for _, _, body in posts.taken]
    return [(body["event"], [node["agent_id"] for node in body["nodes"]]) for body in bodies]


# One message and one more ---------------------------------------------------------------------------------------


def test_an_outage_is_told_once_and_its_end_once(mails: Mails, posts: Posts, worker: uuid.UUID):
    server = went("web-01", worker)
    watch = look()
    look(watch)
    look(watch)
    assert events(posts) == [("nodes.offline", ["web-01"])]
    come(server, worker)
    look(watch)
    look(watch)
    assert events(posts) == [("nodes.offline", ["web-01"]), ("nodes.back", ["web-01"])]
    assert [subject(message) for _, message in mails.taken] == [
        "Yumna Tunnel: web-01 is offline",
        "Yumna Tunnel: web-01 is back",
    ]
    assert mails.taken[0][0] == ["ops@example.org", "boss@example.org"]
    assert "web-01 (web-01): offline since" in text(mails.taken[0][1])
    assert "the connection was cut" in text(mails.taken[0][1])
    assert not Outage.objects.exists()


def test_other_background_workers_and_restarts_tell_nothing_twice(posts: Posts, worker: uuid.UUID):
    server = went("web-01", worker)
    watches = [Watch() for _ in range(4)]
    threads = [threading.Thread(target=look_in_thread, args=[watch]) for watch in watches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    free_lease()
    look(Watch())  # a process that was just started
    assert events(posts) == [("nodes.offline", ["web-01"])]
    come(server, worker)
    for _ in range(2):
        free_lease()
        look(Watch())
    assert events(posts)[1:] == [("nodes.back", ["web-01"])]


def look_in_thread(watch: Watch) -> None:
    from django.db import connection

    try:
        look(watch)
    finally:
        connection.close()


def test_while_one_process_sends_another_one_does_not(posts: Posts, worker: uuid.UUID):
    went("web-01", worker)
    assert sessions.take_lease(alerts.NAME, "another process", 60)
    look()
    assert posts.taken == []
    free_lease()
    look()
    assert len(posts.taken) == 1


def test_a_message_that_a_dead_process_may_have_sent_has_the_same_id_again(posts: Posts, worker: uuid.UUID):
    went("web-01", worker)
    look()
    Outage.objects.all().delete()  # as if it had died between sending and writing
    free_lease()
    look(Watch())
    first, second = (json.loads(body) for _, _, body in posts.taken)
    assert first["id"] == second["id"]
    assert first["nodes"][0]["outage"] == second["nodes"][0]["outage"]


# Who is told of, and when ---------------------------------------------------------------------------------------


def test_nobody_is_told_before_the_time_is_up(posts: Posts, worker: uuid.UUID, settings: Any):
    settings.TUNNEL_ALERT_AFTER = 15
    went("web-01", worker, minutes=14)
    went("web-02", worker, minutes=16)
    look()
    assert events(posts) == [("nodes.offline", ["web-02"])]


@pytest.mark.parametrize("change", [{"status": "suspended"}, {"connection_type": "ssh"}])
def test_suspended_and_other_servers_are_not_missed_and_their_outage_ends_in_silence(
    posts: Posts, worker: uuid.UUID, change: dict[str, str]
):
    server = went("web-01", worker)
    Server.objects.filter(pk=server.pk).update(**change)
    watch = look()
    assert posts.taken == []
    Server.objects.filter(pk=server.pk).update(status="active", connection_type="tunnel")
    look(watch)
    Server.objects.filter(pk=server.pk).update(**change)
    look(watch)
    assert events(posts) == [("nodes.offline", ["web-01"])]
    assert not Outage.objects.exists()


def test_a_server_that_never_connected_is_not_missed(posts: Posts, worker: uuid.UUID):
    identity.create("web-01")
    look()
    assert posts.taken == []


def test_a_node_whose_worker_died_is_missed_like_any_other(posts: Posts, worker: uuid.UUID):
    dead = uuid.uuid4()
    sessions.open_worker(dead, "inbox-dead")
    come(identity.create("web-01")[0], dead)
    Worker.objects.filter(pk=dead).update(lease_until=Now() - timedelta(minutes=10))
    look()
    assert json.loads(posts.taken[0][2])["nodes"][0]["reason"] == "worker_lost"


def test_nobody_is_told_anything_for_two_minutes_after_the_master_restarted(
    posts: Posts, worker: uuid.UUID, monkeypatch: pytest.MonkeyPatch
):
    assert Watch()._news() == ([], [])
    monkeypatch.setattr(alerts, "GRACE", timedelta(minutes=2))
    server, watch = went("web-01", worker), Watch()
    clock = time.monotonic()
    monkeypatch.setattr(alerts.time, "monotonic", lambda: clock)
    Worker.objects.update(started_at=Now() - timedelta(seconds=110))
    look(watch)
    clock += 200
    look(watch)
    assert posts.taken == []
    Worker.objects.update(started_at=Now() - timedelta(seconds=125))
    look(watch)  # sees it the first time: it may be dialling in just now
    clock += 110
    look(watch)
    assert posts.taken == []
    clock += 20
    look(watch)
    assert events(posts) == [("nodes.offline", ["web-01"])]
    Worker.objects.update(started_at=Now())
    come(server, worker)
    clock += 1000
    look(watch)
    assert len(posts.taken) == 1  # its return neither
    Worker.objects.update(started_at=Now() - timedelta(seconds=125))
    look(watch)
    assert len(posts.taken) == 2


def test_the_panels_own_outage_makes_one_message_once_it_lasts(
    posts: Posts, worker: uuid.UUID, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(alerts, "GRACE", timedelta(minutes=2))
    for number in range(3):
        come(identity.create(f"web-{number}")[0], worker)
    clock, watch = time.monotonic(), Watch()
    monkeypatch.setattr(alerts.time, "monotonic", lambda: clock)
    Worker.objects.update(lease_until=Now() - timedelta(seconds=110))
    look(watch)
    clock += 1000
    look(watch)
    assert posts.taken == []
    Worker.objects.update(lease_until=Now() - timedelta(minutes=6))
    look(watch)
    clock += 1000
    look(watch)
    assert events(posts) == [("nodes.offline", ["web-0", "web-1", "web-2"])]


@pytest.mark.parametrize("off", [{"TUNNEL_ALERT_AFTER": 0}, {"TUNNEL_ALERT_WEBHOOK": ""}])
def test_alerts_that_are_off_tell_nothing_and_forget(posts: Posts, worker: uuid.UUID, off: dict[str, Any]):
    server = went("web-01", worker)
    watch = look()
    with override_settings(**off):
        come(server, worker)
        look(watch)
        assert not Outage.objects.exists()
    look(watch)
    assert events(posts) == [("nodes.offline", ["web-01"])]


def replaced(server: Server, worker: uuid.UUID, times: int) -> None:
    for _ in range(times + 1):
        come(server, worker)


def test_a_node_that_seems_to_be_two_is_told_of_once(mails: Mails, posts: Posts, worker: uuid.UUID):
    server = identity.create("web-01")[0]
    replaced(server, worker, 2)
    watch = look()
    assert posts.taken == []
    replaced(server, worker, 1)
    look(watch)
    look(watch)
    free_lease()
    look(Watch())  # another process
    assert events(posts) == [("nodes.twins", ["web-01"])]
    assert json.loads(posts.taken[0][2])["nodes"][0]["reason"] == "replaced"
    ((_, message),) = mails.taken
    assert subject(message) == "Yumna Tunnel: web-01 seems to be two machines"
    assert "give each one of its own" in text(message)
    Lease.objects.update(until=Now() - timedelta(days=2))
    look(Watch())
    assert len(posts.taken) == 2  # a day later, and it goes on
    Lease.objects.update(until=Now() - timedelta(days=2))
    assert background.prune()["leases"] == 2


@pytest.mark.parametrize("change", [{"status": "suspended"}, {"connection_type": "ssh"}])
def test_of_a_server_that_nobody_may_dial_for_no_twins_are_told(
    posts: Posts, worker: uuid.UUID, change: dict[str, str]
):
    server = identity.create("web-01")[0]
    replaced(server, worker, 5)
    Server.objects.filter(pk=server.pk).update(**change)
    look()
    assert posts.taken == []


def test_who_was_replaced_long_ago_is_no_twin(posts: Posts, worker: uuid.UUID):
    server = identity.create("web-01")[0]
    replaced(server, worker, 5)
    Session.objects.filter(server=server, closed_at__isnull=False).update(
        closed_at=Now() - sessions.TWINS_WITHIN
    )
    look()
    assert posts.taken == []


# Many at once ---------------------------------------------------------------------------------------------------


def test_a_thousand_nodes_that_fall_make_one_mail_of_bounded_length(
    mails: Mails, posts: Posts, worker: uuid.UUID
):
    servers = Server.objects.bulk_create(
        Server(name=f"web-{number:04}", agent_id=f"web-{number:04}", status="active")
        for number in range(1000)
    )
    gone = Now() - timedelta(minutes=10)
    Session.objects.bulk_create(
        Session(
            server=server,
            worker_id=worker,
            secret_version=1,
            opened_at=gone,
            closed_at=gone,
            close_reason="silent",
        )
        for server in servers
    )
    watch = look()
    look(watch)
    ((_, message),) = mails.taken
    assert subject(message) == "Yumna Tunnel: 1000 nodes are offline"
    lines = text(message).splitlines()
    assert len([line for line in lines if "offline since" in line]) == MAX_LINES
    assert f"and {1000 - MAX_LINES} more" in lines
    ((_, _, body),) = posts.taken
    assert (json.loads(body)["count"], len(json.loads(body)["nodes"])) == (1000, MAX_NODES)
    assert Outage.objects.count() == 1000


def test_nodes_that_fall_a_little_later_wait_for_the_next_round(
    posts: Posts, worker: uuid.UUID, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(alerts, "GAP", 60.0)
    watch = Watch()
    for number in range(5):
        went(f"web-{number}", worker)
        look(watch)
        look(Watch())
    assert events(posts) == [("nodes.offline", ["web-0"])]
    watch._next_round = 0.0
    look(watch)
    assert events(posts)[1:] == [("nodes.offline", ["web-1", "web-2", "web-3", "web-4"])]


# What goes wrong ------------------------------------------------------------------------------------------------


def test_what_is_refused_at_first_is_tried_again_a_few_times(mails: Mails, posts: Posts, worker: uuid.UUID):
    mails.refuse = 2
    answers = iter([500, 429, 204])
    posts.answer = lambda _: next(answers)
    went("web-01", worker)
    look()
    assert len(mails.taken) == 1
    assert len(posts.taken) == 3
    assert len({headers["X-Yumna-Delivery"] for _, headers, _ in posts.taken}) == 1


def test_what_nobody_took_is_told_in_a_later_round_by_what_is_true_then(
    posts: Posts, worker: uuid.UUID, caplog: pytest.LogCaptureFixture
):
    posts.answer = lambda _: 500
    went("web-01", worker)
    gone = went("web-02", worker)
    watch = look()
    assert len(posts.taken) == 1 + len(alerts.PAUSES)
    assert "nobody could be told" in caplog.text
    assert not Outage.objects.exists()
    posts.taken.clear()
    posts.answer = lambda _: 200
    come(gone, worker)
    look(watch)
    assert events(posts) == [("nodes.offline", ["web-01"])]


def test_rounds_that_nobody_takes_become_rare(
    posts: Posts, worker: uuid.UUID, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(alerts, "GAP", 60.0)
    posts.answer = lambda _: 404
    went("web-01", worker)
    watch, gaps = Watch(), []
    for _ in range(6):
        watch._next_round = 0.0
        before = time.monotonic()
        look(watch)
        gaps.append(round(watch._next_round - before, -1))
    assert gaps == [120.0, 240.0, 480.0, 900.0, 900.0, 900.0]
    assert len(posts.taken) == 6  # a 404 is not tried again in its round


def test_one_way_that_fails_keeps_the_other_from_nothing(mails: Mails, posts: Posts, worker: uuid.UUID):
    posts.answer = lambda _: 404
    went("web-01", worker)
    watch = look()
    look(watch)
    assert len(mails.taken) == 1
    assert len(posts.taken) == 1


def test_a_way_that_fails_is_told_on_the_page_and_by_the_doctor_until_it_works(
    mails: Mails, posts: Posts, worker: uuid.UUID, admin_client: Any, client: Any, django_user_model: Any
):
    client.force_login(django_user_model.objects.create_user("clerk", is_staff=True))
    told = "webhook was not taken: the webhook answered 404"
    posts.answer = lambda _: 404
    went("web-01", worker)
    watch = look()
    assert told in admin_client.get("/admin/tunnel/nodes/").content.decode()
    assert "was not taken" not in client.get("/admin/tunnel/nodes/").content.decode()
    (finding,) = doctor_panel.alerts()
    assert (finding.ok, told in finding.detail) == (False, True)
    posts.answer = lambda _: 204
    went("web-02", worker)
    look(watch)
    assert "was not taken" not in admin_client.get("/admin/tunnel/nodes/").content.decode()
    posts.answer = lambda _: 404
    went("web-03", worker)
    look(watch)
    assert list(doctor_panel.alerts())
    with override_settings(TUNNEL_ALERT_WEBHOOK=""):
        look(watch)  # nobody wants it any more
    assert not list(doctor_panel.alerts())


def test_a_redirect_is_not_followed(posts: Posts, worker: uuid.UUID, caplog: pytest.LogCaptureFixture):
    posts.answer = lambda _: 307
    went("web-01", worker)
    look()
    assert [path for path, _, _ in posts.taken] == ["/hook?for=us"]
    assert "redirects are not followed" in caplog.text


@pytest.mark.parametrize("connects_after", [0.0, 2.5])  # in time, and after the deadline
def test_a_slow_webhook_stops_no_sweep_and_ends_in_time(
    posts: Posts,
    worker: uuid.UUID,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    connects_after: float,
):
    connect = http.client.HTTPConnection.connect

    def late(connection: http.client.HTTPConnection) -> None:
        time.sleep(connects_after)  # as a slow name server does
        connect(connection)

    monkeypatch.setattr(http.client.HTTPConnection, "connect", late)
    monkeypatch.setattr(alert_webhook, "DEADLINE", 2.0)
    monkeypatch.setattr(alerts, "PAUSES", ())
    reached = threading.Event()

    def drip(handler: Any) -> None:
        """Answer with one byte now and then, for ever."""
        reached.set()
        try:
            for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000:
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
                time.sleep(0.2)
        except OSError:
            return

    posts.answer = drip
    went("web-01", worker)
    watch = Watch()
    began = time.monotonic()
    watch.look()
    watch.look()  # while it hangs
    assert time.monotonic() - began < 5
    assert reached.wait(10)
    assert watch.wait(PATIENCE)
    assert len(posts.taken) == 1
    assert "could not be reached" in caplog.text


def test_an_address_where_nobody_listens_is_no_crash(worker: uuid.UUID, settings: Any, caplog: Any):
    settings.DEBUG = True
    settings.TUNNEL_ALERT_WEBHOOK = "http://127.0.0.1:1/T0KEN-IN-THE-PATH"
    settings.TUNNEL_ALERT_EMAILS = ["ops@example.org"]
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    went("web-01", worker)
    look()
    assert "nobody could be told" in caplog.text
    assert "T0KEN" not in caplog.text


# What is in a message -------------------------------------------------------------------------------------------


def test_the_body_is_signed_as_the_page_says(
    posts: Posts, worker: uuid.UUID, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    went("web-01", worker)
    look()
    ((path, headers, body),) = posts.taken
    assert path == "/hook?for=us"
    stamp = headers["X-Yumna-Timestamp"]
    assert headers["X-Yumna-Signature"] == alert_webhook.signature(SECRET, stamp, body)
    assert abs(int(stamp) - time.time()) < 60
    assert SECRET not in body.decode() + str(headers) + caplog.text


def test_the_secret_may_lie_in_a_file(posts: Posts, worker: uuid.UUID, settings: Any, tmp_path: Any):
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    settings.TUNNEL_ALERT_WEBHOOK_SECRET = ""
    settings.TUNNEL_ALERT_WEBHOOK_SECRET_FILE = str(tmp_path / "secret")
    went("web-01", worker)
    look()
    ((_, headers, body),) = posts.taken
    assert headers["X-Yumna-Signature"] == alert_webhook.signature(SECRET, headers["X-Yumna-Timestamp"], body)


HOSTILE = [
    "web\r\nBcc: everybody@example.org",
    "web\x00\x1b[2Jname",
    "web\u202egnp.exe",
    "web\u2028line",
    "=1+1",
    "<script>alert(1)</script>",
    "名前 " * 30,
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_starts_no_header_and_hides_nothing(
    mails: Mails, posts: Posts, worker: uuid.UUID, name: str
):
    server = went("web-01", worker)
    Server.objects.filter(pk=server.pk).update(name=name)  # as plain SQL would
    look()
    ((_, message),) = mails.taken
    assert set(message.keys()) == {
        "Content-Type",
        "MIME-Version",
        "Content-Transfer-Encoding",
        "Subject",
        "From",
        "To",
        "Date",
        "Message-ID",
        "Auto-Submitted",
    }
    shown = (
        subject(message) + text(message).replace("\n", "") + json.loads(posts.taken[0][2])["nodes"][0]["name"]
    )
    assert shown.isprintable()


def test_words_of_the_agent_are_in_no_message(mails: Mails, posts: Posts, worker: uuid.UUID):
    went("web-01", worker)
    Session.objects.update(close_detail="call 0900-AGENT", agent_reason="call 0900-AGENT")
    look()
    assert "0900" not in text(mails.taken[0][1]) + posts.taken[0][2].decode()


def test_the_panel_is_linked_when_its_address_is_known(
    mails: Mails, posts: Posts, worker: uuid.UUID, settings: Any
):
    settings.TUNNEL_PUBLIC_URL = "wss://panel.example.org/tunnel"
    went("web-01", worker)
    look()
    assert text(mails.taken[0][1]).rstrip().endswith("\nhttps://panel.example.org/admin/tunnel/nodes/")
    assert json.loads(posts.taken[0][2])["panel"] == "https://panel.example.org/admin/tunnel/nodes/"


def moment(minute: int) -> datetime:
    return timezone.make_aware(datetime(2026, 11, 25, 10, minute))


def test_an_absence_has_one_word_from_its_beginning_to_its_end():
    away = Absence(7, "web-01", "web-01", moment(1), moment(9), "silent")
    back = Absence(7, "web-01", "web-01", moment(1), moment(30))
    assert away.outage == back.outage
    assert (away.seconds, back.seconds) == (480, 1740)
    assert News(Kind.OFFLINE, (away,), moment(9)).id != News(Kind.BACK, (back,), moment(30)).id


def test_a_setting_that_cannot_be_used_stops_nothing_else_of_a_sweep(
    worker: uuid.UUID, settings: Any, monkeypatch: pytest.MonkeyPatch
):
    settings.TUNNEL_ALERT_AFTER = "soon"
    monkeypatch.setattr(background, "_reachable_since", time.monotonic() - 60)
    monkeypatch.setattr(background, "_pruned", -math.inf)
    server = went("web-01", worker, minutes=200 * 24 * 60)
    with pytest.raises(ImproperlyConfigured):
        background.sweep()
    assert not Session.objects.filter(server=server).exists()  # it was pruned
