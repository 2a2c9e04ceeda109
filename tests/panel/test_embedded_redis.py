"""The embedded Redis: private, found by other processes, and never left behind."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import redis

from yumna_panel import embedded_redis, redis_keeper
from yumna_panel.embedded_redis import EmbeddedRedis
from yumna_panel.redis_keeper import Keeper, RedisDidNotStart, answers, ensure_running, is_server, stop

DEADLINE = 10.0  # seconds
# A server process as asgi.py makes it: it says that Redis answers, then serves.
SERVER = """
import sys, time
from pathlib import Path
from yumna_panel.embedded_redis import EmbeddedRedis
from yumna_panel.redis_keeper import Keeper
Keeper(EmbeddedRedis(sys.argv[1], Path(sys.argv[2]))).start()
print("up", flush=True)
time.sleep(600)
"""


def eventually(fact) -> None:
    deadline = time.monotonic() + DEADLINE
    while not fact():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


@pytest.fixture
def embedded(tmp_path, monkeypatch):
    """Reserve a Redis for a data folder, and clear up what runs in it."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    reserved = embedded_redis.reserve(tmp_path)
    yield reserved
    for path in reserved.folder.iterdir():
        path.unlink()
    reserved.folder.rmdir()


@pytest.fixture
def server(embedded):
    """Start server processes on that Redis, and end those still alive."""
    started = []

    def start() -> subprocess.Popen:
        command = [sys.executable, "-c", SERVER, embedded.binary, str(embedded.folder)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "up\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()
    eventually(lambda: not answers(embedded.socket))


def process_id(embedded: EmbeddedRedis) -> int:
    with redis.Redis.from_url(embedded.url) as client:
        return int(client.info("server")["process_id"])


def test_reserving_starts_nothing(embedded):
    assert not answers(embedded.socket)


def test_the_folder_is_private_and_its_path_fits_a_socket(embedded):
    assert stat.S_IMODE(embedded.folder.stat().st_mode) == 0o700
    assert len(os.fsencode(embedded.socket)) < embedded_redis.PATH_LIMIT


def test_a_second_process_finds_the_same_folder(embedded, tmp_path):
    assert embedded_redis.reserve(tmp_path) == embedded
    assert stat.S_IMODE((tmp_path / "redis-folder").stat().st_mode) == 0o600


def test_a_folder_that_is_gone_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    first = embedded_redis.reserve(tmp_path)
    first.folder.rmdir()
    second = embedded_redis.reserve(tmp_path)
    assert second.folder != first.folder
    second.folder.rmdir()


def test_a_folder_that_others_may_enter_is_not_used(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    first = embedded_redis.reserve(tmp_path)
    first.folder.chmod(0o755)
    second = embedded_redis.reserve(tmp_path)
    assert second.folder != first.folder
    first.folder.rmdir()
    second.folder.rmdir()


def test_a_link_in_its_place_is_not_used(embedded, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(embedded.folder)
    (tmp_path / "redis-folder").write_text(str(link))
    other = embedded_redis.reserve(tmp_path)
    assert other.folder not in (link, embedded.folder)
    other.folder.rmdir()


def test_the_runtime_folder_of_the_user_is_preferred(tmp_path, monkeypatch):
    runtime = Path(f"/tmp/yt-{os.getpid()}")
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    reserved = embedded_redis.reserve(tmp_path)
    assert reserved.folder.parent == runtime
    reserved.folder.rmdir()
    runtime.rmdir()


def test_a_runtime_folder_with_a_long_name_is_passed_over(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 100)
    long.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    reserved = embedded_redis.reserve(tmp_path)
    assert reserved.folder.parent == Path("/tmp")
    reserved.folder.rmdir()


def test_it_listens_on_no_port_and_saves_nothing(embedded):
    process = ensure_running(embedded)
    try:
        with redis.Redis.from_url(embedded.url) as client:
            assert client.config_get("port")["port"] == "0"
            assert client.config_get("save")["save"] == ""
            assert client.config_get("appendonly")["appendonly"] == "no"
        assert not psutil.Process(process.pid).net_connections(kind="inet")
        assert stat.S_IMODE(embedded.socket.stat().st_mode) == 0o700
    finally:
        stop(process)


def test_a_second_starter_finds_the_first_ones_redis(embedded):
    process = ensure_running(embedded)
    try:
        assert ensure_running(embedded) is None
        assert process_id(embedded) == process.pid
    finally:
        stop(process)


def test_a_socket_left_behind_is_replaced(embedded):
    process = ensure_running(embedded)
    process.kill()
    process.wait()
    assert embedded.socket.exists()
    again = ensure_running(embedded)
    assert answers(embedded.socket)
    stop(again)


def test_it_dies_with_a_server_that_is_killed(embedded, server):
    process = server()
    redis_pid = process_id(embedded)
    process.send_signal(signal.SIGKILL)
    process.wait()
    eventually(lambda: not psutil.pid_exists(redis_pid) or psutil.Process(redis_pid).status() == "zombie")


def test_another_server_brings_it_back_when_its_starter_dies(embedded, server):
    first = server()
    second = server()
    first_redis = process_id(embedded)
    first.kill()
    first.wait()
    eventually(lambda: not psutil.pid_exists(first_redis) or psutil.Process(first_redis).status() == "zombie")
    eventually(lambda: answers(embedded.socket))
    assert psutil.Process(process_id(embedded)).ppid() == second.pid


def test_it_comes_back_when_it_is_killed(embedded):
    keeper = Keeper(embedded)
    keeper.start()
    first = process_id(embedded)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: not psutil.pid_exists(first))
    eventually(lambda: answers(embedded.socket))
    keeper.stop()
    assert not answers(embedded.socket)


def test_a_redis_that_does_not_start_says_why(embedded):
    broken = EmbeddedRedis("/bin/false", embedded.folder)
    with pytest.raises(RedisDidNotStart, match="/bin/false"):
        Keeper(broken).start()


def test_a_folder_that_vanished_is_an_error_and_no_hang(tmp_path, embedded):
    with pytest.raises(RedisDidNotStart):
        Keeper(EmbeddedRedis(embedded.binary, tmp_path / "gone")).start()


def test_a_management_command_starts_none(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    environment |= {"DATA_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "yumna_panel.settings"}
    root = Path(__file__).resolve().parents[2]
    subprocess.run(
        [sys.executable, "manage.py", "check"], cwd=root, env=environment, check=True, capture_output=True
    )
    folder = Path((tmp_path / "redis-folder").read_text())
    assert list(folder.iterdir()) == []
    folder.rmdir()


@pytest.mark.parametrize(
    "line",
    [
        "/usr/bin/uvicorn yumna_panel.asgi:application",
        "/usr/bin/daphne yumna_panel.asgi:application",
        "manage.py runserver 8001",
        "/srv/panel/manage.py runworker",
        "manage.py tunnel serve -p 80",
        "/lib/django/__main__.py runserver",
    ],
)
def test_these_processes_serve(line):
    assert is_server(line.split())


@pytest.mark.parametrize(
    "line", ["manage.py", "manage.py migrate", "./manage.py tunnel run", "django-admin shell"]
)
def test_these_processes_only_use_a_redis(line):
    assert not is_server(line.split())


def test_the_packages_binary_serves_where_the_system_has_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    binary = embedded_redis.find_binary()
    assert binary is None or Path(binary).name == "valkey-server"


def test_the_program_for_a_supervisor_waits_while_another_redis_runs(embedded, tmp_path):
    process = ensure_running(embedded)
    environment = {
        name: value for name, value in os.environ.items() if name not in ("REDIS_URL", "XDG_RUNTIME_DIR")
    }
    environment |= {"DATA_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "yumna_panel.settings"}
    root = Path(__file__).resolve().parents[2]
    waiting = subprocess.Popen(
        [sys.executable, "-m", redis_keeper.__name__], cwd=root, env=environment, stdout=subprocess.DEVNULL
    )
    try:
        assert process_id(embedded) == process.pid
        stop(process)
        eventually(lambda: answers(embedded.socket))
        assert process_id(embedded) == waiting.pid
    finally:
        waiting.terminate()
        waiting.wait()
