"""Who is let in: the whole judgement over real rows, and what a chosen secret may cost (docs/protocol.md §1)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable
from typing import Any

import pytest

from agent_client.protocol.handshake import CHECK_SUBPROTOCOL, SUBPROTOCOL
from servers import credentials, identity
from servers.models import Server
from servers.threads import in_thread
from tests.tunnel.waiting import until
from tunnel import handshake
from tunnel.attempts import MAX_PER_PAIR, Attempts
from tunnel.handshake import Overloaded, Refused
from tunnel.models import RefusalReason

pytestmark = pytest.mark.django_db(transaction=True)
CHOSEN = "rahasia dapur kami"


@pytest.fixture(autouse=True)
def a_new_process(settings, monkeypatch):
    """Nobody has failed yet, and no chosen secret is remembered; this process ends TLS itself."""
    settings.TUNNEL_TLS_ONLY = True
    monkeypatch.setattr(handshake, "attempts", Attempts())
    monkeypatch.setattr(handshake, "_checked", OrderedDict())


@pytest.fixture
def server():
    return identity.create("web-01")


@pytest.fixture
def chosen(server):
    identity.set_secret(server[0], CHOSEN)
    return server[0]


@pytest.fixture
def hashed(monkeypatch):
    """Note each check that takes a password hasher's time."""
    seen: list[str] = []
    matches = credentials.matches

    def note(secret: str, stored: str) -> bool:
        if credentials.is_slow(stored):
            seen.append(secret)
        return matches(secret, stored)

    monkeypatch.setattr(credentials, "matches", note)
    return seen


def judge(agent_id: str, secret: str, *offered: str) -> Awaitable[handshake.Admission]:
    headers = [(b"x-agent-id", agent_id.encode()), (b"X-Agent-Secret", secret.encode())]
    return handshake.judge({"client": ("203.0.113.9", 5), "headers": headers, "subprotocols": offered})


async def refusal(agent_id: str, secret: str) -> RefusalReason | None:
    with pytest.raises(Refused) as caught:
        await judge(agent_id, secret)
    return caught.value.reason


@pytest.mark.parametrize(
    ("offered", "basic", "trial"),
    [((), True, False), ((SUBPROTOCOL,), False, False), ((SUBPROTOCOL, CHECK_SUBPROTOCOL), False, True)],
)
async def test_a_right_secret_opens_the_tunnel_of_its_server_the_way_it_was_asked_for(
    server, offered, basic, trial
):
    row, secret = server
    admission = await judge("web-01", secret, *offered)
    assert (admission.welcome.server, admission.welcome.agent_id) == (row.pk, "web-01")
    assert (admission.basic, admission.trial, admission.address) == (basic, trial, "203.0.113.9")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": "suspended"}, RefusalReason.SUSPENDED),
        ({"connection_type": "ssh"}, RefusalReason.NO_TUNNEL),
        ({"secret_digest": ""}, RefusalReason.WRONG_SECRET),
        ({"agent_id": "web-02"}, RefusalReason.WRONG_SECRET),
    ],
)
async def test_a_right_secret_is_refused_where_the_row_says_no_and_the_operator_is_told_why(
    server, change, reason
):
    await in_thread(Server.objects.filter(pk=server[0].pk).update, **change)
    assert await refusal("web-01", server[1]) is reason


async def test_an_id_in_another_case_is_another_id_whatever_the_database_thinks(server, monkeypatch):
    """MariaDB's usual collation finds `web-01` when asked for `WEB-01`."""
    alike = Server.objects.filter(agent_id="web-01")
    monkeypatch.setattr(Server.objects, "filter", lambda **_: alike)
    assert await refusal("WEB-01", server[1]) is RefusalReason.WRONG_SECRET
    assert (await judge("web-01", server[1])).welcome.agent_id == "web-01"


async def test_a_right_secret_over_a_line_that_is_not_secure_is_no_failed_guess(server, settings):
    settings.TUNNEL_TLS_ONLY = False
    for _ in range(MAX_PER_PAIR + 1):
        assert await refusal("web-01", server[1]) is RefusalReason.NOT_SECURE
    settings.TUNNEL_TLS_ONLY = True
    assert (await judge("web-01", server[1])).welcome.agent_id == "web-01"


async def test_a_guesser_is_held_back_before_anything_is_looked_up(server, monkeypatch):
    for _ in range(MAX_PER_PAIR):
        assert await refusal("web-01", "wrong") is RefusalReason.WRONG_SECRET
    monkeypatch.setattr(Server.objects, "filter", None)
    assert await refusal("web-01", server[1]) is RefusalReason.TOO_MANY


def test_a_proxy_without_an_address_is_in_no_network(settings):
    settings.TUNNEL_TRUSTED_PROXIES = ["10.0.0.0/8", "unix"]
    for client, trusted in ((("10.1.2.3", 5), True), (("web-front", 5), False), (None, True)):
        assert handshake.from_trusted_proxy({"client": client, "headers": []}) is trusted
    settings.TUNNEL_TRUSTED_PROXIES = ["10.0.0.0/8"]
    assert not handshake.from_trusted_proxy({"client": None, "headers": []})


async def test_a_chosen_secret_is_hashed_once_for_all_of_an_agents_returns(chosen, hashed):
    for _ in range(3):
        assert (await judge("web-01", CHOSEN)).welcome.server == chosen.pk
    assert hashed == [CHOSEN]


async def test_a_wrong_guess_at_a_chosen_secret_is_remembered_by_nobody(chosen, hashed):
    for _ in range(2):
        assert await refusal("web-01", "rahasia tetangga") is RefusalReason.WRONG_SECRET
    assert hashed == ["rahasia tetangga"] * 2
    assert not handshake._checked


async def test_a_chosen_secret_that_was_replaced_is_worth_nothing_though_it_was_remembered(chosen):
    await judge("web-01", CHOSEN)
    await in_thread(identity.set_secret, chosen, "rahasia yang baru")
    assert await refusal("web-01", CHOSEN) is RefusalReason.WRONG_SECRET
    assert (await judge("web-01", "rahasia yang baru")).welcome.secret_version == 3


async def test_what_is_remembered_ends_after_an_hour_and_is_bounded(chosen, hashed, monkeypatch):
    await judge("web-01", CHOSEN)
    now = time.monotonic()
    monkeypatch.setattr(handshake.time, "monotonic", lambda: now + handshake.REMEMBERED_FOR + 1)
    await judge("web-01", CHOSEN)
    assert hashed == [CHOSEN] * 2
    monkeypatch.setattr(handshake, "MAX_REMEMBERED", 1)
    other, _ = await in_thread(identity.create, "web-02")
    await in_thread(identity.set_secret, other, CHOSEN)
    await judge("web-02", CHOSEN)
    assert len(handshake._checked) == 1


async def test_only_so_many_chosen_secrets_are_checked_at_once_and_made_ones_do_not_wait(chosen, monkeypatch):
    """The hasher takes a core for half a second: a flood of guesses must not take them all."""
    gate, matches = threading.Event(), credentials.matches

    def slowly(secret: str, stored: str) -> bool:
        if credentials.is_slow(stored):
            gate.wait(10)
        return matches(secret, stored)

    monkeypatch.setattr(credentials, "matches", slowly)
    made, secret = await in_thread(identity.create, "web-02")
    most = handshake.SLOW_CHECKS + handshake.SLOW_WAITING
    waiting: list[Any] = [asyncio.ensure_future(judge("web-01", CHOSEN)) for _ in range(most)]
    try:
        await until(lambda: handshake._slow_under_way == most)
        with pytest.raises(Overloaded):
            await judge("web-01", CHOSEN)
        assert (await judge("web-02", secret)).welcome.server == made.pk
    finally:
        gate.set()
    assert {admission.welcome.server for admission in await asyncio.gather(*waiting)} == {chosen.pk}
    assert (await judge("web-01", CHOSEN)).welcome.server == chosen.pk
