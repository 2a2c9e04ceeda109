"""Which panel, which token: every mistake is one sentence and exit code 2, before anything is sent."""

from __future__ import annotations

import os
import threading
from argparse import Namespace
from pathlib import Path

import pytest

from tests.agent.certificates import Authority
from tunnel.cli import address, way
from tunnel.cli.exits import Exit, Failure

NAMES = (way.URL, way.TOKEN, way.TOKEN_FILE, way.CA_FILE, address.ALLOW_INSECURE)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def options(**given: str) -> Namespace:
    return Namespace(**{"url": None, "token_file": None, "ca_file": None, "command": "list"} | given)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://panel.example.org", "https://panel.example.org"),
        ("https://panel.example.org/", "https://panel.example.org"),
        ("https://Panel.Example.org:443/ops//", "https://panel.example.org/ops"),
        ("https://panel.example.org:8443/api/tunnel/v1/", "https://panel.example.org:8443"),
        ("https://example.org/ops/api/tunnel/v1", "https://example.org/ops"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_an_address_is_read_as_people_write_it(text: str, shown: str):
    assert str(address.parse(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "panel.example.org",
        "https://",
        "ftp://panel.example.org",
        "wss://panel.example.org",
        "https://panel.example.org:port",
        "https://[::1",
        "https://panel.example.org/?a=1",
        "https://panel.example.org/#x",
        "https://pänel.example.org/",
        "https://panel.example.org/a\x1b[2J",
        "https://user:hunter2@panel.example.org",
        "https://user@panel.example.org",
    ],
)
def test_what_is_no_address_is_refused_without_repeating_it(text: str):
    with pytest.raises(Failure, match="the address of the panel is wrong") as told:
        address.parse(text)
    assert told.value.code is Exit.USAGE
    assert "hunter2" not in str(told.value)


def test_a_token_goes_unencrypted_to_this_machine_alone(monkeypatch: pytest.MonkeyPatch):
    for text in ("http://panel.example.org", "http://192.0.2.1:8000", "http://localhost.example.org"):
        with pytest.raises(Failure, match="is not encrypted"):
            address.parse(text)
    monkeypatch.setenv(address.ALLOW_INSECURE, "1")
    assert address.parse("http://192.0.2.1:8000").port == 8000


def test_a_token_comes_from_a_file_that_nobody_else_can_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "token"
    file.write_text("yta_abc\n")
    file.chmod(0o600)
    assert way.token(options(token_file=str(file))) == "yta_abc"
    monkeypatch.setenv(way.TOKEN_FILE, str(file))
    assert way.token(options()) == "yta_abc"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o620, 0o602])
def test_a_file_that_others_may_touch_is_refused_with_the_line_that_mends_it(tmp_path: Path, mode: int):
    file = tmp_path / "token"
    file.write_text("yta_abc")
    file.chmod(mode)
    with pytest.raises(Failure, match=f"chmod 600 {file}") as told:
        way.token(options(token_file=str(file)))
    assert told.value.code is Exit.USAGE
    assert "yta_abc" not in str(told.value)


def test_a_token_comes_from_a_pipe_too():
    reader, writer = os.pipe()
    threading.Thread(target=lambda: (os.write(writer, b"yta_abc\n"), os.close(writer))).start()
    try:
        assert way.token(options(token_file=f"/dev/fd/{reader}")) == "yta_abc"
    finally:
        os.close(reader)


def test_the_option_goes_before_the_environment_and_two_of_that_are_one_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "token"
    file.write_text("yta_file")
    file.chmod(0o600)
    monkeypatch.setenv(way.TOKEN, "yta_environment")
    assert way.token(options()) == "yta_environment"
    assert way.token(options(token_file=str(file))) == "yta_file"
    monkeypatch.setenv(way.TOKEN_FILE, str(file))
    with pytest.raises(Failure, match="are both set"):
        way.token(options())


@pytest.mark.parametrize(
    "text", ["", " ", "two words", "a\nb", "t\x00", "yta_ä", "x" * 2000, "a\r\nX-Evil: 1"]
)
def test_what_is_no_token_is_refused_without_repeating_it(text: str, tmp_path: Path):
    file = tmp_path / "token"
    file.write_bytes(text.encode())
    file.chmod(0o600)
    with pytest.raises(Failure, match="holds no token") as told:
        way.token(options(token_file=str(file)))
    assert not text.strip() or text.strip() not in str(told.value)


def test_without_a_token_the_three_ways_to_give_one_are_told(tmp_path: Path):
    with pytest.raises(Failure, match=f"--token-file FILE, {way.TOKEN_FILE} or {way.TOKEN}"):
        way.token(options())
    with pytest.raises(Failure, match="cannot be read: No such file"):
        way.token(options(token_file=str(tmp_path / "none")))
    with pytest.raises(Failure, match="cannot be read: Is a directory"):
        way.token(options(token_file=str(tmp_path)))


def test_certificates_must_be_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    good = Authority(tmp_path).file
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing")
    assert len(way.tls(options(ca_file=str(good))).get_ca_certs()) == 1
    monkeypatch.setenv(way.CA_FILE, str(bad))
    with pytest.raises(Failure, match="holds no certificate"):
        way.tls(options())
    with pytest.raises(Failure, match="cannot be read"):
        way.tls(options(ca_file=str(tmp_path / "none")))


def test_no_variable_writes_down_the_keys_of_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    assert way.tls(options()).keylog_filename is None


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ({"token_file": "x"}, False),
        ({"ca_file": "x"}, False),
        ({"ca_file": "x", "command": "doctor"}, True),
        ({}, True),
    ],
)
def test_an_option_of_no_use_is_refused_on_the_panel_s_host(given: dict[str, str], right: bool):
    if right:
        way.refuse_without_url(options(**given))
    else:
        with pytest.raises(Failure, match="goes with --url"):
            way.refuse_without_url(options(**given))
