"""`commands/`, `sessions/` and `events/`: what happened, newest first, to read only."""

from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.response import Response

from servers import access
from servers.access import Actor
from servers.models import CommandRecord
from tunnel.api.documented import CURSOR, PAGE_SIZE, PROBLEMS
from tunnel.api.filters import CommandFilter, EventFilter, SessionFilter, checked
from tunnel.api.history_fields import (
    CLOSED,
    OPENED,
    REFUSED,
    CommandFields,
    EventFields,
    SessionFields,
    event,
)
from tunnel.api.paging import Source, after
from tunnel.api.views import ApiView, GenericApiView
from tunnel.models import Refusal, Session


class CommandPage(serializers.Serializer):
    """A page of commands; `next` is the path of the page after it."""

    next = serializers.CharField(allow_null=True)
    results = CommandFields(many=True)


class SessionPage(serializers.Serializer):
    """A page of sessions."""

    next = serializers.CharField(allow_null=True)
    results = SessionFields(many=True)


class EventPage(serializers.Serializer):
    """A page of events."""

    next = serializers.CharField(allow_null=True)
    results = EventFields(many=True)


class Commands(GenericApiView):
    """The history of commands."""

    filter_backends = [DjangoFilterBackend]
    filterset_class = CommandFilter
    pagination_class = None
    serializer_class = CommandFields

    def get_queryset(self) -> QuerySet[CommandRecord]:
        """Return the commands the caller may see."""
        return _commands(self.actor)

    @extend_schema(
        operation_id="list_commands",
        parameters=[CURSOR, PAGE_SIZE],
        responses={200: CommandPage, **PROBLEMS},
        filters=True,
    )
    def get(self, request: Any) -> Response:
        """List the commands given on servers the caller may see, newest first."""
        rows, following = after(
            request, [Source("command", self.filter_queryset(self.get_queryset()), "created_at")]
        )
        return Response(
            {"next": following, "results": CommandFields([row for _, row in rows], many=True).data}
        )


class OneCommand(ApiView):
    """One command of the history."""

    @extend_schema(operation_id="get_command", responses={200: CommandFields, **PROBLEMS})
    def get(self, request: Any, pk: UUID) -> Response:  # noqa: ARG002 - DRF's signature
        """Look at a command."""
        return Response(CommandFields(_found(_commands(self.actor), pk)).data)


class Sessions(GenericApiView):
    """The history of sessions."""

    filter_backends = [DjangoFilterBackend]
    filterset_class = SessionFilter
    pagination_class = None
    serializer_class = SessionFields

    def get_queryset(self) -> QuerySet[Session]:
        """Return the sessions of servers the caller may see."""
        return _sessions(self.actor)

    @extend_schema(
        operation_id="list_sessions",
        parameters=[CURSOR, PAGE_SIZE],
        responses={200: SessionPage, **PROBLEMS},
        filters=True,
    )
    def get(self, request: Any) -> Response:
        """List the sessions of agents, newest first."""
        rows, following = after(
            request, [Source("session", self.filter_queryset(self.get_queryset()), "opened_at")]
        )
        return Response(
            {"next": following, "results": SessionFields([row for _, row in rows], many=True).data}
        )


class OneSession(ApiView):
    """One session of an agent."""

    @extend_schema(operation_id="get_session", responses={200: SessionFields, **PROBLEMS})
    def get(self, request: Any, pk: UUID) -> Response:  # noqa: ARG002 - DRF's signature
        """Look at a session."""
        return Response(SessionFields(_found(_sessions(self.actor), pk)).data)


class Events(GenericApiView):
    """What happened on the links of agents."""

    filter_backends = [DjangoFilterBackend]
    filterset_class = EventFilter
    pagination_class = None
    serializer_class = EventFields

    def get_queryset(self) -> QuerySet[Session]:
        """Return the sessions, from which the events come together with the refusals."""
        return _sessions(self.actor)

    @extend_schema(
        operation_id="list_events",
        parameters=[CURSOR, PAGE_SIZE],
        responses={200: EventPage, **PROBLEMS},
        filters=True,
    )
    def get(self, request: Any) -> Response:
        """List what happened on the links of agents, newest first: opened, closed, refused."""
        wanted = checked(EventFilter(request.query_params, self.get_queryset()))
        asked = {name: value for name, value in wanted.form.cleaned_data.items() if value}
        rows, following = after(request, _sources(self.actor, asked))
        told = [event(kind, row) for kind, row in rows]
        return Response({"next": following, "results": EventFields(told, many=True).data})


def _sources(actor: Actor, asked: dict[str, Any]) -> list[Source]:
    sessions = _sessions(actor)
    refusals = Refusal.objects.filter(server__in=access.visible(actor)).select_related("server")
    sources = [
        Source(OPENED, sessions, "opened_at"),
        Source(CLOSED, sessions.filter(closed_at__isnull=False), "closed_at"),
        Source(REFUSED, refusals, "last_at"),
    ]
    return [
        Source(one.kind, _asked(one, asked), one.at)
        for one in sources
        if asked.get("state", one.kind) == one.kind
    ]


def _asked(source: Source, asked: dict[str, Any]) -> QuerySet[Any]:
    rows = source.rows
    if "server" in asked:
        rows = rows.filter(server__agent_id=asked["server"])
    return rows.filter(**{f"{source.at}__gte": asked["since"]}) if "since" in asked else rows


def _commands(actor: Actor) -> QuerySet[CommandRecord]:
    """Return the commands on servers the actor may see, and those on servers that are gone.

    Nobody knows of which groups those were: who may see all servers is told of all, others of their own commands, a
    token that is limited to groups of none.
    """
    of_visible = Q(server__in=access.visible(actor))
    person = access.person(actor)
    of_groups = isinstance(actor, access.Narrowed) and actor.groups is not None
    if access.everywhere(actor, "view"):
        of_visible |= Q(server=None)
    elif person is not None and not of_groups and access.allowed(actor, None, "view"):
        of_visible |= Q(server=None, actor_user=person.pk)
    return CommandRecord.objects.filter(of_visible).select_related("server")


def _sessions(actor: Actor) -> QuerySet[Session]:
    return Session.objects.filter(server__in=access.visible(actor)).select_related("server", "worker")


def _found(rows: QuerySet[Any], pk: UUID) -> Any:
    row = rows.filter(pk=pk).first()
    if row is None:
        raise NotFound
    return row
