"""Who guesses passwords is locked out, and nobody else is."""

import pytest
from django.contrib.auth import get_user_model
from django.test import Client, RequestFactory

from yumna_panel.lockout import address

pytestmark = pytest.mark.django_db
LOGIN = "/admin/login/"
HERE, THERE, PROXY = "203.0.113.7", "198.51.100.9", "192.0.2.1"


@pytest.fixture(autouse=True)
def _three_tries(settings):
    settings.AXES_FAILURE_LIMIT = 3


@pytest.fixture
def ann():
    return get_user_model().objects.create_user("ann", password="right", is_staff=True)


def log_in(password: str, *, name: str = "ann", peer: str = HERE, forwarded: str = ""):
    headers = {"x-forwarded-for": forwarded} if forwarded else {}
    form = {"username": name, "password": password}
    return Client().post(LOGIN, form, REMOTE_ADDR=peer, headers=headers)


def lock(**where) -> None:
    for _ in range(3):
        log_in("wrong", **where)


def test_three_wrong_passwords_lock_a_name_out_with_a_clear_page(ann):
    assert log_in("wrong").status_code == 200
    lock()
    answer = log_in("right")
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "900"
    page = answer.content.decode()
    assert "locked out from your address for 15 minutes" in page
    assert "<form" not in page.split('id="content"')[1]


def test_a_stranger_locks_nobody_out_elsewhere_and_no_other_name(ann):
    get_user_model().objects.create_user("bob", password="right", is_staff=True)
    lock(peer=THERE)
    assert log_in("right", peer=THERE).status_code == 429
    assert log_in("right", peer=HERE).status_code == 302
    assert log_in("right", name="bob", peer=THERE).status_code == 302


def test_a_success_forgets_the_failures(ann):
    for _ in range(2):
        log_in("wrong")
    assert log_in("right").status_code == 302
    for _ in range(2):
        log_in("wrong")
    assert log_in("right").status_code == 302


def test_behind_a_trusted_proxy_the_clients_address_counts(ann, settings):
    settings.TUNNEL_TRUSTED_PROXIES = [PROXY]
    lock(peer=PROXY, forwarded=THERE)
    assert log_in("right", peer=PROXY, forwarded=THERE).status_code == 429
    assert log_in("right", peer=PROXY, forwarded=HERE).status_code == 302


def test_a_forged_header_neither_frees_nor_locks(ann):
    for number in range(3):
        log_in("wrong", forwarded=f"10.0.0.{number}")
    assert log_in("right", forwarded="10.9.9.9").status_code == 429
    assert log_in("right", peer=THERE, forwarded=HERE).status_code == 302


def test_a_header_forged_through_a_proxy_counts_for_its_sender(ann, settings):
    settings.TUNNEL_TRUSTED_PROXIES = [PROXY]
    for number in range(3):
        log_in("wrong", peer=PROXY, forwarded=f"10.0.0.{number}, {THERE}")
    assert log_in("right", peer=PROXY, forwarded=f"10.9.9.9, {THERE}").status_code == 429


@pytest.mark.parametrize(
    ("peer", "counted"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("", None),
        ("unix", None),
    ],
)
def test_whose_failures_are_counted_together(peer, counted):
    assert address(RequestFactory().get("/", REMOTE_ADDR=peer)) == counted


def test_a_lock_out_leaves_open_sessions_alone(ann):
    client = Client()
    client.force_login(ann)
    lock()
    assert client.get("/admin/", REMOTE_ADDR=HERE).status_code == 200
