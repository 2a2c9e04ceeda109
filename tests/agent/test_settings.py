"""The agent's settings: every form of address, every wrong value in one sentence, exit code 2."""

import subprocess
import sys
from pathlib import Path

import pytest

from agent_client.settings import MOST_MASTERS, WrongSetting, load
from tests.docs.pages import ROOT

FOUR_LINES = """CONNECTION_MODE=tunnel
MASTER_URL=wss://master-panel.com
AGENT_ID=agent-home-server
AGENT_SECRET=rahasiadapur
"""
GOOD = {
    "MASTER_URL": "wss://master-panel.com",
    "AGENT_ID": "agent-home-server",
    "AGENT_SECRET": "rahasiadapur",
}


def read(
    tmp_path: Path, environment: dict[str, str] | None = None, file: str = "", system: str = "", **changes
):
    local, etc = tmp_path / ".env", tmp_path / "agent.env"
    for path, text in ((local, file), (etc, system)):
        if text:
            path.write_text(text)
            path.chmod(0o600)
    environment = {**(GOOD if environment is None else environment), **changes}
    return load({k: v for k, v in environment.items() if v is not None}, local_file=local, system_file=etc)


def test_the_four_lines_of_a_node_are_enough(tmp_path):
    settings = read(tmp_path, {}, FOUR_LINES)
    assert [address.url for address in settings.masters] == ["wss://master-panel.com/tunnel"]
    assert (settings.connection_mode, settings.agent_id, settings.secret) == (
        "tunnel",
        "agent-home-server",
        "rahasiadapur",
    )
    assert "rahasiadapur" not in repr(settings)


@pytest.mark.parametrize(
    ("written", "dialled"),
    [
        ("wss://master-panel.com", ["wss://master-panel.com/tunnel"]),
        ("wss://master-panel.com/", ["wss://master-panel.com/tunnel"]),
        ("wss://master-panel.com/tunnel", ["wss://master-panel.com/tunnel"]),
        ("wss://master-panel.com/tunnel/", ["wss://master-panel.com/tunnel"]),
        ("https://master-panel.com", ["wss://master-panel.com/tunnel"]),
        ("HTTPS://Master-Panel.com", ["wss://master-panel.com/tunnel"]),
        ("https://master-panel.com:8443", ["wss://master-panel.com:8443/tunnel"]),
        ("https://master-panel.com:443", ["wss://master-panel.com/tunnel"]),
        ("https://master-panel.com/panel", ["wss://master-panel.com/panel/tunnel"]),
        ("https://master-panel.com/tunnel/deep", ["wss://master-panel.com/tunnel/deep/tunnel"]),
        ("https://[2001:db8::1]:8443/x/", ["wss://[2001:db8::1]:8443/x/tunnel"]),
        ("https://203.0.113.9", ["wss://203.0.113.9/tunnel"]),
        ("wss://a.example, https://b.example:1/x", ["wss://a.example/tunnel", "wss://b.example:1/x/tunnel"]),
        ("wss://a.example,wss://a.example/tunnel", ["wss://a.example/tunnel"]),
    ],
)
def test_every_form_of_the_panels_address_is_understood(tmp_path, written, dialled):
    assert [address.url for address in read(tmp_path, MASTER_URL=written).masters] == dialled


@pytest.mark.parametrize(
    "written", ["wss://x.example/other/path", "wss://x.example/tunnel/", "wss://x.example/"]
)
def test_the_exact_address_wins_and_is_used_as_it_stands(tmp_path, written):
    settings = read(tmp_path, MASTER_TUNNEL_URL=written)
    assert [address.url for address in settings.masters] == [written]


@pytest.mark.parametrize("written", ["ws://127.0.0.1:8000", "http://localhost:8000", "ws://[::1]:8000"])
def test_plain_addresses_are_taken_on_this_machine_when_allowed(tmp_path, written):
    assert read(tmp_path, MASTER_URL=written, ALLOW_INSECURE="1").masters[0].url.endswith(":8000/tunnel")
    with pytest.raises(WrongSetting, match="ALLOW_INSECURE=1"):
        read(tmp_path, MASTER_URL=written)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"MASTER_URL": None}, "MASTER_URL is not set"),
        ({"MASTER_URL": " , "}, "MASTER_URL is not set"),
        ({"AGENT_ID": None}, "AGENT_ID is not set"),
        ({"AGENT_SECRET": None}, "AGENT_SECRET or AGENT_SECRET_FILE is not set"),
        ({"CONNECTION_MODE": "ssh"}, "CONNECTION_MODE is 'ssh'"),
        ({"AGENT_ID": "a"}, "AGENT_ID is 'a'"),
        ({"AGENT_ID": "a b c"}, "AGENT_ID is 'a b c'"),
        ({"AGENT_SECRET": "x" * 257}, "AGENT_SECRET is not 1 to 256"),
        ({"AGENT_SECRET": "käse"}, "AGENT_SECRET is not 1 to 256"),
        ({"AGENT_SECRET_FILE": "/x"}, "both set"),
        ({"AGENT_SECRET": None, "AGENT_SECRET_FILE": "/no/such/file"}, "cannot be read"),
        ({"ALLOW_INSECURE": "maybe"}, "ALLOW_INSECURE is 'maybe'"),
        ({"MASTER_CA_FILE": "/no/such/file"}, "MASTER_CA_FILE"),
        ({"SHELL_KEEP": "long"}, "SHELL_KEEP is 'long'"),
        ({"SHELL_KEEP": "-1"}, "SHELL_KEEP is '-1'"),
        ({"SHELL_KEEP": "604801"}, "expected 0 to 604800 seconds"),
        ({"MASTER_URL": "ws://master-panel.com"}, "not encrypted"),
        ({"MASTER_URL": "ws://master-panel.com", "ALLOW_INSECURE": "1"}, "not encrypted"),
        ({"MASTER_URL": "http://127.0.0.1.example.org", "ALLOW_INSECURE": "1"}, "not encrypted"),
        ({"MASTER_URL": "master-panel.com"}, "must begin with wss://"),
        ({"MASTER_URL": "ftp://master-panel.com"}, "must begin with wss://"),
        ({"MASTER_URL": "wss:master-panel.com"}, "must begin with wss://"),
        ({"MASTER_URL": "wss://"}, "names no host"),
        ({"MASTER_URL": "wss://panel..example"}, "names no host that can exist"),
        ({"MASTER_URL": f"wss://{64 * 'a'}.example"}, "names no host that can exist"),
        ({"MASTER_URL": "wss://x.example:99999"}, "is no URL"),
        ({"MASTER_URL": "wss://x.example:0"}, "port 0"),
        ({"MASTER_URL": "wss://x.example/?token=1"}, "must not hold a query"),
        ({"MASTER_URL": "wss://x.example/#x"}, "must not hold a fragment"),
        ({"MASTER_URL": "wss://user:pass@x.example"}, "must not hold a user name"),
        ({"MASTER_URL": "wss://x.example/a b"}, "percent-encoded"),
        ({"MASTER_URL": ",".join(f"wss://m{n}.example" for n in range(MOST_MASTERS + 1))}, "at most"),
    ],
)
def test_a_wrong_setting_is_one_sentence_that_names_it(tmp_path, changes, sentence):
    with pytest.raises(WrongSetting) as wrong:
        read(tmp_path, **changes)
    assert sentence in str(wrong.value)
    assert "\n" not in str(wrong.value)
    assert "rahasiadapur" not in str(wrong.value)
    assert "pass" not in str(wrong.value)


def test_the_environment_wins_over_the_file_and_that_over_the_systems(tmp_path):
    settings = read(
        tmp_path, {"AGENT_ID": "from-environment"}, FOUR_LINES, "AGENT_ID=from-system\nALLOW_INSECURE=1\n"
    )
    assert settings.agent_id == "from-environment"
    assert settings.secret == "rahasiadapur"
    assert settings.allow_insecure


def test_a_secret_may_stand_in_a_file_and_one_that_others_read_is_warned_of(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("from-a-file-of-its-own\n")
    secret.chmod(0o644)
    settings = read(tmp_path, AGENT_SECRET=None, AGENT_SECRET_FILE=str(secret))
    assert settings.secret == "from-a-file-of-its-own"
    assert "chmod 600" in settings.warnings[0]
    secret.chmod(0o600)
    assert not read(tmp_path, AGENT_SECRET=None, AGENT_SECRET_FILE=str(secret)).warnings


@pytest.mark.parametrize(
    "changes", [{"AGENT_ID": "!"}, {"MASTER_URL": "http://master-panel.com"}, {"AGENT_SECRET": ""}]
)
def test_a_wrong_setting_ends_the_agent_with_one_line_and_code_2(tmp_path, changes):
    done = subprocess.run(
        [sys.executable, "-m", "agent_client"],
        cwd=tmp_path,
        env={**GOOD, **changes, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert next(iter(changes)) in done.stderr
    assert "rahasiadapur" not in done.stderr


def test_how_long_a_shell_is_kept_and_whose_it_is_can_be_set(tmp_path):
    settings = read(tmp_path)
    assert (settings.shell_keep, settings.shell_user) == (1800, None)
    settings = read(tmp_path, SHELL_KEEP="60", SHELL_USER="deploy")
    assert (settings.shell_keep, settings.shell_user) == (60, "deploy")
