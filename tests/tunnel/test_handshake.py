"""Which handshakes are secure, whose address counts, and how guessing is slowed (docs/protocol.md §1)."""

import time

import pytest

from tunnel import attempts, handshake
from tunnel.attempts import MAX_PER_ADDRESS, MAX_PER_PAIR, Attempts
from tunnel.handshake import Refused


def scope(*, client="203.0.113.9", scheme=None, **headers):
    made = {
        "client": (client, 5000) if client else None,
        "headers": [
            (name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()
        ],
    }
    return made | ({"scheme": scheme} if scheme else {})


@pytest.mark.parametrize(
    ("debug", "tls_only", "proxies", "made", "secure"),
    [
        (False, False, [], scope(scheme="wss"), True),
        (False, False, [], scope(scheme="ws"), False),
        (False, False, [], scope(), False),
        (False, True, [], scope(), True),
        (True, False, [], scope(client="127.0.0.1"), True),
        (True, False, [], scope(client="::1"), True),
        (True, False, [], scope(), False),
        (False, False, [], scope(client="127.0.0.1"), False),
        (True, False, [], scope(client="127.0.0.1", x_forwarded_for="203.0.113.9"), False),
        (True, False, [], scope(client="127.0.0.1", forwarded="for=203.0.113.9"), False),
        (False, False, ["10.0.0.0/8"], scope(client="10.1.2.3", x_forwarded_proto="https"), True),
        (False, False, ["10.0.0.0/8"], scope(client="10.1.2.3", x_forwarded_proto="http"), False),
        (False, False, ["10.0.0.0/8"], scope(client="10.1.2.3", x_forwarded_proto="https, http"), False),
        (False, False, ["10.0.0.0/8"], scope(client="10.1.2.3"), False),
        (False, False, ["10.0.0.0/8"], scope(x_forwarded_proto="https"), False),
        (False, False, ["unix"], scope(client=None, x_forwarded_proto="https"), True),
        (True, False, [], scope(client=None), False),
        (True, False, ["127.0.0.1"], scope(client="127.0.0.1", x_forwarded_proto="http"), False),
    ],
)
def test_a_connection_is_secure_only_if_this_process_can_know(
    settings, debug, tls_only, proxies, made, secure
):
    settings.DEBUG, settings.TUNNEL_TLS_ONLY, settings.TUNNEL_TRUSTED_PROXIES = debug, tls_only, proxies
    assert handshake.secure(made) is secure


@pytest.mark.parametrize(
    ("proxies", "made", "address"),
    [
        ([], scope(x_forwarded_for="1.2.3.4"), "203.0.113.9"),
        (["203.0.113.9"], scope(x_forwarded_for="1.2.3.4"), "1.2.3.4"),
        (["203.0.113.9"], scope(x_forwarded_for="6.6.6.6, 1.2.3.4"), "1.2.3.4"),
        (["203.0.113.9", "1.2.3.4"], scope(x_forwarded_for="6.6.6.6, 1.2.3.4"), "6.6.6.6"),
        (["203.0.113.9"], scope(), "203.0.113.9"),
        (["203.0.113.9"], scope(x_forwarded_for="1.2.3.4, <b>1</b>"), "203.0.113.9"),
        (["203.0.113.9"], scope(x_forwarded_for="fe80::1%<b>"), "203.0.113.9"),
        (["203.0.113.9"], scope(x_forwarded_for=""), "203.0.113.9"),
    ],
)
def test_the_address_is_the_last_hop_that_is_no_trusted_proxy(settings, proxies, made, address):
    settings.TUNNEL_TRUSTED_PROXIES = proxies
    assert handshake.client_address(made) == address


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("x-agent-id", "abc")],
        [("x-agent-secret", "s")],
        [("x-agent-id", "abc"), ("x-agent-id", "abc"), ("x-agent-secret", "s")],
        [("x-agent-id", "abc,abc"), ("x-agent-secret", "s")],
        [("x-agent-id", "abc"), ("x-agent-secret", "s"), ("x-agent-secret", "s")],
        [("x-agent-id", "a"), ("x-agent-secret", "s")],
        [("x-agent-id", "abc"), ("x-agent-secret", "s" * 257)],
        [("x-agent-id", "abc"), ("x-agent-secret", "")],
        [("x-agent-id", "ab\x0bc"), ("x-agent-secret", "s")],
    ],
)
async def test_headers_of_the_wrong_shape_are_refused_before_anything_is_looked_up(headers):
    made = {"client": ("127.0.0.1", 1), "headers": [(a.encode(), b.encode("latin-1")) for a, b in headers]}
    with pytest.raises(Refused):
        await handshake.judge(made)


def test_ten_failures_a_minute_stop_a_pair_and_leave_others_alone():
    seen = Attempts()
    for _ in range(MAX_PER_PAIR):
        assert seen.allowed("203.0.113.9", "web-01")
        seen.failed("203.0.113.9", "web-01")
    assert not seen.allowed("203.0.113.9", "web-01")
    assert seen.allowed("203.0.113.9", "web-02")
    assert seen.allowed("203.0.113.10", "web-01")


def test_a_guesser_does_not_lock_out_the_agents_behind_the_same_nat():
    seen = Attempts()
    seen.succeeded("203.0.113.9", "web-01")
    for number in range(MAX_PER_ADDRESS):
        seen.failed("203.0.113.9", f"guess-{number}")
    assert not seen.allowed("203.0.113.9", "web-02")
    assert seen.allowed("203.0.113.9", "web-01")


def test_an_ipv6_network_counts_as_one_address():
    seen = Attempts()
    for number in range(MAX_PER_ADDRESS):
        seen.failed(f"2001:db8::{number:x}", f"guess-{number}")
    assert not seen.allowed("2001:db8::ffff:1", "web-01")
    assert seen.allowed("2001:db8:0:1::1", "web-01")


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(attempts, "MAX_REMEMBERED", 10)
    seen = Attempts()
    for number in range(50):
        seen.failed(f"203.0.113.{number}", "web-01")
        seen.succeeded(f"203.0.113.{number}", "web-01")
    assert len(seen._pairs) == len(seen._addresses) == len(seen._succeeded) == 10


def test_failures_are_forgiven_with_time(monkeypatch):
    seen = Attempts()
    for _ in range(MAX_PER_PAIR):
        seen.failed("203.0.113.9", "web-01")
    later = time.monotonic() + 61
    monkeypatch.setattr(attempts.time, "monotonic", lambda: later)
    assert seen.allowed("203.0.113.9", "web-01")


def test_a_claimed_id_in_the_log_is_escaped_and_bounded():
    assert handshake.claimed_id(scope(x_agent_id="evil\nINFO forged")) == "evil\\nINFO forged"
    assert len(handshake.claimed_id(scope(x_agent_id="x" * 9000))) == 80
    assert handshake.claimed_id(scope()) == "-"
