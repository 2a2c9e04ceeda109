"""System checks: each names one missing piece of an installation, or one unsafe setting, with the line to paste."""

import asyncio
import difflib
import ipaddress
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.apps import apps
from django.conf import settings as django_settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ImproperlyConfigured

from servers import tables
from tunnel import admin_place, alert_mail, alert_webhook, asgi_routes, layers, metrics_page, page_addresses
from tunnel.asgi_routes import Verdict
from tunnel.conf import DEFAULTS, PREFIX
from tunnel.conf import settings as tunnel_settings
from tunnel.installed import APPS_LINE
from tunnel.layers import Kind
from tunnel.models import Session
from tunnel.recordings import shelf
from tunnel.worker import BACKGROUND

SHORTEST_TOKEN = 16  # characters
ROUTING_LINE = (
    '"websocket": URLRouter(tunnel.routing.websocket_urlpatterns),  # in the ProtocolTypeRouter of asgi.py'
)
JOBS_ROUTING_LINE = (
    '"channel": ChannelNameRouter(tunnel.routing.channel_names),  # in the ProtocolTypeRouter of asgi.py'
)
URLS_LINE = 'path("", include("tunnel.urls")),  # in urlpatterns of urls.py, before the line of the admin'
LOAD_LINE = (
    'ASGI_APPLICATION = "project.asgi.application"  # python -c "import project.asgi" shows the whole error'
)
_IMPORT = "from tunnel.redis_layers import channel_layers; "
_MADE = 'channel_layers("redis://127.0.0.1:6379")'
LAYERS_LINE = f"{_IMPORT}CHANNEL_LAYERS = {_MADE}"
DEFAULT_LINE = f'{_IMPORT}CHANNEL_LAYERS["default"] = {_MADE}["default"]'
JOBS_LINE = f'{_IMPORT}CHANNEL_LAYERS["jobs"] = {_MADE}["jobs"]'


@register(Tags.compatibility)
def routing(**_: Any) -> list[CheckMessage]:
    """Agents must find `/tunnel`, and must not be asked for the Origin that only browsers send."""
    look = asgi_routes.look()
    if look.verdict is Verdict.BROKEN:
        return [Error(f"agents cannot dial in: {look.reason}", hint=_load_line(), id="tunnel.E001")]
    if look.verdict in (Verdict.MISSING, Verdict.SHADOWED):
        hint = (
            f"add, as the first of its routes, {ROUTING_LINE}"
            if look.verdict is Verdict.SHADOWED
            else f"add {ROUTING_LINE}"
        )
        return [Error(f"agents cannot dial in: {look.reason}", hint=hint, id="tunnel.E001")]
    if look.verdict is Verdict.BEHIND_ORIGIN_CHECK:
        sentence = "agents are refused: /tunnel stands inside an origin validator, and agents send no Origin"
        hint = f"take the validator away from the route of agents, the tunnel's browser routes have their own: {ROUTING_LINE}"
        return [Error(sentence, hint=hint, id="tunnel.E007")]
    return []


@register(Tags.compatibility)
def jobs_routing(**_: Any) -> list[CheckMessage]:
    """`runworker` must find who does the jobs; an application that cannot be loaded is told by `routing`."""
    look = asgi_routes.look_for_jobs(BACKGROUND)
    if look.verdict is not Verdict.MISSING:
        return []
    return [Error(f"runworker has no work: {look.reason}", hint=f"add {JOBS_ROUTING_LINE}", id="tunnel.E022")]


@register(Tags.urls)
def pages(**_: Any) -> list[CheckMessage]:
    """Every page of ours must be found at its address, by nobody else."""
    if not apps.is_installed("django.contrib.admin"):
        return []
    if not page_addresses.included():
        sentence = "the tunnel's pages and addresses are not among the URLs of this panel"
        return [Error(sentence, hint=f"add {URLS_LINE}", id="tunnel.E020")]
    if admin_place.prefix() is None:
        sentence = "the admin site `admin.site` is mounted nowhere, so there are no pages about nodes"
        hint = (
            'path("admin/", admin.site.urls), or make your own site the default one: AdminConfig.default_site'
        )
        return [checks.Warning(sentence, hint=hint, id="tunnel.W023")]
    return [
        Error(
            f"the address {address} of the tunnel is taken by {taker}, which stands before it",
            hint=f"put first {URLS_LINE}",
            id="tunnel.E021",
        )
        for address, taker in page_addresses.shadowed()
    ]


@register(Tags.security, deploy=True)
def recordings_have_a_storage(**_: Any) -> list[CheckMessage]:
    """Who asks for recordings must not believe in some that are nowhere."""
    if shelf.is_there() or not getattr(django_settings, "TUNNEL_RECORD_SHELLS", False):
        return []
    sentence = "shells are not recorded: there is no storage for recordings"
    hint = (
        f'STORAGES["{shelf.ALIAS}"] = {{...}}, docs/recordings.md says how; or TUNNEL_RECORD_SHELLS = False'
    )
    return [checks.Warning(sentence, hint=hint, id="tunnel.W029")]


@register(Tags.database)
def tables_are_ours(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """The database may hold tables of something else under the names of ours, which `migrate` would trip over."""
    return tables.foreign("tunnel", databases, "tunnel.E024", signature={})


@register(Tags.database)
def migrations_are_ours(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """An app of the panel may have had our label before, so that Django takes our tables for made."""
    return tables.recorded_only("tunnel", databases, "tunnel.E025", table=Session._meta.db_table)


@register(Tags.compatibility)
def installed_apps(**_: Any) -> list[CheckMessage]:
    """`servers` must be there, and apps that share a command's name must stand in the right order."""
    found: list[CheckMessage] = []
    if not apps.is_installed("servers"):
        sentence = "the app `servers`, which holds the servers, is not installed"
        found.append(Error(sentence, hint=APPS_LINE, id="tunnel.E005"))
    names = [config.name for config in apps.get_app_configs()]
    if _stands_before("django.contrib.staticfiles", "daphne", names):
        sentence = "`daphne` stands after `django.contrib.staticfiles`: runserver speaks no WebSocket"
        found.append(
            checks.Warning(sentence, hint='INSTALLED_APPS = ["daphne", ...], as the first', id="tunnel.W006")
        )
    if _stands_before("channels", "tunnel", names):
        sentence = "`channels` stands before `tunnel`: runworker without arguments is not the tunnel's"
        hint = 'INSTALLED_APPS = [..., "servers", "tunnel", "channels"], in this order'
        found.append(checks.Warning(sentence, hint=hint, id="tunnel.W009"))
    return found


@register(Tags.compatibility)
def channel_layers(**_: Any) -> list[CheckMessage]:
    """Commands need a layer that tells workers apart, the background worker one that gives a job to one worker."""
    return [*_default_layer(), *_jobs_layer()]


@register(Tags.compatibility)
def tunnel_values(**_: Any) -> list[CheckMessage]:
    """Every TUNNEL_* value must be one the tunnel can use."""
    found = [*_bad_values(), *_unknown_names()]
    if any(message.id == "tunnel.E010" for message in found):
        return found
    return [*found, *_public_url(), *_bad_alerts(), *_metrics(), *_throttle_cache()]


@register(Tags.security, deploy=True)
def layers_answer(**_: Any) -> list[CheckMessage]:
    """Redis must answer before a panel goes into service."""
    aliases = [
        alias for alias in (layers.DEFAULT, layers.JOBS) if layers.kind(alias) in (Kind.CORE, Kind.PUBSUB)
    ]
    return [message for alias in aliases for message in _probe(alias)]


def _stands_before(first: str, second: str, names: list[str]) -> bool:
    return first in names and second in names and names.index(first) < names.index(second)


def _load_line() -> str:
    """Return the setting that names the ASGI application, which most likely lies beside the URLs."""
    project = str(getattr(django_settings, "ROOT_URLCONF", "")).rpartition(".")[0] or "project"
    return LOAD_LINE.replace("project", project)


def _layer_line(line: str) -> str:
    return line if getattr(django_settings, "CHANNEL_LAYERS", None) else LAYERS_LINE


def _default_layer() -> Iterator[CheckMessage]:
    kind = layers.kind(layers.DEFAULT)
    if kind in (Kind.MISSING, Kind.BROKEN):
        sentence = f"the channel layer `default` is {kind.value}: workers cannot reach each other's agents"
        yield Error(sentence, hint=_layer_line(DEFAULT_LINE), id="tunnel.E002")
    elif kind is Kind.IN_MEMORY and not django_settings.DEBUG:
        sentence = "the channel layer `default` lives in memory: a second worker, and every command line, sees no agent"
        yield Error(sentence, hint=LAYERS_LINE, id="tunnel.E003")
    elif kind is Kind.CORE:
        sentence = "the channel layer `default` is the core Redis layer, which loses commands when it is full"
        yield checks.Warning(sentence, hint=_layer_line(DEFAULT_LINE), id="tunnel.W008")


def _jobs_layer() -> Iterator[CheckMessage]:
    kind = layers.kind(layers.JOBS)
    if kind is Kind.MISSING and not getattr(django_settings, "CHANNEL_LAYERS", None):
        return  # the line for `default` brings both
    if kind in (Kind.MISSING, Kind.BROKEN):
        sentence = f"the channel layer `jobs` is {kind.value}: runworker gets no work"
        yield Error(sentence, hint=_layer_line(JOBS_LINE), id="tunnel.E006")
    elif kind is Kind.PUBSUB:
        sentence = (
            "the channel layer `jobs` is the pubsub layer, which gives every job to every background worker"
        )
        yield checks.Warning(sentence, hint=_layer_line(JOBS_LINE), id="tunnel.W010")


def _bad_values() -> Iterator[CheckMessage]:
    for name, setting in DEFAULTS.items():
        try:
            getattr(tunnel_settings, name)
        except ImproperlyConfigured as exc:
            yield Error(str(exc), hint=f"{PREFIX}{name} = {setting.default!r}", id="tunnel.E010")


def _unknown_names() -> Iterator[CheckMessage]:
    known = [PREFIX + name for name in DEFAULTS]
    for name in dir(django_settings):
        if name.startswith(PREFIX) and name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {nearest[0]}" if nearest else f"the tunnel knows {', '.join(known)}"
            yield checks.Warning(
                f"{name} is no setting of the tunnel and changes nothing", hint=hint, id="tunnel.W011"
            )


def _bad_alerts() -> Iterator[CheckMessage]:
    for sentence in alert_mail.problems():
        hint = 'TUNNEL_ALERT_EMAILS = ["ops@example.org"]'
        yield Error(sentence, hint=hint, id="tunnel.E026")
    for sentence in alert_webhook.problems():
        hint = "docs/alerts.md says what a webhook needs"
        yield Error(sentence, hint=hint, id="tunnel.E027")


def _metrics() -> Iterator[CheckMessage]:
    name = tunnel_settings.METRICS_TOKEN_FILE
    token = metrics_page.token()
    if name and not token:
        sentence = "TUNNEL_METRICS_TOKEN_FILE names no file that can be read and holds a token"
        yield Error(sentence, hint="name a file with at least 16 random characters", id="tunnel.E028")
    if token and len(token) < SHORTEST_TOKEN:
        sentence = f"TUNNEL_METRICS_TOKEN has {len(token)} characters, which can be guessed"
        yield Error(sentence, hint=f"take at least {SHORTEST_TOKEN} random ones", id="tunnel.E015")
    for network in tunnel_settings.METRICS_ALLOW:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            if network != "unix":
                sentence = f"TUNNEL_METRICS_ALLOW holds {network!r}, which is no address and no network"
                yield Error(sentence, hint='TUNNEL_METRICS_ALLOW = ["10.0.0.0/8"]', id="tunnel.E016")


def _throttle_cache() -> Iterator[CheckMessage]:
    """Say when each process would count REST requests for itself, so that more than allowed get through."""
    throttled = tunnel_settings.API_READS_A_MINUTE or tunnel_settings.API_COMMANDS_A_MINUTE
    backend = str(django_settings.CACHES.get("default", {}).get("BACKEND", ""))
    if (
        throttled
        and not django_settings.DEBUG
        and backend.rsplit(".", 1)[-1] in ("LocMemCache", "DummyCache")
    ):
        sentence = "the default cache is not shared: each process counts REST requests for itself"
        hint = 'CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:6379"}}'
        yield checks.Warning(sentence, hint=hint, id="tunnel.W005")


def _public_url() -> Iterator[CheckMessage]:
    url = tunnel_settings.PUBLIC_URL
    if url and urlsplit(url).scheme not in ("https", "wss") and not (django_settings.DEBUG and _is_here(url)):
        sentence = (
            f"TUNNEL_PUBLIC_URL is {url!r}: agents would send their secrets in the clear, and refuse to"
        )
        yield checks.Warning(
            sentence, hint='TUNNEL_PUBLIC_URL = "https://panel.example.org"', id="tunnel.W004"
        )


def _is_here(url: str) -> bool:
    """Tell whether this is an address of this machine, which agents may dial without TLS while developing."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _probe(alias: str) -> Iterator[CheckMessage]:
    try:
        asyncio.run(layers.probe(alias))
    except Exception as exc:  # noqa: BLE001 - each kind of layer has errors of its own
        sentence = f"the channel layer `{alias}` does not answer: {str(exc) or type(exc).__name__}"
        hint = "start Redis, or correct REDIS_URL (CHANNEL_LAYERS of an own panel)"
        yield Error(sentence, hint=hint, id="tunnel.E014")
