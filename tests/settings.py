"""The site's own settings over an environment of the tests': fresh data, a file database, a real Redis.

Nothing of the caller's environment and nothing of `.demo` is seen. Processes that a test starts inherit the
environment made here, and with it the same data folder and Redis; for the test database they need DATABASE_URL.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from urllib.parse import quote

MARK = "YUMNA_TESTS_FOLDER"  # set in this process and in those that it starts
SITE_VARIABLES = (
    "DEBUG",
    "SECRET_KEY",
    "SECRET_KEY_FILE",
    "ALLOWED_HOSTS",
    "CSRF_TRUSTED_ORIGINS",
    "DATABASE_URL",
    "DATABASE_PASSWORD",
    "DATABASE_PASSWORD_FILE",
)
SITE_VARIABLES += ("LANGUAGE_CODE", "TIME_ZONE", "STATIC_ROOT", "LOG_LEVEL", "LOG_FORMAT", "BEHIND_TLS_PROXY")


def _make_environment() -> None:
    folder = tempfile.mkdtemp(prefix="yumna-tests-", dir="/tmp")  # short: a unix socket's path is limited
    owner = os.getpid()
    atexit.register(lambda: os.getpid() == owner and shutil.rmtree(folder))
    for name in list(os.environ):
        if name in SITE_VARIABLES or name.startswith(
            ("TUNNEL_", "SECURE_", "AXES_", "EMAIL_", "DEFAULT_FROM_")
        ):
            del os.environ[name]
    os.environ[MARK] = folder
    os.environ["XDG_RUNTIME_DIR"] = folder  # here go the sockets of every site that a test starts
    os.environ["DATA_DIR"] = f"{folder}/data"
    os.environ["REDIS_URL"] = f"unix://{quote(folder)}/redis.sock"


if MARK not in os.environ:
    _make_environment()

from yumna_panel.settings import *  # noqa: E402, F403
from yumna_panel.settings import CHANNEL_LAYERS, DATABASES  # noqa: E402

# The processes of pytest-xdist share one Redis, and must not hear each other.
for layer in CHANNEL_LAYERS.values():
    layer["CONFIG"] = {**layer["CONFIG"], "prefix": "tests-" + os.environ.get("PYTEST_XDIST_WORKER", "alone")}

# A file, so that several threads and processes see one database; threads of an in-memory one would share a connection.
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["TEST"] = {"NAME": str(Path(os.environ[MARK]) / "test.sqlite3")}

# Static files are looked up when asked for, as under DEBUG; read ahead, each test client would read them all.
WHITENOISE_AUTOREFRESH = True

# The masters of tests/e2e have Django's own.
PASSWORD_HASHERS = ["tests.hashers.QuickHasher"]
