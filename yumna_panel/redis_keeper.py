"""Keeps the embedded Redis running: started on its unix socket, gone with the process that started it."""

from __future__ import annotations

import atexit
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from yumna_panel.embedded_redis import EmbeddedRedis
from yumna_panel.private_files import locked, try_lock

logger = logging.getLogger("yumna_panel.redis")

START_TIMEOUT = 10.0  # seconds; a Redis with nothing to load answers within 0.2
STOP_TIMEOUT = 3.0  # seconds; with nothing to save it ends at once
WATCH_INTERVAL = 1.0  # seconds between two looks whether it still runs
POLL_INTERVAL = 0.02  # seconds between two attempts to reach a server that is starting

# Run by the child: it ties its life to the parent's, then becomes Redis.
TIED_LAUNCH = """
import ctypes, os, sys
parent, command = int(sys.argv[1]), sys.argv[2:]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 15)  # PR_SET_PDEATHSIG, SIGTERM
if os.getppid() == parent:
    os.execv(command[0], command)
"""


class RedisDidNotStart(ImproperlyConfigured):
    """The embedded Redis ended, or did not answer in time; says what it said."""

    def __init__(self, binary: str, words: str) -> None:
        self.binary, self.words = binary, words
        super().__init__(binary, words)

    def __str__(self) -> str:
        return f"the embedded Redis ({self.binary}) did not start: {self.words or 'it said nothing'}"


def answers(path: Path) -> bool:
    """Tell whether a server takes connections on this socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def ensure_running(redis: EmbeddedRedis) -> subprocess.Popen[bytes] | None:
    """Start the Redis unless one runs in its folder; return the process if it is ours.

    The lock travels to the server and is held while it lives, so two starters never make two servers.

    Raises:
        RedisDidNotStart: it ended, or nobody answered within START_TIMEOUT.
    """
    lock = try_lock(redis.lock)
    if lock is None:
        _wait_for_answer(redis, None)
        return None
    try:
        redis.socket.unlink(missing_ok=True)
        process = _launch(redis, lock)
    finally:
        os.close(lock)
    _wait_for_answer(redis, process)
    logger.info("embedded Redis started binary=%s pid=%d", redis.binary, process.pid)
    return process


def _launch(redis: EmbeddedRedis, lock: int) -> subprocess.Popen[bytes]:
    launcher = [sys.executable, "-I", "-S", "-c", TIED_LAUNCH, str(os.getpid())]
    with redis.log.open("wb") as log:
        return subprocess.Popen(
            [*launcher, *redis.command()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(lock,),
            start_new_session=True,  # Ctrl-C in the terminal is for us: we end it after our last message
        )


def _wait_for_answer(redis: EmbeddedRedis, process: subprocess.Popen[bytes] | None) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not answers(redis.socket):
        if (process is not None and process.poll() is not None) or time.monotonic() > deadline:
            if process is not None:
                stop(process)
            raise RedisDidNotStart(redis.binary, _last_words(redis))
        time.sleep(POLL_INTERVAL)


def _last_words(redis: EmbeddedRedis) -> str:
    lines = redis.log.read_text(encoding="utf-8", errors="replace").splitlines() if redis.log.exists() else []
    return " / ".join(line.strip() for line in lines[-3:] if line.strip())


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a Redis that we started, and wait for it."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def is_server(arguments: list[str]) -> bool:
    """Tell whether a process with this command line serves; a plain management command does not.

    Such commands load the ASGI application too, for their system checks.
    """
    program = Path(arguments[0])
    if program.name not in ("manage.py", "django-admin") and program.parts[-2:] != ("django", "__main__.py"):
        return True
    return arguments[1:2] in (["runserver"], ["runworker"]) or arguments[1:3] == ["tunnel", "serve"]


class Keeper:
    """Keeps one Redis running for this process: starts it, and again when whoever had started it is gone."""

    def __init__(self, redis: EmbeddedRedis) -> None:
        self._redis = redis
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._failure: RedisDidNotStart | None = None
        self._thread = threading.Thread(target=self._run, name="embedded-redis", daemon=True)

    def start(self) -> None:
        """Return once a Redis answers.

        Raises:
            RedisDidNotStart: it does not.
        """
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure
        atexit.register(self.stop)

    def stop(self) -> None:
        """End the Redis if it is ours."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        # PR_SET_PDEATHSIG counts the life of the thread that made the child: it must be this one, to the end.
        try:
            self._look()
        except RedisDidNotStart as exc:
            self._failure = exc
        except OSError as exc:
            self._failure = RedisDidNotStart(self._redis.binary, str(exc))
        self._ready.set()
        while self._failure is None and not self._stopping.wait(WATCH_INTERVAL):
            try:
                self._look()
            except (RedisDidNotStart, OSError) as exc:
                logger.error("embedded Redis is gone and did not come back, trying again: %s", exc)
        if self._process is not None:
            stop(self._process)

    def _look(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            self._process = None
        if self._process is None and not answers(self._redis.socket):
            self._process = ensure_running(self._redis)


def main() -> int:
    """Run the site's Redis in the foreground, for a supervisor; wait while another process runs it."""
    from django.conf import settings

    redis: EmbeddedRedis | None = settings.EMBEDDED_REDIS
    if redis is None:
        sys.stderr.write("no embedded Redis here: REDIS_URL is set, or there is no redis-server\n")
        return 2
    with locked(redis.lock) as lock:
        os.set_inheritable(lock, True)
        redis.socket.unlink(missing_ok=True)
        os.execv(redis.binary, redis.command())  # noqa: S606 - the supervisor's child becomes the Redis
    raise AssertionError("unreachable")


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "yumna_panel.settings")
    sys.exit(main())
