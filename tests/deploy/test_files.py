"""Each file of deploy/ is judged by the program that reads it, and they agree with the code and with each other."""

import hashlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from agent_client.settings import load
from tests.deploy.fronts import Front
from tests.deploy.shipped import DEPLOY, HOST, ROOT, command, program, replaced, text, variables
from tests.docs.pages import page, rows, words
from tests.ports import free_port
from tunnel.browser_consumers import BEAT
from tunnel.conf import DEFAULTS

UNITS = ["yumna-panel.service", "yumna-worker.service", "yumna-agent.service"]
VENDOR = ROOT / "tests" / "deploy" / "vendor" / "compose-spec"
MEBIBYTE = 1024 * 1024


def run(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60, **options)


def units(folder: Path) -> list[Path]:
    """The units with the paths of this checkout, where systemd looks whether the programs are there."""
    checkout, programs = folder / "checkout", folder / "bin"  # the checkout's own path may hold spaces
    checkout.symlink_to(ROOT)
    programs.symlink_to(Path(sys.executable).parent)
    here = {"/opt/yumna-panel/.venv/bin": str(programs), "/opt/yumna-panel": str(checkout)}
    for name in UNITS:
        content = text(f"systemd/{name}")
        for old, new in {**here, "/opt/yumna-agent": str(checkout)}.items():
            content = content.replace(old, new)
        (folder / name).write_text(content)
    return [folder / name for name in UNITS]


# nginx and Caddy -----------------------------------------------------------------------------------------------


@pytest.mark.deploy
def test_nginx_finds_no_fault_in_its_file(tmp_path):
    front = Front("nginx", tmp_path, free_port())
    done = run(*front.configure(), "-t", env=front.environment())
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr


@pytest.mark.deploy
def test_caddy_finds_no_fault_in_its_file_as_it_stands(tmp_path):
    file = str(DEPLOY / "caddy" / "Caddyfile")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = run(program("caddy"), "validate", "--adapter", "caddyfile", "--config", file, env=environment)
    assert done.returncode == 0, done.stderr
    assert "Valid configuration" in done.stdout + done.stderr
    assert run(program("caddy"), "fmt", file, env=environment).stdout == text("caddy/Caddyfile")


def test_no_tunnel_and_no_live_page_is_quiet_for_as_long_as_nginx_waits():
    site = text("nginx/yumna-panel.conf")
    for name in ("proxy_read_timeout", "proxy_send_timeout"):
        patience = int(re.search(rf"{name} (\d+)s;", site)[1])
        assert patience > 2 * DEFAULTS["HEARTBEAT"].default
        assert patience > 2 * DEFAULTS["SILENCE"].default
        assert patience > 2 * BEAT


def test_a_piece_of_an_upload_fits_through_both():
    assert (
        int(re.search(r"client_max_body_size (\d+)m;", text("nginx/yumna-panel.conf"))[1]) * MEBIBYTE
        > MEBIBYTE
    )
    assert int(re.search(r"max_size (\d+)MB", text("caddy/Caddyfile"))[1]) * 1000**2 > MEBIBYTE


# systemd -------------------------------------------------------------------------------------------------------


@pytest.mark.deploy
def test_systemd_finds_no_fault_in_the_units(tmp_path):
    done = run(program("systemd-analyze"), "verify", *map(str, units(tmp_path)))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.deploy
def test_systemd_finds_no_fault_in_the_agent_opened_for_root(tmp_path):
    agent = units(tmp_path)[-1]
    drop_in = tmp_path / "yumna-agent.service.d" / "root.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(text("systemd/yumna-agent-root.conf"))
    done = run(program("systemd-analyze"), "verify", str(agent))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_file_that_opens_the_agent_takes_back_every_line_that_closes_it():
    agent, opened = text("systemd/yumna-agent.service"), text("systemd/yumna-agent-root.conf")
    closing = agent[agent.index("UMask=") : agent.index("[Install]")]
    names = set(re.findall(r"^([A-Za-z]+)=", closing, re.MULTILINE)) - {"SystemCallErrorNumber"}
    assert set(re.findall(r"^([A-Za-z]+)=", opened, re.MULTILINE)) == names | {"User"}


@pytest.mark.systemd_250
@pytest.mark.parametrize("unit", UNITS)
def test_the_exposure_that_systemd_counts_is_at_most_what_is_documented(tmp_path, unit):
    file = next(path for path in units(tmp_path) if path.name == unit)
    done = run(program("systemd-analyze"), "security", "--offline=yes", str(file))
    assert "unrecognized option" not in done.stderr, (
        "systemd_250 tests need systemd 250: run them by `make test`"
    )
    found = float(re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)[1])
    told = {words(name)[0]: float(most) for name, most, _ in rows(page("docs/deployment.md"), "unit")}
    assert found <= told[unit]


def test_every_unit_comes_back_whatever_ends_it_and_ends_in_an_order():
    for name in UNITS:
        unit = text(f"systemd/{name}")
        for line in ("Restart=always", "StartLimitIntervalSec=0", "KillMode=mixed", "NoNewPrivileges=yes"):
            assert f"\n{line}\n" in unit, (name, line)


def test_a_stopping_worker_has_the_time_that_its_tunnels_need():
    patience = int(re.search(r"TimeoutStopSec=(\d+)", text("systemd/yumna-panel.service"))[1])
    assert patience > DEFAULTS["DRAIN"].default + DEFAULTS["RECONNECT_SPREAD"].default


# Compose -------------------------------------------------------------------------------------------------------


def compose() -> dict:
    return yaml.safe_load(text("compose/compose.yaml"))


def test_the_compose_file_follows_the_schema_of_compose_files():
    schema = json.loads((VENDOR / "compose-spec.json").read_text())
    errors = jsonschema.Draft7Validator(schema).iter_errors(compose())
    assert [f"{error.json_path}: {error.message}" for error in errors] == []


def test_the_schema_is_the_one_that_was_copied():
    facts = json.loads((VENDOR / "vendor.json").read_text())
    for name, told in facts["files"].items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == told["sha256"]
    assert "Apache License" in (VENDOR / "LICENSE").read_text()


def test_every_service_says_whether_it_is_well_and_waits_for_what_it_needs():
    services = compose()["services"]
    for name, service in services.items():
        assert "healthcheck" in service or name == "migrate"
        for other, how in service.get("depends_on", {}).items():
            done = how["condition"] == "service_completed_successfully"
            assert done is (other == "migrate")
            assert done or "healthcheck" in services[other]


def test_no_secret_stands_in_the_compose_file():
    made = compose()
    for service in made["services"].values():
        for name, value in service.get("environment", {}).items():
            secret = any(word in name for word in ("PASSWORD", "SECRET", "KEY"))
            assert not secret or (name.endswith("_FILE") and value.startswith("/run/secrets/"))
        assert set(service.get("secrets", [])) <= set(made["secrets"])
        assert re.search(r"://[^/@]*:[^/@]*@", str(service)) is None


def test_the_address_the_panel_believes_is_the_proxys():
    made = compose()
    trusted = made["services"]["web"]["environment"]["TUNNEL_TRUSTED_PROXIES"]
    assert made["services"]["caddy"]["networks"]["front"]["ipv4_address"] == trusted


def test_only_the_proxy_has_ports():
    assert [name for name, service in compose()["services"].items() if "ports" in service] == ["caddy"]


def test_what_the_image_is_built_of_is_there_and_not_ignored():
    copies = re.findall(r"^COPY (.+) \S+$", text("compose/Dockerfile"), re.MULTILINE)
    sources = [source for line in copies for source in line.split()]
    let_in = re.findall(r"^!(.+)$", text("compose/Dockerfile.dockerignore"), re.MULTILINE)
    assert sorted(sources) == sorted(let_in)
    assert all((ROOT / source).exists() for source in sources)
    packages = re.search(r"^root_packages = \[(.+)\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert set(re.findall(r'"(\w+)"', packages)) <= set(sources)


# One truth -----------------------------------------------------------------------------------------------------


def web_options(arguments: list[str]) -> list[str]:
    """Options of uvicorn, without where it listens and what starts it."""
    joined = " ".join(arguments[arguments.index("yumna_panel.asgi:application") :])
    return joined.replace("--host 0.0.0.0 ", "").split()


def test_unit_image_and_readme_start_the_web_workers_alike():
    told = re.search(r"^ {4}(uvicorn .+?[^\\])$", page("README.md"), re.MULTILINE | re.DOTALL)[1]
    readme = web_options(shlex.split(told.replace("\\\n", " ")))
    image = web_options(
        json.loads(re.search(r"^CMD (\[.+\])", text("compose/Dockerfile").replace("\\\n", ""), re.M)[1])
    )
    assert web_options(command("yumna-panel.service")) == readme == image


def test_compose_and_units_start_the_background_worker_alike():
    unit = command("yumna-worker.service")[1:]
    assert compose()["services"]["worker"]["command"][1:] == unit == ["manage.py", "runworker"]


def test_the_settings_file_turns_debug_off_and_believes_the_proxy_of_this_host():
    settings = variables(text("panel.env"))
    assert "DEBUG" not in settings  # hosts alone turn it off
    assert (settings["BEHIND_TLS_PROXY"], settings["TUNNEL_TRUSTED_PROXIES"]) == ("1", "127.0.0.1")


def test_the_page_ships_what_it_tells_of():
    told = page("docs/deployment.md")
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            assert path.relative_to(ROOT).as_posix() in told
    for name in re.findall(r"deploy/[\w./-]*\w", told):
        assert (ROOT / name).exists() or name.startswith("deploy/compose/secrets"), name


def test_the_agents_settings_file_of_the_page_is_one(tmp_path):
    told = page("docs/deployment.md").split("```\n")
    lines = next(block for block in told if block.startswith("CONNECTION_MODE"))
    (tmp_path / "agent.env").write_text(lines)
    settings = load({}, local_file=tmp_path / "none", system_file=tmp_path / "agent.env")
    assert settings.masters[0].url == f"wss://{HOST}/tunnel"


def test_a_file_that_replaces_nothing_is_noticed():
    with pytest.raises(AssertionError):
        replaced("listen 80;", {"listen 81;": ""})
