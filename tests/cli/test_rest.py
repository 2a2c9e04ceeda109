"""The way to the panel: verified, never redirected, bounded, and every fault in one sentence with its exit code."""

from __future__ import annotations

import base64
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.agent.certificates import Authority
from tests.cli.web import Asked, problem, read, reply, serving
from tests.ports import free_port
from tunnel.cli import address, rest
from tunnel.cli.exits import Exit, Failure
from tunnel.cli.rest import Rest
from tunnel.cli.rest_errors import NotThePanel, Problem, Unreachable

TOKEN = "yta_not-a-real-token"
ME = {"user": "ada"}


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def panel(url: str, tls: ssl.SSLContext | None = None, told: list[str] | None = None) -> Rest:
    tell: Callable[[str], None] = (lambda _: None) if told is None else told.append
    return Rest(address.parse(url), TOKEN, tls or ssl.create_default_context(), tell)


def at(port: int, **how: Any) -> Rest:
    return panel(f"http://127.0.0.1:{port}", **how)


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.file))


# What goes out -----------------------------------------------------------------------------------------------------


def test_a_call_carries_the_token_in_its_header_alone():
    with serving(reply(200, ME)) as web:
        answer = at(web.port).call("POST", "servers/a/commands/", {"x": 1}, query={"page": "2"}, key="k")
    (asked,) = web.asked
    assert answer == ME
    assert (asked.method, asked.path) == ("POST", "/api/tunnel/v1/servers/a/commands/?page=2")
    assert asked.headers["authorization"] == f"Token {TOKEN}"
    assert asked.headers["idempotency-key"] == "k"
    assert asked.json == {"x": 1}
    assert TOKEN not in asked.path


def test_a_panel_below_a_path_is_asked_there():
    with serving(reply(200, ME)) as web:
        panel(f"http://127.0.0.1:{web.port}/ops/").call("GET", "me/")
    assert web.asked[0].path == "/ops/api/tunnel/v1/me/"


def test_the_panel_s_own_pages_are_fetched_without_the_token():
    with serving(reply(200, b"ok", "text/plain")) as web:
        assert at(web.port).get("/tunnel/healthz").status == 200
    assert "authorization" not in web.asked[0].headers


# Redirects ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_told_with_the_host_alone(status: int):
    with serving(reply(200, ME)) as other:
        there = f"http://127.0.0.1:{other.port}/secret-path?x=1"
        with serving(reply(status, b"", Location=there)) as web, pytest.raises(NotThePanel) as told:
            at(web.port).call("POST", "servers/", {})
    assert other.asked == []
    assert f"give --url http://127.0.0.1:{other.port}" in str(told.value)
    assert "secret-path" not in str(told.value)
    assert told.value.code is Exit.NO_LAYER


@pytest.mark.parametrize(
    "location", ["", "//", "javascript:alert(1)", "http://[", "https://user:pw@evil.test/"]
)
def test_a_redirect_to_nowhere_sensible_is_only_refused(location: str):
    with serving(reply(302, b"", Location=location)) as web, pytest.raises(NotThePanel) as told:
        at(web.port).call("GET", "me/")
    assert "not followed with a token" in str(told.value)
    assert "evil" not in str(told.value)


# TLS ---------------------------------------------------------------------------------------------------------------


def test_a_panel_of_a_trusted_authority_is_asked(authority: Authority):
    with serving(reply(200, ME), authority.server()) as web:
        assert panel(f"https://localhost:{web.port}", trusting(authority)).call("GET", "me/") == ME


def test_a_panel_of_an_unknown_authority_sees_no_token(authority: Authority):
    with serving(reply(200, ME), authority.server()) as web, pytest.raises(Unreachable) as told:
        panel(f"https://localhost:{web.port}").call("GET", "me/")
    assert web.asked == []
    assert "is not trusted" in str(told.value)
    assert "--ca-file" in str(told.value)
    assert told.value.sent is False


def test_a_certificate_for_another_name_or_run_out_is_refused(authority: Authority):
    for context in (
        authority.server(name="elsewhere.test", address="192.0.2.9"),
        authority.server(days=-1),
    ):
        with serving(reply(200, ME), context) as web, pytest.raises(Unreachable, match="is not trusted"):
            panel(f"https://localhost:{web.port}", trusting(authority)).call("GET", "me/")
        assert web.asked == []


def test_a_panel_that_speaks_only_old_tls_is_refused(authority: Authority, monkeypatch: pytest.MonkeyPatch):
    from argparse import Namespace

    from tunnel.cli import way

    monkeypatch.delenv(way.CA_FILE, raising=False)
    context = authority.server()
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:@SECLEVEL=0")
    ours = way.tls(Namespace(ca_file=str(authority.file)))
    assert ours.minimum_version is ssl.TLSVersion.TLSv1_2
    with serving(reply(200, ME), context) as web, pytest.raises(Unreachable, match="no TLS with"):
        panel(f"https://localhost:{web.port}", ours).call("GET", "me/")
    assert web.asked == []


def test_plain_http_on_a_port_of_tls_is_one_sentence():
    with (
        serving(reply(400, b""), at_once=True) as web,
        pytest.raises(Unreachable, match=r"no TLS with .* check scheme"),
    ):
        panel(f"https://localhost:{web.port}").call("GET", "me/")


# No answer ---------------------------------------------------------------------------------------------------------


def test_a_closed_port_says_so_and_that_nothing_was_sent():
    with pytest.raises(Unreachable, match="cannot be reached: Connection refused") as told:
        at(free_port()).call("GET", "me/")
    assert told.value.sent is False
    assert told.value.code is Exit.NO_LAYER


def test_a_name_without_an_address_says_so(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(Unreachable, match=r"no address for the name panel\.invalid") as told:
        panel("https://panel.invalid").call("GET", "me/")
    assert told.value.sent is False


def test_a_connection_that_ends_before_the_answer_leaves_the_outcome_open():
    with (
        serving(lambda asked: None) as web,
        pytest.raises(Unreachable, match="ended before its answer") as told,
    ):
        at(web.port).call("POST", "servers/a/commands/", {})
    assert told.value.sent is True
    assert len(web.asked) == 1, "nothing is asked twice"


def test_a_panel_that_says_nothing_is_given_up_on():
    def silent(asked: Asked) -> None:
        asked.raw.recv(1)  # until the other side hangs up

    with serving(silent) as web, pytest.raises(Unreachable, match="did not answer in time") as told:
        at(web.port).call("GET", "me/", patience=0.3)
    assert told.value.sent is True


def test_a_panel_that_sends_a_byte_now_and_then_is_given_up_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rest, "CONNECT_WITHIN", 0.2)

    def trickle(asked: Asked) -> None:
        asked.raw.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999\r\n\r\n"
        )
        while True:
            asked.raw.sendall(b" ")
            time.sleep(0.02)  # a slow sender is what this is about

    with serving(trickle) as web, pytest.raises(Unreachable, match="did not answer in time"):
        at(web.port).call("GET", "me/", patience=0.3)


# Something else answers --------------------------------------------------------------------------------------------

DEEP = b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
RUBBISH = {
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a page": reply(200, b"<html>", "text/html; charset=utf-8"),
    "no JSON": reply(200, b"{'a'"),
    "a list": reply(200, [1]),
    "NaN": reply(200, b'{"a": NaN}'),
    "nested too deep": reply(200, DEEP),
    "packed": reply(200, b"\x1f\x8b\x08", Content_Encoding="gzip"),
    "no type": reply(200, b"{}", ""),
    "bad UTF-8": reply(200, b'{"a": "\xff"}'),
    "endless headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n",
    "a page of 404": reply(404, b"<html>", "text/html"),
    "a page of 403": reply(403, b"<html>", "text/html"),
}


@pytest.mark.parametrize("answer", RUBBISH.values(), ids=RUBBISH)
def test_what_is_no_panel_is_told_in_one_sentence(answer: bytes):
    with serving(answer) as web, pytest.raises(NotThePanel) as told:
        at(web.port).call("GET", "me/")
    assert told.value.code is Exit.NO_LAYER
    assert "\n" not in str(told.value)


def test_an_answer_beyond_every_bound_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rest, "LARGEST", 1 << 20)
    sent = 0

    def endless(asked: Asked) -> None:
        nonlocal sent
        asked.raw.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        while True:
            asked.raw.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
            sent += 0x10000

    with serving(endless) as web, pytest.raises(NotThePanel, match="larger than 1 MiB"):
        at(web.port).call("GET", "me/")
    assert sent < 16 << 20


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_that_does_not_reach_the_panel_is_told_apart(status: int):
    with (
        serving(reply(status, b"<html>", "text/html")) as web,
        pytest.raises(Unreachable, match="the proxy at"),
    ):
        at(web.port).call("GET", "me/")


def test_a_panel_that_fails_is_a_failure_of_its_own():
    with (
        serving(reply(500, b"<html>", "text/html")) as web,
        pytest.raises(Failure, match="look at its log") as told,
    ):
        at(web.port).call("GET", "me/")
    assert told.value.code is Exit.FAILED


# The panel's own words ---------------------------------------------------------------------------------------------

PROBLEMS = {
    "not_authenticated": (401, Exit.REFUSED),
    "not_permitted": (403, Exit.REFUSED),
    "forbidden": (403, Exit.REFUSED),
    "not_found": (404, Exit.NO_SUCH_SERVER),
    "not_connected": (409, Exit.OFFLINE),
    "exists": (409, Exit.FAILED),
    "throttled": (429, Exit.FAILED),
    "bus_unavailable": (503, Exit.NO_LAYER),
    "not_sent": (503, Exit.TIMED_OUT),
    "unavailable": (503, Exit.NO_LAYER),
    "no_reply": (504, Exit.TIMED_OUT),
    "disconnected": (502, Exit.OFFLINE),
    "timeout": (502, Exit.TIMED_OUT),
    "relay_lost": (502, Exit.NO_LAYER),
    "a_word_of_tomorrow": (400, Exit.FAILED),
}


@pytest.mark.parametrize("code", PROBLEMS)
def test_a_problem_ends_with_the_exit_code_of_its_code(code: str):
    status, wanted = PROBLEMS[code]
    with serving(problem(status, code, "in words", ran="no")) as web, pytest.raises(Problem) as told:
        at(web.port).call("GET", "me/")
    assert told.value.code is wanted
    assert (told.value.told.code, told.value.told.ran) == (code, "no")
    assert str(told.value) == "in words" or code == "not_authenticated"


def test_a_problem_of_a_body_names_the_members():
    errors = [
        {"pointer": "/name", "code": "x", "detail": "too long"},
        {"pointer": "#/tags/0", "detail": "none"},
    ]
    with serving(problem(400, "invalid", "wrong", errors=errors)) as web, pytest.raises(Problem) as told:
        at(web.port).call("POST", "servers/", {})
    assert str(told.value) == "name: too long; tags.0: none"


@pytest.mark.parametrize(
    "members",
    [
        {"errors": 5, "ran": 7, "code": [], "detail": {}, "title": None},
        {"errors": [1, None, {"pointer": 3, "detail": 4}]},
        {"detail": "x" * 100_000},
    ],
    ids=["types", "errors", "long"],
)
def test_a_problem_with_members_of_wrong_types_is_still_one_sentence(members: dict[str, Any]):
    body = {"status": 400, **members}
    answer = reply(400, body, "application/problem+json")
    with serving(answer) as web, pytest.raises(Problem) as told:
        at(web.port).call("GET", "me/")
    assert len(str(told.value)) <= 2000


# Too many requests -------------------------------------------------------------------------------------------------


def test_a_panel_that_asks_to_wait_is_waited_for_and_the_person_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rest, "AMONG_FRIENDS", 0.01)
    answers = [problem(429, "throttled", "slow down", headers={"Retry_After": "0.2"}), reply(200, ME)]
    told: list[str] = []
    with serving(lambda asked: answers.pop(0)) as web:
        assert at(web.port, told=told).call("POST", "servers/", {}) == ME
    assert len(web.asked) == 2
    assert told == ["the panel takes no more for now, waiting 0 s"]


@pytest.mark.parametrize("wait", ["3600", "", "soon", "inf", "nan", "-1e400"])
def test_a_wait_that_is_too_long_or_none_is_not_waited_for(wait: str):
    headers = {"Retry_After": wait} if wait else {}
    with serving(problem(429, "throttled", "slow down", headers=headers)) as web, pytest.raises(Problem):
        at(web.port).call("GET", "me/")
    assert len(web.asked) == 1


def test_a_panel_that_always_asks_to_wait_is_given_up_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rest, "MOST_WAITING", 0.5)
    monkeypatch.setattr(rest, "AMONG_FRIENDS", 0.0)
    with (
        serving(problem(429, "throttled", "slow down", headers={"Retry_After": "0.2"})) as web,
        pytest.raises(Problem, match="too many requests, try again in 0 s"),
    ):
        at(web.port).call("GET", "me/")
    assert 2 <= len(web.asked) <= 4


# Proxies -----------------------------------------------------------------------------------------------------------


def tunnelling(target: int, seen: list[Asked]) -> Callable[[Asked], None]:
    """A proxy that takes CONNECT and leads everything to one port."""
    import socket
    import threading

    def pump(source: socket.socket, to: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                to.sendall(data)
            to.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def answer(asked: Asked) -> None:
        seen.append(asked)
        with socket.create_connection(("127.0.0.1", target)) as there:
            asked.raw.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=pump, args=(there, asked.raw), daemon=True)
            back.start()
            pump(asked.raw, there)
            back.join(10)

    return answer


def test_a_proxy_of_the_environment_leads_to_the_panel_and_sees_no_token(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
):
    seen: list[Asked] = []
    with (
        serving(reply(200, ME), authority.server(name="panel.test")) as web,
        serving(tunnelling(web.port, seen)) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"http://some%20body:w%40rd@127.0.0.1:{proxy.port}")
        assert panel("https://panel.test", trusting(authority)).call("GET", "me/") == ME
    assert (seen[0].method, seen[0].path) == ("CONNECT", "panel.test:443")
    login = base64.b64encode(b"some body:w@rd").decode()
    assert seen[0].headers["proxy-authorization"] == f"Basic {login}"
    assert TOKEN not in str(seen[0].headers)
    assert web.asked[0].headers["authorization"] == f"Token {TOKEN}"
    assert "proxy-authorization" not in web.asked[0].headers


def test_a_proxy_that_refuses_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch):
    with serving(reply(407, b"")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:word@127.0.0.1:{proxy.port}")
        with pytest.raises(
            Unreachable, match=f"the proxy http://127.0.0.1:{proxy.port} does not lead"
        ) as told:
            panel("https://panel.test").call("GET", "me/")
    assert "word" not in str(told.value)
    assert told.value.sent is False


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_no_proxy_is_obeyed(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv(name, "example.org,.panel.test")
    assert panel("https://my.panel.test").proxy == ""
    assert panel("https://other.test").proxy == "http://127.0.0.1:9"


def test_this_machine_is_never_asked_by_way_of_a_proxy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with serving(reply(200, ME)) as web:
        assert at(web.port).call("GET", "me/") == ME


def test_a_proxy_of_a_kind_we_do_not_speak_is_usage(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    with pytest.raises(Failure, match="no http:// or https:// one") as told:
        panel("https://panel.test")
    assert told.value.code is Exit.USAGE


def test_reading_a_request_is_what_the_server_here_does():
    """The tests' own server must not invent: a request that is cut off is none."""
    import socket

    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"GET / HTTP/1.1\r\nContent-")
        ours.close()
        with pytest.raises(ConnectionError):
            read(theirs)
