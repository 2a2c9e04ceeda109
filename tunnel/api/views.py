"""What every view of the REST interface has in common. Nothing depends on the host panel's REST_FRAMEWORK."""

import asyncio
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.openapi import AutoSchema
from rest_framework.exceptions import MethodNotAllowed, NotAcceptable, NotFound, PermissionDenied
from rest_framework.generics import GenericAPIView
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.views import APIView

from servers import access, threads
from servers.access import Actor
from servers.models import Server
from tunnel.api import problems
from tunnel.api.authentication import BrowserAuthentication, TokenAuthentication, actor_of
from tunnel.api.parsing import BoundedJsonParser
from tunnel.api.throttles import Throttle


class JsonRenderer(JSONRenderer):
    """JSON in ASCII: whatever stands in a text, the answer can be encoded."""

    ensure_ascii = True
    compact = True
    strict = True


class JsonOnly(DefaultContentNegotiation):
    """There is one format, whatever `?format=` says."""

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:  # noqa: ARG002
        """Choose by the Accept header alone.

        Raises:
            NotAcceptable: it does not take JSON.
        """
        if not any(_takes_json(accept) for accept in self.get_accept_list(request)):
            raise NotAcceptable(available_renderers=renderers)
        return renderers[0], renderers[0].media_type


class ApiView(APIView):
    """A view that answers JSON to who is logged in, and problems as problems."""

    authentication_classes = [TokenAuthentication, BrowserAuthentication]
    permission_classes = [IsAuthenticated]
    renderer_classes = [JsonRenderer]
    parser_classes = [BoundedJsonParser]
    throttle_classes = [Throttle]
    content_negotiation_class = JsonOnly
    metadata_class = None
    versioning_class = None
    schema = AutoSchema()

    @property
    def actor(self) -> Actor:
        """Who asks, as `servers.access` takes it."""
        return actor_of(self.request)

    def get_exception_handler(self) -> Any:
        """Answer with problems, whatever the host panel has set."""
        return problems.handle

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Keep every answer out of caches: some hold secrets, all hold what only this person may see."""
        response = super().finalize_response(request, response, *args, **kwargs)
        response["Cache-Control"] = "no-store"
        response["X-Content-Type-Options"] = "nosniff"
        return response


class GenericApiView(ApiView, GenericAPIView):
    """The same for lists, whose filters and pages DRF makes."""

    schema = AutoSchema()


class AsyncApiView(ApiView):
    """A view that waits on the event loop, so that slow nodes keep no thread from others.

    DRF is synchronous: who asks, whether they may and what they want is settled in one turn in a thread (`prepare`),
    then the method's handler gets what that returned.
    """

    lane = threads.common  # whose threads

    async def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        """Do as DRF's dispatch does."""
        self.args, self.kwargs = args, kwargs
        self.request = request = self.initialize_request(request, *args, **kwargs)
        self.headers = self.default_response_headers
        try:
            prepared = await self._prepared(request, *args, **kwargs)
            response = await self.post(request, prepared)
        except Exception as exc:  # noqa: BLE001 - DRF's own way: what it cannot answer it raises again
            response = self.handle_exception(exc)
        response = self.finalize_response(request, response, *args, **kwargs)
        self.response = response
        body = response.rendered_content  # small; Django would render it in a thread
        return HttpResponse(body, status=response.status_code, headers=dict(response.items()))

    def prepare(self, request: Any, agent_id: str) -> Any:
        """Return what the handler needs; called in a thread, with the rights of the caller known."""
        raise NotImplementedError

    async def give_up(self, prepared: Any) -> None:
        """Give back what `prepare` took: the caller went away meanwhile."""

    async def post(self, request: Any, prepared: Any) -> Response:
        """Do it and answer."""
        raise NotImplementedError

    async def _prepared(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        preparing = asyncio.ensure_future(self.lane.run(self._admit, request, *args, **kwargs))
        try:
            return await asyncio.shield(preparing)
        except asyncio.CancelledError:
            await asyncio.wait([preparing])  # the thread goes on
            if preparing.exception() is None:
                await self.give_up(preparing.result())
            raise

    def _admit(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        self.initial(request, *args, **kwargs)
        if request.method != "POST":
            raise MethodNotAllowed(request.method)
        return self.prepare(request, **kwargs)


def one_server(actor: Actor, agent_id: str, perm: str) -> Server:
    """Return a server by its agent id.

    Raises:
        NotFound: there is none, or none the actor may see.
        PermissionDenied: the actor sees it, but may not do `perm`.
    """
    try:
        server = access.visible(actor).get(agent_id=agent_id)
    except Server.DoesNotExist:
        raise NotFound from None
    if server.agent_id != agent_id:  # a collation may take `Web-01` for `web-01`
        raise NotFound
    if not access.allowed(actor, server, perm):
        raise PermissionDenied(f"you have no permission {perm} on this server")
    return server


def outside_transactions(view: Any) -> Any:
    """Take a view out of ATOMIC_REQUESTS: what commands leave behind must stay, and Django allows no async view there."""
    view._non_atomic_requests = set(settings.DATABASES)
    return view


def _takes_json(accept: str) -> bool:
    media_type = accept.split(";")[0].strip().lower()
    return media_type in ("*/*", "application/*", "application/json", problems.CONTENT_TYPE, "")
