"""`servers/<agent_id>/suspend/` and its like: what changes a server's standing, and what its live tunnel felt."""

import asyncio
import logging
import time
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from django.db import Error as DatabaseError
from django.utils.translation import gettext
from django.views.decorators.debug import sensitive_variables
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from servers import identity
from servers.master_address import master_url
from servers.models import Server
from servers.threads import in_thread
from tunnel import dispatch, presence
from tunnel.api.documented import AGENT_ID, PROBLEMS
from tunnel.api.fields import Empty
from tunnel.api.server_views import valid
from tunnel.api.views import AsyncApiView, one_server
from tunnel.models import Session

log = logging.getLogger("tunnel.api")

CUT_WITHIN: Final = 12.0  # seconds; a worker that missed the announcement looks by itself within 10
CUT_BY_PUSH: Final = 1.0  # seconds; who waits for a new secret must not lose it by waiting
LOOK: Final = 0.1  # seconds between two looks at the session; it ends within some tenths of a second
CUT, NONE, STILL_OPEN = "cut", "none", "still open"
_TUNNEL = serializers.ChoiceField([CUT, NONE, STILL_OPEN], help_text="What the live tunnel felt.")


class StandingFields(serializers.Serializer):
    """How a server stands now."""

    agent_id = serializers.CharField()
    status = serializers.ChoiceField(Server.Status.choices)
    changed = serializers.BooleanField(help_text="False when it stood so already.")
    tunnel = _TUNNEL


class SecretFields(serializers.Serializer):
    """A new secret, shown this once."""

    agent_id = serializers.CharField()
    secret = serializers.CharField()
    master_url = serializers.CharField(help_text="For MASTER_URL on the node.")
    tunnel = serializers.ChoiceField([CUT, NONE, STILL_OPEN])


@dataclass(frozen=True, repr=False)  # no repr: it would print the secret
class _Changed:
    server: Server
    changed: bool
    session: UUID | None  # the live one from before
    secret: str = ""


class _Standing(AsyncApiView):
    """A change, and then the wait for the tunnel's end, on the event loop."""

    def _answer(self, done: _Changed, tunnel: str) -> Response:
        server = done.server
        return Response(
            {
                "agent_id": server.agent_id,
                "status": server.status,
                "changed": done.changed,
                "tunnel": tunnel,
            }
        )


class Suspend(_Standing):
    """Refuse the agent."""

    def prepare(self, request: Any, agent_id: str) -> _Changed:
        """Suspend."""
        server = _server(self, request, agent_id, "change")
        session = _live(server)
        return _Changed(server, identity.suspend(server, by=self.actor), session)

    @extend_schema(
        operation_id="suspend_server",
        parameters=[AGENT_ID],
        request=Empty,
        responses={200: StandingFields, **PROBLEMS},
    )
    async def post(self, request: Any, done: _Changed) -> Response:  # noqa: ARG002 - a handler
        """Refuse the server's agent from now on and cut its tunnel."""
        return self._answer(done, await _felt(done.session))


class Activate(_Standing):
    """Let the agent back in."""

    def prepare(self, request: Any, agent_id: str) -> _Changed:
        """Reactivate."""
        server = _server(self, request, agent_id, "change")
        return _Changed(server, identity.reactivate(server, by=self.actor), None)

    @extend_schema(
        operation_id="activate_server",
        parameters=[AGENT_ID],
        request=Empty,
        responses={200: StandingFields, **PROBLEMS},
    )
    async def post(self, request: Any, done: _Changed) -> Response:  # noqa: ARG002 - a handler
        """Let a suspended server's agent back in."""
        return self._answer(done, NONE)


class Disconnect(_Standing):
    """Cut the tunnel, and no more."""

    def prepare(self, request: Any, agent_id: str) -> tuple[_Changed, str]:
        """Find the live session and the inbox of its worker."""
        server = _server(self, request, agent_id, "change")
        session = presence.live_sessions().select_related("worker").filter(server=server).first()
        if session is None:
            return _Changed(server, False, None), ""
        return _Changed(server, True, session.pk), session.worker.inbox

    @extend_schema(
        operation_id="disconnect_server",
        parameters=[AGENT_ID],
        request=Empty,
        responses={200: StandingFields, **PROBLEMS},
    )
    async def post(self, request: Any, found: tuple[_Changed, str]) -> Response:  # noqa: ARG002 - a handler
        """Cut the server's tunnel. Its agent stays welcome and dials again by itself."""
        done, inbox = found
        if done.session is None:
            return self._answer(done, NONE)
        await dispatch.disconnect(inbox, str(done.session))
        tunnel = await _felt(done.session)
        if tunnel == CUT:
            await in_thread(identity.note_change, done.server, self.actor, gettext("Disconnected."))
        return self._answer(replace(done, changed=tunnel == CUT), tunnel)


class RotateSecret(_Standing):
    """A new secret."""

    @sensitive_variables()
    def prepare(self, request: Any, agent_id: str) -> _Changed:
        """Rotate."""
        server = _server(self, request, agent_id, "rotate_secret")
        session = _live(server)
        return _Changed(server, True, session, identity.rotate_secret(server, by=self.actor))

    @extend_schema(
        operation_id="rotate_secret",
        parameters=[AGENT_ID],
        request=Empty,
        responses={200: SecretFields, **PROBLEMS},
    )
    async def post(self, request: Any, done: _Changed) -> Response:
        """Give the server a new secret, shown this once. The old one is worth nothing from now on."""
        tunnel = await _felt(done.session, within=CUT_BY_PUSH)
        return Response(
            {
                "agent_id": done.server.agent_id,
                "secret": done.secret,
                "master_url": master_url(request._request),
                "tunnel": tunnel,
            }
        )


def _server(view: AsyncApiView, request: Any, agent_id: str, perm: str) -> Server:
    server = one_server(view.actor, agent_id, perm)
    if request.META.get("CONTENT_LENGTH") not in (None, "", "0"):
        valid(Empty(data=request.data))
    return server


def _live(server: Server) -> UUID | None:
    return presence.live_sessions().filter(server=server).values_list("pk", flat=True).first()


async def _felt(session: UUID | None, *, within: float = CUT_WITHIN) -> str:
    """Wait until a session that was live is over, and say so. The change stands, whatever is seen of it here."""
    if session is None:
        return NONE
    deadline = time.monotonic() + within
    try:
        while await in_thread(_open, session):
            if time.monotonic() > deadline:
                return STILL_OPEN
            await asyncio.sleep(LOOK)
    except DatabaseError as exc:
        log.warning("what a tunnel felt could not be seen: %s session=%s", exc, session)
        return STILL_OPEN
    return CUT


def _open(session: UUID) -> bool:
    return Session.objects.filter(pk=session, closed_at=None).exists()
