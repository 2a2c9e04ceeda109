"""`servers/`: list, make, look at, change and delete."""

from typing import Any

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import PermissionDenied
from rest_framework.response import Response
from rest_framework.serializers import CharField, IntegerField, Serializer

from servers import access, identity
from servers.access import Actor
from servers.master_address import master_url
from servers.models import Server
from tunnel.api import codes
from tunnel.api.documented import AGENT_ID, PAGE, PAGE_SIZE, PROBLEMS
from tunnel.api.filters import ServerFilter
from tunnel.api.paging import Pages
from tunnel.api.problems import Problem, of_validation
from tunnel.api.server_fields import AddServer, ChangeServer, NewServerFields, ServerFields, seen, set_tags
from tunnel.api.views import ApiView, GenericApiView, one_server


class ServerPage(Serializer):
    """A page of servers; links are paths."""

    count = IntegerField()
    next = CharField(allow_null=True)
    previous = CharField(allow_null=True)
    results = ServerFields(many=True)


class Servers(GenericApiView):
    """All servers the caller may see."""

    filter_backends = [DjangoFilterBackend]
    filterset_class = ServerFilter
    pagination_class = Pages
    serializer_class = ServerFields

    def get_queryset(self) -> Any:
        """Return the servers the caller may see, with their tags in one query more."""
        return access.visible(self.actor).prefetch_related("tags").order_by("name", "pk")

    @extend_schema(
        operation_id="list_servers",
        parameters=[PAGE, PAGE_SIZE],
        responses={200: ServerPage, **PROBLEMS},
        filters=True,
    )
    def get(self, request: Any) -> Response:  # noqa: ARG002 - DRF's signature
        """List servers, a page at a time."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(ServerFields(seen(page), many=True).data)

    @extend_schema(operation_id="add_server", request=AddServer, responses={201: NewServerFields, **PROBLEMS})
    @sensitive_variables()
    def post(self, request: Any) -> Response:
        """Add a tunnel server. The answer holds the agent's secret, this once."""
        if not access.may_add(self.actor):
            raise PermissionDenied("you have no permission to add servers")
        given = valid(AddServer(data=request.data))
        try:
            with transaction.atomic():
                server, secret = identity.create(given["name"], agent_id=given.get("agent_id"), by=self.actor)
                _write(server, given, ("notes",), self.actor)
        except DjangoValidationError as exc:
            raise of_validation(exc) from exc
        except IntegrityError as exc:
            raise Problem(codes.EXISTS) from exc
        new = {"secret": secret, "master_url": master_url(request._request)}
        return Response({**told(server), **new}, 201)


class OneServer(ApiView):
    """One server, by its agent ID."""

    @extend_schema(
        operation_id="get_server", parameters=[AGENT_ID], responses={200: ServerFields, **PROBLEMS}
    )
    def get(self, request: Any, agent_id: str) -> Response:  # noqa: ARG002 - DRF's signature
        """Look at a server."""
        return Response(told(one_server(self.actor, agent_id, "view")))

    @extend_schema(
        operation_id="change_server",
        parameters=[AGENT_ID],
        request=ChangeServer,
        responses={200: ServerFields, **PROBLEMS},
    )
    def patch(self, request: Any, agent_id: str) -> Response:
        """Change some members. A live agent is disconnected when its agent ID or the connection type changes."""
        server = one_server(self.actor, agent_id, "change")
        given = valid(ChangeServer(data=request.data, partial=True))
        try:
            with transaction.atomic():
                changed = _write(server, given, tuple(name for name in given if name != "tags"), self.actor)
                if changed:
                    identity.note_change(server, self.actor, _("Changed %s.") % ", ".join(changed))
        except DjangoValidationError as exc:
            raise of_validation(exc) from exc
        except IntegrityError as exc:
            raise Problem(codes.EXISTS) from exc
        return Response(told(server))

    @extend_schema(operation_id="delete_server", parameters=[AGENT_ID], responses={204: None, **PROBLEMS})
    def delete(self, request: Any, agent_id: str) -> Response:  # noqa: ARG002 - DRF's signature
        """Delete a server with its sessions; its agent is cut off. Its commands stay in the history."""
        server = one_server(self.actor, agent_id, "view")
        if not access.may_delete(self.actor):
            raise PermissionDenied("you have no permission to delete servers")
        with transaction.atomic():
            identity.note_deletion(server, self.actor)
            server.delete()
        return Response(status=204)


def valid(serializer: Serializer) -> dict[str, Any]:
    """Return what a body says.

    Raises:
        rest_framework.exceptions.ValidationError: it does not say it right.
    """
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def told(server: Server) -> dict[str, Any]:
    """Return a server as JSON."""
    return dict(ServerFields(seen([server])[0]).data)


def _write(server: Server, given: dict[str, Any], names: tuple[str, ...], actor: Actor) -> list[str]:
    """Write what differs and return its names; only these columns, for others change the rest meanwhile."""
    changed = [name for name in names if name in given and getattr(server, name) != given[name]]
    for name in changed:
        setattr(server, name, given[name])
    if changed:
        columns = {field.name for field in Server._meta.fields}
        server.full_clean(exclude=columns - set(changed))
        server.save(update_fields=changed)
    if "tags" in given and set(given["tags"]) != {tag.name for tag in server.tags.all()}:
        set_tags(server, given["tags"], actor)
        changed.append("tags")
    return changed
