"""Where a second factor is asked for, a person without a recent one runs nothing."""

import time
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from django.core import checks
from django.test import Client, RequestFactory
from django_otp.oath import TOTP
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice

from servers import nodes, second_factor, tokens
from servers.access import CONSOLE, Narrowed
from servers.checks import second_factor_can_be_shown
from servers.errors import NotAllowed, SecondFactorNeeded, TokenNotPossible
from servers.models import CommandRecord, Server
from servers.rights import PERMISSIONS

pytestmark = pytest.mark.django_db
PAGE = "/admin/servers/server/second-factor/"
BACK = "/admin/servers/server/?q=web"


@pytest.fixture(autouse=True)
def _asked_for(settings: Any):
    settings.TUNNEL_SECOND_FACTOR = 600


@pytest.fixture
def device(root: Any) -> TOTPDevice:
    return TOTPDevice.objects.create(user=root, name="phone")


def code(device: TOTPDevice) -> str:
    totp = TOTP(device.bin_key, device.step, device.t0, device.digits, device.drift)
    totp.time = time.time()
    return f"{totp.token():0{device.digits}}"


def confirm(browser: Client, device: TOTPDevice, given: str, back: str = BACK) -> Any:
    return browser.post(PAGE, {"device": device.persistent_id, "code": given, "next": back})


def request_of(browser: Client, user: Any) -> Any:
    request = RequestFactory().get("/")
    request.user, request.session = user, browser.session
    return request


def test_a_person_nobody_vouched_for_runs_nothing(wired: Server, wire: Any, root: Any):
    with pytest.raises(SecondFactorNeeded, match="confirm with your second factor") as caught:
        nodes.run(wired, "system", "exec", actor=root)
    assert (caught.value.code, caught.value.ran) == ("forbidden", "no")
    assert isinstance(caught.value, NotAllowed)
    assert wire.sent == []
    assert not CommandRecord.objects.exists()


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
async def test_nor_on_an_event_loop(wired: Server, wire: Any, root: Any):
    with pytest.raises(SecondFactorNeeded):
        await nodes.arun(wired, "system", "exec", actor=root)
    assert wire.sent == []


def test_programs_the_console_and_the_panels_errands_are_not_asked(wired: Server, wire: Any, root: Any):
    for actor in (Narrowed(root, frozenset(PERMISSIONS)), CONSOLE, None):
        nodes.run(wired, "system", "exec", actor=actor)
    assert len(wire.sent) == 3


def test_a_right_code_leads_back_and_lets_commands_through(
    browser: Client, device: TOTPDevice, wired: Server, wire: Any, root: Any
):
    assert "Code" in browser.get(PAGE, {"next": BACK}).content.decode()
    assert confirm(browser, device, code(device)).headers["Location"] == BACK
    request = request_of(browser, root)
    assert second_factor.vouch(request)
    nodes.run(wired, "system", "exec", actor=request.user)
    assert len(wire.sent) == 1
    assert browser.get(PAGE, {"next": BACK}).headers["Location"] == BACK


def test_a_factor_grows_old(browser: Client, device: TOTPDevice, root: Any, settings: Any):
    confirm(browser, device, code(device))
    request = request_of(browser, root)
    assert second_factor.vouch(request)
    for at in (time.time() - 601, time.time() + 60, 0):
        request.session["servers_second_factor"] = [str(root.pk), at]
        assert not second_factor.recent(request)
    root._servers_second_factor_at = time.time() - 601
    assert not second_factor.vouched(root)


def test_a_factor_is_that_of_its_person_and_its_login(
    browser: Client, device: TOTPDevice, root: Any, person: Callable[..., Any]
):
    confirm(browser, device, code(device))
    other = person(username="other", is_superuser=True)
    assert not second_factor.recent(request_of(browser, other))
    elsewhere = Client()
    elsewhere.force_login(root)
    assert not second_factor.recent(request_of(elsewhere, root))
    browser.force_login(other)
    assert not second_factor.recent(request_of(browser, other))


def test_a_wrong_code_is_refused_and_throttled(browser: Client, device: TOTPDevice):
    right = code(device)
    wrong = f"{(int(right) + 1) % 10**6:06}"
    assert "not right" in browser.post(PAGE, {"device": device.persistent_id, "code": wrong}).content.decode()
    assert "not right" in confirm(browser, device, right).content.decode()  # too soon after the wrong one
    TOTPDevice.objects.update(throttling_failure_timestamp=None, throttling_failure_count=0)
    assert confirm(browser, device, right).status_code == 302


def test_a_code_counts_once(browser: Client, device: TOTPDevice, root: Any):
    right = code(device)
    assert confirm(browser, device, right).status_code == 302
    again = Client()
    again.force_login(root)
    assert "not right" in confirm(again, device, right).content.decode()


def test_nobody_shows_the_factor_of_somebody_else(
    browser: Client, device: TOTPDevice, person: Callable[..., Any]
):
    other = person(username="other")
    theirs = TOTPDevice.objects.create(user=other, name="theirs")
    assert confirm(browser, theirs, code(theirs)).status_code == 200
    TOTPDevice.objects.filter(pk=device.pk).update(confirmed=False)
    assert "has none" in confirm(browser, device, code(device)).content.decode()


def test_a_recovery_code_works_beside_the_phone(browser: Client, device: TOTPDevice, root: Any):
    paper = StaticDevice.objects.create(user=root, name="paper")
    paper.token_set.create(token="abcdefgh")
    shown = browser.get(PAGE).content.decode()
    assert "phone" in shown
    assert "paper" in shown
    sent = {"device": paper.persistent_id, "code": " abcdefgh ", "next": BACK}
    assert browser.post(PAGE, sent).headers["Location"] == BACK


@pytest.mark.parametrize(
    "back",
    ["https://evil.example.org/", "//evil.example.org", "javascript:alert(1)", "/\\evil.example.org", ""],
)
def test_it_leads_to_pages_of_this_panel_only(browser: Client, device: TOTPDevice, back: str):
    assert confirm(browser, device, code(device), back).headers["Location"] == "/admin/"


def test_who_has_no_device_is_told_so(browser: Client):
    page = unescape(browser.get(PAGE).content.decode())
    assert "your account has none" in page
    assert '<input type="text"' not in page.split('id="content"')[1]


def test_a_stranger_gets_no_page():
    assert "/login/" in Client().get(PAGE).headers["Location"]


def test_off_means_off(browser: Client, settings: Any, wired: Server, wire: Any, root: Any):
    settings.TUNNEL_SECOND_FACTOR = 0
    nodes.run(wired, "system", "exec", actor=root)
    assert second_factor.vouch(request_of(browser, root))
    assert browser.get(PAGE, {"next": BACK}).headers["Location"] == BACK


def test_without_django_otp_the_check_says_so_and_nobody_gets_through(
    browser: Client, settings: Any, wired: Server, wire: Any, root: Any, monkeypatch: pytest.MonkeyPatch
):
    assert second_factor_can_be_shown() == []
    monkeypatch.setattr(second_factor, "installed", lambda: False)
    (error,) = second_factor_can_be_shown()
    assert (error.id, error.level) == ("servers.E004", checks.ERROR)
    assert "has none" in unescape(browser.get(PAGE).content.decode())
    with pytest.raises(SecondFactorNeeded):
        nodes.run(wired, "system", "exec", actor=root)
    settings.TUNNEL_SECOND_FACTOR = 0
    assert second_factor_can_be_shown() == []
    settings.TUNNEL_SECOND_FACTOR = "soon"
    assert second_factor_can_be_shown()[0].id == "servers.E004"


def test_who_makes_a_token_that_runs_commands_shows_the_factor_first(
    browser: Client, device: TOTPDevice, root: Any
):
    tokens.create(root, "reader", ["view", "read_files"])
    for right in ("run_command", "open_shell"):
        with pytest.raises(TokenNotPossible, match="confirm with your second factor"):
            tokens.create(root, "runner", ["view", right])
    confirm(browser, device, code(device))
    request = request_of(browser, root)
    second_factor.vouch(request)
    assert tokens.create(request.user, "runner", ["run_command"])


def test_the_page_that_makes_tokens_leads_to_the_factor(browser: Client, device: TOTPDevice):
    add = "/admin/servers/apitoken/add/"
    form = {"name": "runner", "permissions": ["run_command"], "days": "7"}
    assert "second-factor/?next=%2Fadmin%2Fservers%2Fapitoken%2Fadd%2F" in browser.get(add).content.decode()
    assert "confirm with your second factor" in browser.post(add, form).content.decode()
    confirm(browser, device, code(device), back=add)
    assert "second-factor" not in browser.get(add).content.decode()
    assert "yta_" in browser.post(add, form).content.decode()


@pytest.mark.django_db(transaction=True)  # the view works in a thread of its own
def test_a_browser_on_the_rest_interface_is_asked_too(
    browser: Client, device: TOTPDevice, wired: Server, wire: Any
):
    def run() -> Any:
        path = f"/api/tunnel/v1/servers/{wired.agent_id}/commands/"
        return browser.post(path, {"service": "system", "action": "exec"}, content_type="application/json")

    refused = run()
    assert (refused.status_code, refused.json()["code"], refused.json()["ran"]) == (403, "forbidden", "no")
    assert "second factor" in refused.json()["detail"]
    confirm(browser, device, code(device))
    assert run().status_code == 200
    assert len(wire.sent) == 1
