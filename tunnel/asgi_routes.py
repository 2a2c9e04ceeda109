"""Where in a site's ASGI application the routes of agents and jobs stand, as far as one can look into it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter, get_default_application
from channels.security.websocket import OriginValidator
from django.conf import settings
from django.urls.exceptions import Resolver404

PATH = "tunnel"  # without the leading slash, as routers see it
INNER = ("application", "inner", "app")  # where middleware keeps the application it stands around
MAX_DEPTH = 20  # applications inside each other; a cycle must not hang `manage.py check`


class Verdict(Enum):
    """What a look at the application shows."""

    FOUND = "found"
    BEHIND_ORIGIN_CHECK = "behind an origin check"  # agents send no Origin and would be refused
    MISSING = "missing"
    SHADOWED = "shadowed"  # another route takes the path first
    BROKEN = "broken"  # the application cannot be loaded
    HIDDEN = "hidden"  # somebody's own application, into which one cannot look


@dataclass(frozen=True)
class Look:
    """A verdict, with a reason when it is MISSING, SHADOWED or BROKEN."""

    verdict: Verdict
    reason: str = ""


def look() -> Look:
    """Look for the route of agents in the application that ASGI_APPLICATION names."""
    return _look(look_into)


def look_for_jobs(channel: str) -> Look:
    """Look for who takes the jobs of this channel in the application that ASGI_APPLICATION names."""
    return _look(lambda application: _takes_jobs(application, channel))


def _look(into: Callable[[Any], Look]) -> Look:
    if not getattr(settings, "ASGI_APPLICATION", None):
        return Look(Verdict.BROKEN, "the setting ASGI_APPLICATION is not there")
    try:
        application = get_default_application()
    except Exception as exc:  # noqa: BLE001 - it imports the site's own module, which may raise anything
        cause = exc.__context__ or exc  # Channels does not say what the import failed of
        return Look(Verdict.BROKEN, f"ASGI_APPLICATION cannot be loaded: {type(cause).__name__}: {cause}")
    return into(application)


def look_into(application: Any) -> Look:
    """Look for the route of agents in an application."""
    router = next((app for app in _layers(application) if isinstance(app, ProtocolTypeRouter)), None)
    if router is None:
        if _is_django(application):
            return Look(Verdict.MISSING, "ASGI_APPLICATION is Django's own, which knows no WebSocket")
        return Look(Verdict.HIDDEN)
    if "websocket" not in router.application_mapping:
        return Look(Verdict.MISSING, 'the ProtocolTypeRouter has no "websocket"')
    return _follow(router.application_mapping["websocket"], PATH)


def _follow(application: Any, path: str, *, checked: bool = False) -> Look:
    for layer in _layers(application):
        checked = checked or isinstance(layer, OriginValidator)
        if isinstance(layer, URLRouter):
            return _route(layer, path, checked=checked)
    return Look(Verdict.HIDDEN)


def _route(router: URLRouter, path: str, *, checked: bool) -> Look:
    for route in router.routes:
        try:
            match = route.pattern.match(path)
        except Resolver404:
            match = None
        if not match:
            continue
        if any(isinstance(layer, URLRouter) for layer in _layers(route.callback)):
            return _follow(route.callback, match[0].lstrip("/"), checked=checked)
        return _judge(route, checked=checked)
    return Look(Verdict.MISSING, "no WebSocket route takes /tunnel")


def _judge(route: Any, *, checked: bool) -> Look:
    """Judge the route that takes the path of agents, the first one that does."""
    from tunnel.consumers import AgentConsumer

    layers = list(_layers(route.callback))
    consumers = [layer.consumer_class for layer in layers if hasattr(layer, "consumer_class")]
    if not consumers:
        return Look(Verdict.HIDDEN)
    if not issubclass(consumers[0], AgentConsumer):
        return Look(
            Verdict.SHADOWED, f"the WebSocket route {str(route.pattern)!r} stands before and takes /tunnel"
        )
    checked = checked or any(isinstance(layer, OriginValidator) for layer in layers)
    return Look(Verdict.BEHIND_ORIGIN_CHECK if checked else Verdict.FOUND)


def _takes_jobs(application: Any, channel: str) -> Look:
    router = next((app for app in _layers(application) if isinstance(app, ProtocolTypeRouter)), None)
    if router is None:
        if _is_django(application):
            return Look(Verdict.MISSING, "ASGI_APPLICATION is Django's own, which knows no channels")
        return Look(Verdict.HIDDEN)
    names = router.application_mapping.get("channel")
    if names is None:
        return Look(Verdict.MISSING, 'the ProtocolTypeRouter has no "channel"')
    if isinstance(names, ChannelNameRouter) and channel not in names.application_mapping:
        return Look(Verdict.MISSING, f"the ChannelNameRouter has no {channel!r}")
    return Look(Verdict.FOUND if isinstance(names, ChannelNameRouter) else Verdict.HIDDEN)


def _layers(application: Any) -> Iterator[Any]:
    """Yield the application and, from the outside in, those it stands around."""
    for _ in range(MAX_DEPTH):
        yield application
        inside = [getattr(application, name, None) for name in INNER]
        application = next((inner for inner in inside if callable(inner)), None)
        if application is None:
            return


def _is_django(application: Any) -> bool:
    from django.core.handlers.asgi import ASGIHandler

    return isinstance(application, ASGIHandler)
