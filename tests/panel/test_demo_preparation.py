"""What `make run` prepares before it starts anything: admin, certificate, ports, configuration, agents' files."""

from __future__ import annotations

import configparser
import math
import os
import pwd
import socket
import ssl
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth import get_user_model
from supervisor.options import ServerOptions

from servers import credentials, identity
from yumna_panel.demo import account, agents, certificate, greeting, programs, site
from yumna_panel.demo.places import CHECKOUT, Places
from yumna_panel.demo.site import BadHost, NoFreePort, Site, checked_host, free_port, settings_for
from yumna_panel.environment import BadSetting

# The first admin -----------------------------------------------------------------------------------------------


def test_a_password_holds_more_than_80_bits():
    assert account.GROUPS * account.GROUP_LENGTH * math.log2(len(account.ALPHABET)) > 80
    assert account.make_password() != account.make_password()


@pytest.mark.django_db
def test_the_first_admin_gets_a_password_that_is_kept_privately(tmp_path):
    file = tmp_path / "admin-password"
    password = account.ensure_admin(file)
    assert get_user_model().objects.get(username="admin", is_superuser=True).check_password(password)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert account.ensure_admin(file) == password


@pytest.mark.django_db
def test_a_password_that_was_changed_is_not_printed(tmp_path):
    file = tmp_path / "admin-password"
    account.ensure_admin(file)
    user = get_user_model().objects.get(username="admin")
    user.set_password("a word of their own")
    user.save()
    assert account.ensure_admin(file) is None


# The certificate -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["panel.test", "192.0.2.7"])
@pytest.mark.parametrize("name", ["the host", "localhost", "127.0.0.1"])
def test_a_client_that_trusts_the_authority_accepts_the_certificate(tmp_path, host, name):
    files = certificate.ensure(tmp_path / "tls", host)
    assert handshake(files, host if name == "the host" else name) in ("TLSv1.2", "TLSv1.3")


def test_another_name_is_not_accepted(tmp_path):
    files = certificate.ensure(tmp_path / "tls", "panel.test")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(files, "other.test")


def handshake(files: certificate.Certificate, name: str) -> str | None:
    """Shake hands in memory, strictly; return the version."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(files.chain, files.key)
    client_context = ssl.create_default_context(cafile=str(files.authority))
    client_context.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return client.version()


def test_the_keys_are_private_and_kept(tmp_path):
    folder = tmp_path / "tls"
    first = certificate.ensure(folder, "panel.test")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert certificate.ensure(folder, "panel.test") == first
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.glob("*.key")} == {0o600}


def test_a_new_name_gets_a_certificate_of_the_same_authority(tmp_path):
    first = certificate.ensure(tmp_path / "tls", "panel.test")
    authority = first.authority.read_bytes()
    second = certificate.ensure(tmp_path / "tls", "other.test")
    assert second.authority.read_bytes() == authority
    assert handshake(second, "other.test")


def test_a_certificate_about_to_expire_is_renewed(tmp_path):
    long_ago = datetime.now(UTC) - certificate.CERTIFICATE_LIFE + timedelta(days=5)
    old = certificate.ensure(tmp_path / "tls", "panel.test", now=long_ago).chain.read_bytes()
    assert certificate.ensure(tmp_path / "tls", "panel.test").chain.read_bytes() != old


# Where it is served --------------------------------------------------------------------------------------------


def test_a_taken_port_is_passed_over():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        first = taken.getsockname()[1]
        assert first < free_port("127.0.0.1", first) < first + site.PORTS_TRIED


def test_no_free_port_is_an_error_with_a_sentence(monkeypatch):
    monkeypatch.setattr(site, "PORTS_TRIED", 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(NoFreePort, match="are all taken"):
            free_port("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize("host", ["panel.example.com", "node-1", "10.0.0.7", "xn--bcher-kva.example", ""])
def test_names_and_addresses_are_hosts(host):
    assert checked_host(host) == host


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "10.0.0", "a b", "https://x", "x:8443", "-x", "x..y", "::1", "*", "a" * 64, "x/y", "%h"],
)
def test_everything_else_is_no_host(host):
    with pytest.raises(BadHost, match="is no host name or IPv4 address"):
        checked_host(host)


def test_on_loopback_it_is_for_trying_out_whatever_the_shell_has_set(tmp_path, monkeypatch):
    for name in ("SECRET_KEY", "SECRET_KEY_FILE", "DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SECRET_KEY", "k" * 60)  # without the demo's word DEBUG would be off
    monkeypatch.setenv("ALLOWED_HOSTS", "panel.example.org")
    variables = settings_for(Site("", 8000), tmp_path / "key")
    assert variables == {"DEBUG": "1", "ALLOWED_HOSTS": "panel.example.org,localhost,127.0.0.1"}
    assert not (tmp_path / "key").exists()


def test_on_loopback_a_debug_that_was_switched_off_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("DEBUG", "0")
    with pytest.raises(BadSetting, match=r"^DEBUG is off, and `make run` speaks plain HTTP"):
        settings_for(Site("", 8000), tmp_path / "key")


def test_for_other_machines_debug_is_off_and_the_key_comes_from_a_file(tmp_path, monkeypatch):
    monkeypatch.delenv("SECRET_KEY", raising=False)
    monkeypatch.delenv("SECRET_KEY_FILE", raising=False)
    monkeypatch.delenv("ALLOWED_HOSTS", raising=False)
    variables = settings_for(Site("panel.test", 8443), tmp_path / "key")
    assert variables["DEBUG"] == "0"
    assert variables["ALLOWED_HOSTS"] == "panel.test,localhost,127.0.0.1"
    assert variables["SECRET_KEY_FILE"] == str(tmp_path / "key")
    assert len((tmp_path / "key").read_text()) >= 50


def test_the_checks_for_deployment_are_clean_as_it_is_served_to_other_machines(tmp_path):
    data = Places(tmp_path)
    variables = settings_for(Site("panel.test", 8443), data.secret_key)
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=CHECKOUT,
        env={
            **os.environ,
            **variables,
            "DATA_DIR": str(tmp_path),
            "DJANGO_SETTINGS_MODULE": "yumna_panel.settings",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


# The supervisor's configuration --------------------------------------------------------------------------------

ALL = [
    programs.redis_program(),
    programs.web_program("127.0.0.1", 8000, workers=2),
    programs.background_program(),
    programs.agent_program(""),
]


def test_the_supervisor_understands_its_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    (tmp_path / "supervisord.conf").write_text(programs.configuration(ALL))
    options = ServerOptions()
    options.realize(["-c", "supervisord.conf"])
    groups = {group.name: group.process_configs for group in options.process_group_configs}
    assert sorted(groups) == ["agent", "redis", "web", "worker"]
    assert [config.name for config in groups["web"]] == ["web_0", "web_1"]
    assert all(config.autorestart for configs in groups.values() for config in configs)


def test_no_path_stands_in_the_configuration():
    text = programs.configuration(ALL)
    assert str(CHECKOUT) not in text
    assert sys.executable not in text


def test_there_is_no_control_socket():
    parser = configparser.RawConfigParser()
    parser.read_string(programs.configuration(ALL))
    assert not [section for section in parser.sections() if "server" in section or "ctl" in section]


def test_only_an_agent_changes_its_user():
    text = programs.configuration([*ALL[:3], programs.agent_program("nobody")])
    assert text.count("user=nobody") == 1


# Agents on this machine ----------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_server_is_made_once_and_its_secret_kept(tmp_path):
    server, file = agents.ensure_server("this-machine", tmp_path)
    assert credentials.matches(file.read_text(), server.secret_digest)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert agents.ensure_server("this-machine", tmp_path) == (server, file)
    assert credentials.matches(file.read_text(), server.secret_digest)


@pytest.mark.django_db
def test_a_secret_that_no_longer_opens_is_replaced(tmp_path):
    server, file = agents.ensure_server("this-machine", tmp_path)
    identity.rotate_secret(server, by=None)
    server, file = agents.ensure_server("this-machine", tmp_path)
    assert credentials.matches(file.read_text(), server.secret_digest)


def test_an_agent_on_loopback_may_use_plain_sockets():
    settings = agents.agent_settings("this-machine", Site("", 8001))
    assert settings["MASTER_URL"] == "ws://127.0.0.1:8001"
    assert settings["ALLOW_INSECURE"] == "1"


def test_an_agent_of_a_tls_site_trusts_its_authority_only():
    settings = agents.agent_settings("this-machine", Site("panel.test", 8443))
    assert settings["MASTER_URL"] == "wss://127.0.0.1:8443"
    assert settings["MASTER_CA_FILE"] == "ca.pem"
    assert "ALLOW_INSECURE" not in settings


def test_an_agents_folder_is_for_its_user_only(tmp_path):
    (tmp_path / "s").write_text("yts_secret")
    with agents.home(tmp_path / "home", {"AGENT_ID": "x"}, {"secret": tmp_path / "s"}) as home:
        owner = pwd.getpwnam(home.user).pw_uid if home.user else os.geteuid()
        for path in (home.folder, home.folder / ".env", home.folder / "secret"):
            assert path.stat().st_uid == owner
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
        assert (home.folder / "agent_client" / "__main__.py").exists()
        assert (home.folder / ".env").read_text() == "AGENT_ID=x\n"


def test_as_root_an_agent_is_somebody_else():
    assert agents.unprivileged_user() != "root"


# What is printed -----------------------------------------------------------------------------------------------


def test_the_block_names_the_address_the_login_and_what_to_try(tmp_path, monkeypatch):
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    text = "\n".join(greeting.block(Site("", 8000), "abcd-efgh", 1, 1, CHECKOUT / ".demo", redis=True))
    assert "http://127.0.0.1:8000/admin/" in text
    assert "admin / abcd-efgh" in text
    assert "1 of 1 tunnels active" in text
    assert ".venv/bin/python manage.py tunnel run this-machine -- uptime" in text
    assert "ssh -L" not in text


def test_without_a_redis_it_promises_no_other_shell(tmp_path):
    text = "\n".join(greeting.block(Site("", 8000), "abcd-efgh", 1, 1, tmp_path, redis=False))
    assert "manage.py" not in text


@pytest.mark.parametrize(("says", "printed"), [(b"+PONG\r\n", True), (b"-NOAUTH\r\n", False), (b"", False)])
def test_a_redis_is_named_only_where_one_answers(says, printed):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer() -> None:
            with listener.accept()[0] as caller:
                caller.recv(64)
                caller.sendall(says)

        thread = threading.Thread(target=answer)
        thread.start()
        assert greeting.redis_answers(port) is printed
        thread.join()
    assert not greeting.redis_answers(port)


@pytest.mark.parametrize("redis", [True, False])
def test_what_needs_a_redis_of_the_machine_is_printed_only_with_one(tmp_path, monkeypatch, redis):
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setattr(greeting, "redis_answers", lambda: redis)
    text = "\n".join(greeting.block(Site("", 8000), "abcd-efgh", 1, 1, tmp_path, redis=True))
    assert ("REDIS_URL=redis://127.0.0.1" in text) is redis


@pytest.mark.parametrize(
    ("make", "line"), [("/usr/bin/make", "make agent NAME=two"), (None, "python3 bootstrap.py agent two")]
)
def test_without_make_the_bootstrap_is_named(tmp_path, monkeypatch, make, line):
    monkeypatch.setattr(greeting.shutil, "which", lambda _name: make)
    text = "\n".join(greeting.block(Site("", 8000), "abcd-efgh", 1, 1, tmp_path, redis=True))
    assert f"DATA_DIR='{tmp_path}' {line}" in text


def test_another_shell_is_told_what_it_must_set_too(tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://user:hunter2@host/name")
    text = "\n".join(greeting.block(Site("", 8000), "abcd-efgh", 1, 1, tmp_path, redis=True))
    assert "(with the same DATABASE_URL" in text
    assert "hunter2" not in text


def test_over_ssh_it_prints_the_line_that_brings_the_port_home(monkeypatch):
    monkeypatch.setenv("SSH_CONNECTION", "198.51.100.4 50000 203.0.113.9 2222")
    text = "\n".join(greeting.ssh_lines(8000))
    assert "ssh -L 8000:127.0.0.1:8000 -p 2222 " in text
    assert "@203.0.113.9" in text


@pytest.mark.parametrize(
    ("environment", "opens"),
    [
        ({}, False),
        ({"DISPLAY": ":0", "CI": "true"}, False),
        ({"DISPLAY": ":0", "OPEN": "0"}, False),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "a 1 b 22"}, False),
        ({"DISPLAY": ":0"}, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, True),
    ],
)
def test_a_browser_is_opened_on_a_desktop_only(tmp_path, environment, opens):
    browser = tmp_path / "browser"
    browser.write_text('#!/bin/sh\necho "$1" > "$0.opened"\n')
    browser.chmod(0o755)
    unset = ("DISPLAY", "WAYLAND_DISPLAY", "CI", "OPEN", "SSH_CONNECTION")
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    code = "from yumna_panel.demo import greeting, site; greeting.open_browser(site.Site('', 8000))"
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=CHECKOUT,
        env={**inherited, **environment, "BROWSER": f"{browser} %s"},
        check=True,
    )
    opened = tmp_path / "browser.opened"
    assert (opened.read_text() if opened.exists() else "") == (
        "http://127.0.0.1:8000/admin/\n" if opens else ""
    )
