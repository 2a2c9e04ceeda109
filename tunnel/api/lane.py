"""A middleware that takes programs past the others: they have no session, no language, no messages and no form.

Each of Django's middlewares costs a request on an event loop two turns in a thread. A request with a token needs none of
them; what it needs of them, our views do themselves. Put it first in MIDDLEWARE; without it everything works, slower.
"""

from typing import Any, Final

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.http import HttpRequest
from django.middleware.security import SecurityMiddleware
from django.urls import Resolver404, resolve

from tunnel.api.authentication import KEYWORD

NAMESPACE: Final = "tunnel:api"
_SCHEME: Final = f"{KEYWORD} ".lower()


class ProgramLane:
    """Leads requests with a token to the views of the REST interface, and all others the usual way."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response
        self._on_loop = iscoroutinefunction(get_response)
        self._security = SecurityMiddleware(get_response)  # for its headers, HSTS above all
        if self._on_loop:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Answer the request, or return an awaitable that does."""
        return self._take(request) if self._on_loop else self.get_response(request)

    async def _take(self, request: HttpRequest) -> Any:
        match = _match(request)
        if match is None:
            return await self.get_response(request)
        request.resolver_match = match
        view = match.func if iscoroutinefunction(match.func) else sync_to_async(match.func)
        response = await view(request, *match.args, **match.kwargs)
        if not getattr(response, "is_rendered", True):
            response = await sync_to_async(response.render)()
        return self._security.process_response(request, response)


def _match(request: HttpRequest) -> Any:
    """Return the view of a request that may go this way, None for one that may not."""
    if not request.META.get("HTTP_AUTHORIZATION", "").lower().startswith(_SCHEME):
        return None
    if settings.SECURE_SSL_REDIRECT and not request.is_secure():
        return None  # SecurityMiddleware knows which addresses are exempt
    try:
        match = resolve(request.path_info)
    except Resolver404:
        return None
    if match.namespace != NAMESPACE or not hasattr(match.func, "cls"):
        return None  # what is no view of DRF is a page for browsers
    request.get_host()  # raises for a host that is not ours, as CommonMiddleware would
    return match
