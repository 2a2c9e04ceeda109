"""Settings come from the environment alone, and a value that cannot be used is refused by its name."""

from __future__ import annotations

import os
import re
import runpy
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

ROOT = Path(__file__).resolve().parents[2]
KEY = "k" * 60
SITE = ("DEBUG", "SECRET_KEY", "SECRET_KEY_FILE", "ALLOWED_HOSTS", "DATABASE_URL", "REDIS_URL", "DATA_DIR")


@pytest.fixture
def load(monkeypatch, tmp_path):
    """Load the settings of an environment that holds only what a test gives."""

    def load(**values: str) -> dict[str, Any]:
        for name in SITE:
            monkeypatch.delenv(name, raising=False)
        for name, value in {"DATA_DIR": str(tmp_path / "data"), **values}.items():
            monkeypatch.setenv(name, value)
        return runpy.run_path(str(ROOT / "yumna_panel" / "settings.py"))

    return load


BAD = {
    "DEBUG": "maybe",
    "SECRET_KEY": "short",
    "SECRET_KEY_FILE": "/nowhere/at/all",
    "ALLOWED_HOSTS": "https://panel.example.com",
    "CSRF_TRUSTED_ORIGINS": "panel.example.com",
    "DATABASE_URL": "notadatabase://x",
    "REDIS_URL": "http://127.0.0.1:6379",
    "LANGUAGE_CODE": "xx",
    "TIME_ZONE": "Mars/Olympus",
    "SECURE_HSTS_SECONDS": "a while",
    "SECURE_SSL_REDIRECT": "2",
    "SECURE_HSTS_INCLUDE_SUBDOMAINS": "si",
    "SECURE_HSTS_PRELOAD": "si",
    "BEHIND_TLS_PROXY": "nginx",
    "LOG_LEVEL": "LOUD",
    "EMAIL_PORT": "smtp",
    "EMAIL_USE_TLS": "starttls",
    "EMAIL_USE_SSL": "perhaps",
    "EMAIL_HOST_PASSWORD_FILE": "/nowhere/at/all",
    "TUNNEL_ALERT_AFTER": "soon",
    "AXES_FAILURE_LIMIT": "0",
    "AXES_COOLOFF_MINUTES": "soon",
    "TUNNEL_PING": "fast",
    "TUNNEL_SILENCE": "nan",
    "TUNNEL_KEEP_SESSIONS": "1.5",
    "TUNNEL_TLS_ONLY": "perhaps",
    "TUNNEL_PINGS": "8",
    "TUNNEL_TRUSTED_PROXIES": "10.0.0.1, proxy.example.com",
    "TUNNEL_PUBLIC_URL": "panel.example.com",
}


@pytest.mark.parametrize(("name", "value"), BAD.items(), ids=list(BAD))
def test_a_bad_value_is_refused_by_name(load, name, value):
    with pytest.raises(ImproperlyConfigured) as refusal:
        load(**{name: value})
    sentence = str(refusal.value)
    assert sentence.startswith(f"{name} ")
    assert "\n" not in sentence


MORE_BAD = [
    ("SECURE_HSTS_SECONDS", "-1"),
    ("REDIS_URL", "redis://"),
    ("REDIS_URL", "redis://host:99999"),
    ("ALLOWED_HOSTS", "panel.example.com:8000"),
    ("ALLOWED_HOSTS", "panel.example.com/admin"),
    ("CSRF_TRUSTED_ORIGINS", "https://panel.example.com/admin"),
    ("DATA_DIR", "/proc/nowhere"),
    ("DATA_DIR", "/dev/null"),
    ("TUNNEL_PING", "0"),
    ("TUNNEL_PING", "inf"),
]


@pytest.mark.parametrize(("name", "value"), MORE_BAD)
def test_a_value_out_of_bounds_is_refused_by_name(load, name, value):
    with pytest.raises(ImproperlyConfigured, match=f"^{name} "):
        load(**{name: value})


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL", "SECRET_KEY"])
def test_a_refusal_never_repeats_a_secret(load, name):
    with pytest.raises(ImproperlyConfigured) as refusal:
        load(**{name: "wrong://user:hunter2@host"})
    assert "hunter2" not in str(refusal.value)


def test_an_unknown_tunnel_setting_names_the_nearest(load):
    with pytest.raises(ImproperlyConfigured, match=r"TUNNEL_HEARTBEATS .*did you mean TUNNEL_HEARTBEAT;"):
        load(TUNNEL_HEARTBEATS="8")


def test_tunnel_settings_get_their_types(load):
    settings = load(
        TUNNEL_PING="4",
        TUNNEL_TLS_ONLY="yes",
        TUNNEL_KEEP_SESSIONS="7",
        TUNNEL_TRUSTED_PROXIES="10.0.0.1, 10.0.0.2",
    )
    assert (settings["TUNNEL_PING"], type(settings["TUNNEL_PING"])) == (4.0, float)
    assert settings["TUNNEL_TLS_ONLY"] is True
    assert settings["TUNNEL_KEEP_SESSIONS"] == 7
    assert settings["TUNNEL_TRUSTED_PROXIES"] == ["10.0.0.1", "10.0.0.2"]


def test_an_empty_variable_counts_as_unset(load):
    assert load(DEBUG="", ALLOWED_HOSTS="", TUNNEL_PING="")["DEBUG"] is True


def test_with_nothing_set_it_is_a_site_for_this_machine(load, tmp_path):
    settings = load()
    data = tmp_path / "data"
    assert settings["DEBUG"] is True
    assert settings["ALLOWED_HOSTS"] == ["localhost", "127.0.0.1", "[::1]"]
    assert settings["DATABASES"]["default"]["NAME"] == str(data / "db.sqlite3")
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert stat.S_IMODE((data / "secret_key").stat().st_mode) == 0o600
    assert settings["EMBEDDED_REDIS"] is not None


def test_the_generated_key_is_kept(load):
    first, second = load()["SECRET_KEY"], load()["SECRET_KEY"]
    assert first == second
    assert len(first) >= 50


def test_production_without_a_secret_key_refuses_to_start(load):
    with pytest.raises(ImproperlyConfigured, match=r"^SECRET_KEY is not set and DEBUG is off"):
        load(DEBUG="0")


def test_allowed_hosts_alone_mean_production(load):
    with pytest.raises(ImproperlyConfigured, match=r"^SECRET_KEY is not set"):
        load(ALLOWED_HOSTS="panel.example.com")


def test_a_secret_key_in_two_places_is_refused(load, tmp_path):
    file = tmp_path / "key"
    file.write_text(KEY)
    with pytest.raises(ImproperlyConfigured, match=r"^SECRET_KEY and SECRET_KEY_FILE are both set"):
        load(SECRET_KEY=KEY, SECRET_KEY_FILE=str(file))


def test_a_secret_key_comes_from_its_file(load, tmp_path):
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    settings = load(SECRET_KEY_FILE=str(file))
    assert settings["SECRET_KEY"] == KEY
    assert settings["DEBUG"] is False


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe\xff", b"too short"])
def test_a_secret_key_file_that_is_no_use_is_refused(load, tmp_path, content):
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(ImproperlyConfigured, match=r"^SECRET_KEY_FILE "):
        load(SECRET_KEY_FILE=str(file))


def test_production_sends_its_cookies_over_tls_only(load):
    settings = load(SECRET_KEY=KEY)
    assert settings["SESSION_COOKIE_SECURE"]
    assert settings["CSRF_COOKIE_SECURE"]
    assert settings["SECURE_SSL_REDIRECT"]
    assert "SECURE_PROXY_SSL_HEADER" not in settings


def test_sqlite_waits_for_a_writer_and_starts_immediately(load):
    options = load(DATABASE_URL="sqlite:////tmp/of-a-test.sqlite3")["DATABASES"]["default"]["OPTIONS"]
    assert options["transaction_mode"] == "IMMEDIATE"
    assert "journal_mode=WAL" in options["init_command"]
    assert "cache_size=-512" in options["init_command"]
    assert options["cached_statements"] == 32
    assert options["timeout"] > 0


def test_a_postgres_url_is_taken_apart(load):
    database = load(DATABASE_URL="postgres://panel:s%40cret@db.example.com:5433/yumna")["DATABASES"][
        "default"
    ]
    assert database["ENGINE"] == "django.db.backends.postgresql"
    assert (database["PASSWORD"], database["PORT"], database["CONN_MAX_AGE"]) == ("s@cret", 5433, 0)


def test_the_password_of_the_database_may_come_in_a_file(load, tmp_path):
    (tmp_path / "password").write_text("s@cret\n")
    url, file = "postgres://panel@db.example.com/yumna", str(tmp_path / "password")
    database = load(DATABASE_URL=url, DATABASE_PASSWORD_FILE=file)["DATABASES"]["default"]
    assert (database["USER"], database["PASSWORD"]) == ("panel", "s@cret")


def test_a_data_folder_may_hold_any_character(load, tmp_path):
    odd = tmp_path / "my %41 data; #1 ünï"
    assert load(DATA_DIR=str(odd))["DATABASES"]["default"]["NAME"] == str(odd / "db.sqlite3")


def test_the_apps_stand_in_the_order_that_works(load):
    apps = load()["INSTALLED_APPS"]
    assert apps.index("yumna_panel.daphne_app.DaphneApp") < apps.index("django.contrib.staticfiles")
    assert apps.index("tunnel") < apps.index("channels")


def test_who_does_not_serve_with_daphne_does_not_load_it(tmp_path):
    """Twisted takes 28 MiB and a third of the start of every management command."""
    code = "import sys, yumna_panel.asgi; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v0", "-c", code],
        cwd=ROOT,
        env={**os.environ, "DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "tunnel.consumers" in loaded
    assert {"twisted", "autobahn", "daphne.server"} & set(loaded) == set()


def test_without_any_redis_the_layers_live_in_the_process_and_say_so(load, monkeypatch):
    monkeypatch.setattr("yumna_panel.embedded_redis.find_binary", lambda: None)
    with pytest.warns(RuntimeWarning, match="no REDIS_URL and no redis-server"):
        settings = load()
    backends = {layer["BACKEND"] for layer in settings["CHANNEL_LAYERS"].values()}
    assert backends == {"channels.layers.InMemoryChannelLayer"}


def test_the_example_file_holds_every_variable_and_no_other():
    source = (ROOT / "yumna_panel" / "settings.py").read_text()
    read = set(re.findall(r'environment\.\w+\(\s*"([A-Z_]+)"', source)) | {"SECRET_KEY_FILE"}
    example = (ROOT / ".env.example").read_text()
    named = {
        name
        for name in re.findall(r"^# ?([A-Z_]+)=", example, re.MULTILINE)
        if not name.startswith("TUNNEL_")
    }
    assert named == read


def test_the_deployment_checks_are_clean(tmp_path):
    production = {
        "DATA_DIR": str(tmp_path),
        "DEBUG": "0",
        "SECRET_KEY": "".join(chr(ord("!") + number) for number in range(60)),
        "ALLOWED_HOSTS": "panel.example.com",
        "SECURE_HSTS_SECONDS": "3600",
        "TUNNEL_PUBLIC_URL": "https://panel.example.com",
        "DJANGO_SETTINGS_MODULE": "yumna_panel.settings",
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env={**os.environ, **production},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
