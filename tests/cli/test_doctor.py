"""The doctor from anywhere: each step that can fail says what to do, and ends the walk with its exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agent.certificates import Authority
from tests.cli.test_facts import SERVER
from tests.cli.test_rest import at, panel, trusting
from tests.cli.web import Asked, problem, reply, serving
from tests.ports import free_port
from tunnel.cli.exits import Exit
from tunnel.cli.finding import Finding
from tunnel.cli.remote import Remote
from tunnel.cli.rest import Rest

ME = {
    "user": "ada",
    "scopes": ["view", "run_command"],
    "groups": ["web"],
    "expires_at": "2126-01-01T00:00:00Z",
}


def well(asked: Asked, **instead: bytes) -> bytes:
    """Answer as a healthy panel does, but for the paths that end with a word of `instead`."""
    for word, answer in instead.items():
        if asked.path.rstrip("/").endswith(word):
            return answer
    if "/tunnel/v1/me/" in asked.path:
        return reply(200, ME)
    if "/servers/" in asked.path:
        return reply(200, {"next": None, "results": [SERVER]})
    return reply(200, b"ok\n", "text/plain")


def walk(rest: Rest) -> list[Finding]:
    return list(Remote(rest, "yumna").findings(None))


def test_a_healthy_panel_passes_every_step(tmp_path: Path):
    authority = Authority(tmp_path)
    with serving(well, authority.server(days=9)) as web:
        found = {
            each.step: each for each in walk(panel(f"https://localhost:{web.port}", trusting(authority)))
        }
    assert list(found) == ["address", "name", "connection", "TLS", "panel", "panel ready", "token", "rights"]
    assert all(each.ok is not False for each in found.values())
    assert "for localhost, 127.0.0.1, by test authority, " in found["TLS"].detail
    assert (found["TLS"].ok, found["TLS"].fix) == (None, "renew it"), "8 days are few"
    assert "acts for ada; may view, run_command; on the groups web" in found["token"].detail
    assert found["rights"].detail == "servers it sees: 1, connected: 1"


CASES = {
    "ready": (
        {"readyz": reply(503, {"database": "ok", "layer": "away"})},
        "panel ready",
        Exit.NO_LAYER,
        "layer: away",
    ),
    "proxy": ({"healthz": reply(503, b"<html>", "text/html")}, "panel", Exit.NO_LAYER, "503"),
    "token": (
        {"me": problem(401, "not_authenticated", "no")},
        "token",
        Exit.REFUSED,
        "does not take this token",
    ),
    "no interface": ({"me": reply(404, b"<html>", "text/html")}, "token", Exit.NO_LAYER, "no REST interface"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_step_that_fails_is_the_last_and_gives_the_exit_code(case: str):
    instead, step, code, words = CASES[case]
    with serving(lambda asked: well(asked, **instead)) as web:
        *before, last = walk(at(web.port))
    assert all(each.ok is not False for each in before)
    assert (last.step, last.ok, last.code) == (step, False, code)
    assert words in last.detail
    assert last.fix


def test_a_token_without_any_server_is_told_so():
    def answer(asked: Asked) -> bytes:
        return reply(200, {"next": None, "results": []}) if "/servers/" in asked.path else well(asked)

    with serving(answer) as web:
        last = walk(at(web.port))[-1]
    assert (last.step, last.ok, last.detail) == ("rights", None, "this token sees no server")


def test_name_connection_and_certificate_are_told_apart(tmp_path: Path):
    assert walk(panel("https://panel.invalid"))[-1].step == "name"
    assert walk(at(free_port()))[-1].detail.endswith("Connection refused")
    with serving(well, Authority(tmp_path).server()) as web:
        last = walk(panel(f"https://localhost:{web.port}"))[-1]
    assert (last.step, last.code) == ("TLS", Exit.NO_LAYER)
    assert "--ca-file" in last.fix
    with serving(reply(400, b""), at_once=True) as web:
        last = walk(panel(f"https://localhost:{web.port}"))[-1]
    assert (last.step, last.ok) == ("TLS", False)
    assert "no handshake" in last.detail
